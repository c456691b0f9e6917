"""Verify a staged artifact against the source model, with inputs that the model accepts."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.artifact.host import host_refusal, requirements_of
from optc.backends.host.platform import CUDA, platform_of
from optc.driver.artifacts.product import Product
from optc.driver.options import CompileOptions
from optc.driver.verification.emulation import emulated, why_not_emulated
from optc.errors import ModelError, UsageError, VerificationFailed
from optc.ir.core import Module, Value
from optc.ir.types import TensorType
from optc.runtime.random_inputs import random_inputs
from optc.targets.foreign import is_foreign
from optc.targets.target import Target

if TYPE_CHECKING:
    from optc.runtime.verify import OutputError, Runnable

Probes = Mapping[str, tuple[int, ...]]

_ATTEMPTS = 8
_TRANSPARENT = frozenset({"onnx.Identity", "onnx.Cast", "onnx.Unsqueeze", "onnx.Squeeze", "onnx.Reshape"})


def compared_constants(module: Module) -> Probes:
    """For each scalar integer input the constants that the model compares it with.

    A model that takes a mode (a sampling rate, say) accepts only those; random numbers would make it fail.
    """
    found: dict[str, dict[int, None]] = {}
    for operation in module.walk():
        if operation.name != "onnx.Equal":
            continue
        for value, other in (operation.operands, operation.operands[::-1]):
            source, constant = _source(value), None if other is None else other.constant
            if source is not None and constant is not None and constant.size == 1:
                found.setdefault(source.name, {})[int(constant.reshape(-1)[0])] = None
    return {name: tuple(values) for name, values in found.items()}


def _source(value: Value | None) -> Value | None:
    """The scalar integer graph input that a value repeats, if it does."""
    while value is not None and value.producer is not None and value.producer.name in _TRANSPARENT:
        value = value.producer.operands[0]
    if value is None or value.producer is not None or not isinstance(value.type, TensorType):
        return None
    return value if value.type.dtype.is_integer and value.type.is_static and value.type.elements == 1 else None


def verification(
    folder: Path,
    product: Product,
    target: Target,
    reference: str | Path | bytes,
    options: CompileOptions,
    probes: Probes,
) -> dict[str, Any]:
    """Compare a staged artifact with the source model, on this machine or in the target's emulator.

    Returns:
        the result for the manifest, with `emulator` where one was used; `{"skipped": reason}` where neither can run it.

    Raises:
        VerificationFailed: an output differs by more than the tolerance.
    """
    from optc.runtime import load

    def compared(staged: Runnable) -> dict[str, Any]:
        return verified(staged, reference, options, probes)

    refusal = host_refusal(requirements_of(target), target.name)
    if refusal is None:
        with load(folder, threads=options.threads) as loaded:
            return compared(loaded)
    if platform_of(target) is CUDA:
        return _verified_on_gpu(folder, product, target, compared)
    reason = why_not_emulated(target, len(product.contents.fallbacks)) if is_foreign(target) else refusal.what
    if reason is not None:
        return {"skipped": reason}
    with emulated(folder, product.linkable, target, options.threads or 1) as staged:
        result = compared(staged)
    return {**result, "emulator": target.toolchain["emulator"]}


def _verified_on_gpu(
    folder: Path, product: Product, target: Target, compared: Callable[[Runnable], dict[str, Any]]
) -> dict[str, Any]:
    """`verification` for a GPU that this machine lacks: in an emulation of it."""
    from optc.driver.verification.gpu_emulation import EMULATOR, emulated_gpu, why_not_emulated

    if (reason := why_not_emulated(product.contents)) is not None:
        return {"skipped": reason}
    with emulated_gpu(folder, product.linkable, target) as staged:
        return {**compared(staged), "emulator": EMULATOR}


def verified(
    staged: Runnable, reference: str | Path | bytes, options: CompileOptions, probes: Probes
) -> dict[str, Any]:
    """Compare a staged artifact with the source model.

    Args:
        staged: the staged artifact, ready to run.
        reference: the source model.
        options: the inputs to use, and the threads.
        probes: values to try for scalar integer inputs when the model refuses random ones.

    Returns:
        the result for the manifest; `{"skipped": reason}` when the model refuses every input that was tried, or
        none can be made up.

    Raises:
        VerificationFailed: an output differs by more than the tolerance.
    """
    from optc.runtime.verify import verify

    refusal: ModelError | None = None
    try:
        candidates = list(_candidates(staged, options, probes))
    except UsageError as error:  # of an input that is no tensor of numbers
        return {"skipped": error.what}
    for inputs in candidates:
        try:
            result = verify(staged, reference, inputs=inputs)
        except ModelError as error:
            if options.inputs is not None:
                raise
            refusal = refusal or error
            continue
        if not result.passed:
            worst = result.worst
            raise VerificationFailed(
                f"the output '{worst.name}' differs from the source model's",
                why=describe_difference(worst, result.tolerance),
                hint="compile with --verify-each to find the pass, or with --no-verify to keep the artifact",
            )
        return result.to_dict()
    return {"skipped": f"{refusal.what}: {refusal.why}" if refusal is not None else "no inputs could be made"}


def describe_difference(error: OutputError, tolerance: float) -> str:
    """Why an output fails, for the user."""
    if not error.same_shape:
        return "its shape or element type is another"
    if not error.same_special:
        return "its infinities and NaNs are not in the same places"
    size = f"largest error {error.max_abs:.3g}, {error.relative:.2e} of the output's range"
    return f"{size}; allowed are {tolerance:.0e}"


def _candidates(staged: Runnable, options: CompileOptions, probes: Probes) -> Iterator[Mapping[str, Any]]:
    """The user's inputs alone, or random ones, at first as they are, then with the probes put in."""
    if options.inputs is not None:
        yield options.inputs
        return
    base = random_inputs(staged.inputs)
    yield base
    names = [name for name in probes if name in base]
    for values in itertools.islice(itertools.product(*(probes[name] for name in names)), _ATTEMPTS if names else 0):
        yield base | {name: np.full_like(base[name], value) for name, value in zip(names, values, strict=True)}
