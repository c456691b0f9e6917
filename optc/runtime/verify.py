"""Compare an artifact's outputs with the source model's in onnxruntime."""

from __future__ import annotations

import math
import mmap
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from optc.errors import ModelError, OptcError
from optc.program import TensorInfo
from optc.runtime.arrays import check_inputs
from optc.runtime.ort_session import Optimizations, first_line, open_session, run_session
from optc.runtime.random_inputs import random_inputs

LEAST_SNR = 30.0
"""Decibels at which an output of a quantized model agrees, whatever its largest error.

A sum within an ulp of a tie rounds to either of two codes, depending on the order of summation, and what follows sees a
whole step. Where more is lost than that, onnxruntime's own integer kernels are asked how far they are from its floats.
"""

LEAST_SNR_OF_ALL = 10.0
"""Decibels below which nothing agrees: wrong arithmetic leaves less."""

_TWICE = 3.0  # decibels

REFERENCE_NOISE = 4 * float(np.finfo(np.float32).eps)
"""onnxruntime's own Sigmoid is off by 1e-7 where its result is near zero; an output that saturates is all noise."""


class Runnable(Protocol):
    """What can be verified: a loaded artifact, or one in an emulator."""

    @property
    def inputs(self) -> tuple[TensorInfo, ...]: ...

    @property
    def outputs(self) -> tuple[TensorInfo, ...]: ...

    def run(self, inputs: Mapping[str, Any]) -> dict[str, np.ndarray]: ...


@dataclass(frozen=True)
class OutputError:
    """How far one output is from its reference.

    Attributes:
        name: of the output.
        same_shape: shape and element type agree; the other figures need that.
        max_abs: the largest absolute error of the finite elements.
        relative: `max_abs` over the range (largest minus smallest) of the reference; where that is zero, over its
            largest magnitude; where that is zero too, `max_abs` itself.
        snr_db: signal power over error power in decibels; infinite where nothing differs.
        same_special: NaNs and infinities, with their signs, stand in the same places.
    """

    name: str
    same_shape: bool
    max_abs: float
    relative: float
    snr_db: float
    same_special: bool

    def within(self, tolerance: float, *, quantized: bool = False) -> bool:
        """Whether the output agrees; an absolute error of REFERENCE_NOISE counts as none.

        Args:
            tolerance: of `relative`.
            quantized: whether a ratio of LEAST_SNR is agreement too.
        """
        near = self.relative <= tolerance or self.max_abs <= REFERENCE_NOISE
        return self.same_shape and self.same_special and (near or (quantized and self.snr_db >= LEAST_SNR))


@dataclass(frozen=True)
class Verification:
    """The result of a verification: the worst figures of each output over all runs."""

    passed: bool
    tolerance: float
    runs: int
    outputs: tuple[OutputError, ...]

    @property
    def worst(self) -> OutputError:
        """The output that is furthest from its reference."""
        return max(self.outputs, key=_badness)

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON data; an infinite figure is None."""
        record = asdict(self)
        record["outputs"] = [
            {key: None if isinstance(value, float) and math.isinf(value) else value for key, value in entry.items()}
            for entry in record["outputs"]
        ]
        return record


def compare(outputs: Mapping[str, np.ndarray], reference: Mapping[str, np.ndarray]) -> list[OutputError]:
    """The errors of all outputs, in the order of the reference."""
    return [_compare_output(name, outputs.get(name), expected) for name, expected in reference.items()]


def verify(
    artifact: Runnable,
    reference: str | Path | bytes,
    inputs: Mapping[str, Any] | None = None,
    tolerance: float = 1e-3,
    runs: int = 1,
    optimizations: Optimizations = "none",
    dynamic: int = 1,
) -> Verification:
    """Run the artifact and the source model on the same inputs.

    Args:
        artifact: a loaded artifact.
        reference: the source model as a file or as bytes.
        inputs: for one run; None for `runs` sets of random inputs.
        tolerance: the largest `OutputError.relative` that passes.
        runs: sets of random inputs.
        optimizations: onnxruntime's graph optimizations for the reference.
        dynamic: the extent of dimensions that only the run decides, in random inputs.

    Raises:
        ModelError: onnxruntime refuses the reference.
        UsageError: the inputs do not fit the artifact.
    """
    session = _session(reference, optimizations)
    names = [info.name for info in artifact.outputs]
    given = {node.name for node in session.get_inputs()}
    sets = [inputs] if inputs is not None else [random_inputs(artifact.inputs, seed, dynamic) for seed in range(runs)]
    worst: dict[str, OutputError] = {}
    for values in sets:
        check_inputs(values, artifact.inputs)
        try:
            expected = run_session(session, names, _fed(values, given))
        except Exception as fault:  # onnxruntime's exceptions have no common base
            why = first_line(fault)
            raise ModelError("onnxruntime cannot run the reference model on these inputs", why=why) from fault
        # After the reference: where that refuses the inputs, the artifact may fail too, and nothing is learnt.
        found = artifact.run(values)
        for error in compare(found, dict(zip(names, expected, strict=True))):
            worst[error.name] = max(worst.get(error.name, error), error, key=_badness)
    errors, quantized = tuple(worst.values()), is_quantized(reference)
    left = [error for error in errors if not error.within(tolerance, quantized=quantized)]
    if left and quantized and all(error.same_shape and error.same_special for error in left):
        spread = _own_spread(session, reference, names, [_fed(values, given) for values in sets])
        left = [error for error in left if error.snr_db < max(LEAST_SNR_OF_ALL, spread[error.name] - _TWICE)]
    return Verification(not left, tolerance, len(sets), errors)


def _fed(values: Mapping[str, Any], given: Collection[str]) -> dict[str, np.ndarray]:
    return {name: np.asarray(value) for name, value in values.items() if name in given}


def _own_spread(
    session: Any, reference: str | Path | bytes, names: Sequence[str], sets: Sequence[Mapping[str, np.ndarray]]
) -> dict[str, float]:
    """By output the least ratio, in decibels, between onnxruntime's floats and its integer kernels."""
    integers = _session(reference, "all")
    found = dict.fromkeys(names, math.inf)
    for feeds in sets:
        first, second = (dict(zip(names, run_session(each, names, feeds), strict=True)) for each in (session, integers))
        for error in compare(second, first):
            found[error.name] = min(found[error.name], error.snr_db)
    return found


def is_quantized(reference: str | Path | bytes) -> bool:
    """Whether an ONNX model rounds to codes; told by the names of its operations, without parsing it."""
    if isinstance(reference, bytes):
        return any(name in reference for name in _ROUNDING)
    with open(reference, "rb") as file:
        try:
            content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        except ValueError:  # an empty file
            return False
        with content:
            return any(content.find(name) >= 0 for name in _ROUNDING)


_ROUNDING = (b"QuantizeLinear", b"QLinear", b"QGemm")


def _badness(error: OutputError) -> tuple[bool, bool, float]:
    return not error.same_shape, not error.same_special, error.relative


def _compare_output(name: str, found: Any, expected: Any) -> OutputError:
    if not isinstance(expected, np.ndarray) or expected.dtype == object:
        same = _equal_objects(found, expected)
        return OutputError(name, same, 0.0 if same else math.inf, 0.0 if same else math.inf, math.inf, same)
    if found is None or found.shape != expected.shape or found.dtype != expected.dtype:
        return OutputError(name, False, math.inf, math.inf, -math.inf, False)
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    left, right = found.astype(wide), expected.astype(wide)
    finite = np.isfinite(left) & np.isfinite(right)
    same_special = bool(np.array_equal(left[~finite], right[~finite], equal_nan=True))
    difference = np.abs(left[finite] - right[finite])
    signal = right[finite]
    max_abs = float(difference.max(initial=0.0))
    return OutputError(name, True, max_abs, max_abs / _range(signal), _snr_db(signal, difference), same_special)


def _range(signal: np.ndarray) -> float:
    if signal.size == 0:
        return 1.0
    magnitude = float(np.abs(signal).max())
    spread = magnitude if np.iscomplexobj(signal) else float(signal.max() - signal.min())
    return spread or magnitude or 1.0


def _snr_db(signal: np.ndarray, difference: np.ndarray) -> float:
    largest = float(difference.max(initial=0.0))
    magnitude = float(np.abs(signal).max(initial=0.0))
    if largest == 0.0:
        return math.inf
    if magnitude == 0.0 or not math.isfinite(largest):
        return -math.inf
    # Scaled to 1 before squaring: large values would overflow, small ones vanish.
    power, noise = np.square(np.abs(signal) / magnitude).sum(), np.square(difference / largest).sum()
    return 10.0 * math.log10(power / noise) + 20.0 * (math.log10(magnitude) - math.log10(largest))


def _equal_objects(found: Any, expected: Any) -> bool:
    if isinstance(expected, np.ndarray):
        return isinstance(found, np.ndarray) and found.shape == expected.shape and bool((found == expected).all())
    if isinstance(expected, list | tuple):
        return (
            isinstance(found, list | tuple)
            and len(found) == len(expected)
            and all(_equal_objects(left, right) for left, right in zip(found, expected, strict=True))
        )
    return bool(found == expected)


def _session(reference: str | Path | bytes, optimizations: Optimizations) -> Any:
    source = reference if isinstance(reference, bytes) else str(reference)
    try:
        return open_session(source, purpose="verification needs", optimizations=optimizations)
    except OptcError:
        raise
    except Exception as fault:  # onnxruntime's exceptions have no common base
        where = None if isinstance(reference, bytes) else str(reference)
        why = first_line(fault)
        raise ModelError("onnxruntime cannot load the reference model", where=where, why=why) from fault
