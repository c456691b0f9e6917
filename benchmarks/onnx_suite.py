"""The ONNX project's backend tests: their models, their data, and when an output counts as theirs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np

KINDS = ("node", "simple", "pytorch-operator", "pytorch-converted", "real")

# Outputs of these are drawn at random, so that only their type, shape and possible values can be checked.
RANDOM = {
    "test_bernoulli": "bernoulli",
    "test_training_dropout": "dropout",
}
# Their ratio is 0: nothing is random.
_DETERMINISTIC = ("test_training_dropout_zero",)

ROUNDING = {"bfloat16": 1.0, "float16": 1.0, "float32": 8.0, "float64": 8.0}
"""Units of the element type's precision, times the largest expected value, that sums in another order may differ by.

Half precision is rounded once, at the end; single and double at every step.
"""

_STANDARD = {"float16", "float32", "float64", "bool", *(f"{u}int{b}" for u in ("", "u") for b in (8, 16, 32, 64))}


@dataclass(frozen=True)
class Loaded:
    """A test ready to run: the model, and per data set the inputs and the expected outputs in order."""

    model: Any
    data: list[tuple[list[Any], list[Any]]]

    @property
    def inputs(self) -> list[Any]:
        """The inputs of the graph that are not initializers."""
        return graph_inputs(self.model)

    @property
    def shapes(self) -> dict[str, list[int]]:
        """The shapes of the first data set's tensors, for `optc.compile`."""
        return {
            info.name: list(array.shape)
            for info, array in zip(self.inputs, self.data[0][0], strict=False)
            if info.type.HasField("tensor_type") and isinstance(array, np.ndarray)
        }

    @property
    def is_standard(self) -> bool:
        """Whether all inputs and outputs are tensors of ordinary floats, integers or bools."""
        arrays = [item for given, wanted in self.data for item in (*given, *wanted)]
        return all(isinstance(item, np.ndarray) and item.dtype.name in _STANDARD for item in arrays)


def with_constants(loaded: Loaded) -> Loaded:
    """The test with the inputs that decide shapes (axes, pads, sizes …) as initializers, as exporters write them.

    The suite passes everything at run time. Where nothing changes, `loaded` itself is returned.
    """
    import onnx
    from onnx import numpy_helper

    from optc.ops.parameters import PARAMETERS

    names = {
        node.input[position]
        for node in loaded.model.graph.node
        for position in PARAMETERS.get(f"onnx.{node.op_type}", ())
        if position < len(node.input)
    }
    (given, wanted), *more = loaded.data
    fixed = {
        info.name: array
        for info, array in zip(loaded.inputs, given, strict=False)
        if info.name in names and isinstance(array, np.ndarray)
    }
    if more or not fixed:
        return loaded
    model = onnx.ModelProto()
    model.CopyFrom(loaded.model)
    model.graph.initializer.extend(numpy_helper.from_array(array, name) for name, array in fixed.items())
    rest = [array for info, array in zip(loaded.inputs, given, strict=False) if info.name not in fixed]
    return Loaded(model, [(rest, wanted)])


def cases(prefixes: Sequence[str] = (), kinds: Sequence[str] = KINDS) -> list[Any]:
    """The suite's tests whose data comes with the onnx package, in its order; those that start with a prefix."""
    from onnx.backend.test.loader import load_model_tests

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the suite computes infinities on purpose
        found = [case for kind in kinds for case in load_model_tests(kind=kind)]
    return [case for case in found if not prefixes or case.name.startswith(tuple(prefixes))]


def load_case(case: Any) -> Loaded:
    """The model and the data sets of a test."""
    import onnx

    if case.model is not None:
        return Loaded(
            case.model,
            [(list(map(_to_value, given)), list(map(_to_value, wanted))) for given, wanted in case.data_sets],
        )
    if case.model_dir is not None:
        folder = Path(case.model_dir)
        model = onnx.load(str(folder / "model.onnx"))
        sets = sorted(folder.glob("test_data_set_*"))
        return Loaded(
            model,
            [
                (_load_values(each, "input", graph_inputs(model)), _load_values(each, "output", model.graph.output))
                for each in sets
            ],
        )
    path = Path(onnx.__file__).parent.parent / case.url
    model = onnx.load(str(path))
    expected = onnx.TensorProto.FromString(path.with_name(f"{path.stem}_output_0.pb").read_bytes())
    return Loaded(model, [([_ramp(info) for info in graph_inputs(model)], [_to_value(expected)])])


def graph_inputs(model: Any) -> list[Any]:
    """The inputs of a model that are not initializers."""
    constants = {tensor.name for tensor in model.graph.initializer}
    return [info for info in model.graph.input if info.name not in constants]


def _ramp(info: Any) -> np.ndarray:
    """The input that the suite feeds to its light models: 0 … 1 in equal steps."""
    shape = [dim.dim_value or 1 for dim in info.type.tensor_type.shape.dim]
    return (np.arange(np.prod(shape)).reshape(shape) / np.prod(shape)).astype(np.float32)


def _to_value(item: Any) -> Any:
    """A tensor, sequence or optional of the suite as NumPy arrays and lists."""
    import onnx
    from onnx import numpy_helper

    if isinstance(item, onnx.TensorProto):
        return numpy_helper.to_array(item)
    if isinstance(item, onnx.SequenceProto):
        return numpy_helper.to_list(item)
    if isinstance(item, onnx.OptionalProto):
        return numpy_helper.to_optional(item)
    return item if item is None or isinstance(item, list) else np.asarray(item)


def _load_values(folder: Path, stem: str, infos: Any) -> list[Any]:
    """The stored values of one data set, in the order of `infos`."""
    import onnx

    protos = {"sequence_type": onnx.SequenceProto, "optional_type": onnx.OptionalProto}
    return [
        _to_value(
            protos.get(info.type.WhichOneof("value"), onnx.TensorProto).FromString(
                (folder / f"{stem}_{index}.pb").read_bytes()
            )
        )
        for index, info in enumerate(infos)
    ]


@dataclass(frozen=True)
class Verdict:
    """How outputs compare with the suite's.

    Attributes:
        difference: what differs; None where nothing does.
        rounding: the outputs are outside the suite's tolerance by no more than `ROUNDING`.
    """

    difference: str | None = None
    rounding: bool = False


def judge(case: Any, given: Sequence[Any], actual: Sequence[Any], expected: Sequence[Any]) -> Verdict:
    """Compare the outputs of a test with the suite's, within the test's tolerance."""
    kind = next((RANDOM[name] for name in RANDOM if case.name.startswith(name)), None)
    if kind is not None and not case.name.startswith(_DETERMINISTIC):
        return Verdict(_judge_random(kind, given, actual, expected))
    rounding = False
    for position, (got, want) in enumerate(zip(actual, expected, strict=True)):
        if same(got, want, case.rtol, case.atol):
            continue
        if not _same_rounded(got, want):
            return Verdict(f"output {position} {_difference(got, want)}")
        rounding = True
    return Verdict(None, rounding)


def same(actual: Any, expected: Any, rtol: float, atol: float) -> bool:
    """Whether an output equals the suite's: the same kind, type and shape, and each element within the tolerance."""
    if isinstance(expected, list):
        return len(actual) == len(expected) and all(
            same(a, e, rtol, atol) for a, e in zip(actual, expected, strict=True)
        )
    if expected is None:
        return actual is None
    actual, expected = np.asarray(actual), np.asarray(expected)
    if actual.shape != expected.shape or (actual.dtype != expected.dtype and expected.dtype.kind not in "OSU"):
        return False
    if expected.dtype.kind in "OSU":
        return actual.astype(str).tolist() == expected.astype(str).tolist()
    if expected.dtype.kind in "biu":
        return bool(np.array_equal(actual, expected))
    wide = np.complex128 if expected.dtype.kind == "c" else np.float64
    return bool(np.allclose(actual.astype(wide), expected.astype(wide), rtol=rtol, atol=atol, equal_nan=True))


def _same_rounded(actual: Any, expected: Any) -> bool:
    """Whether floats agree to the `ROUNDING` units of their type's precision, relative to the largest of them.

    The suite computes sums in double precision or in its own order, and asks of a sum that cancels to zero that it is
    within 1e-7 whatever its terms were.
    """
    if not isinstance(expected, np.ndarray) or expected.dtype.name not in ROUNDING or expected.size == 0:
        return False
    wide = expected.astype(np.float64)
    scale = float(np.max(np.abs(wide[np.isfinite(wide)]), initial=0))
    precision = float(ml_dtypes.finfo(expected.dtype).eps)
    return same(actual, expected, 0.0, ROUNDING[expected.dtype.name] * precision * scale)


def _judge_random(kind: str, given: Sequence[Any], actual: Sequence[Any], expected: Sequence[Any]) -> str | None:
    for got, want in zip(actual, expected, strict=True):
        if got.shape != want.shape or got.dtype != want.dtype:
            return f"is {got.dtype}{list(got.shape)}, not {want.dtype}{list(want.shape)}"
    values = np.asarray(actual[0], np.float64)
    if kind == "bernoulli":
        return None if np.isin(values, (0, 1)).all() else "has values other than 0 and 1"
    ratio = float(given[1]) if len(given) > 1 else 0.5
    kept = values != 0
    if not np.allclose(values[kept], (given[0] / (1 - ratio))[kept], rtol=1e-5):
        return "has values that are neither 0 nor the scaled input"
    if len(actual) > 1 and not np.array_equal(actual[1], kept):
        return "does not fit the mask"
    return None


def _difference(actual: Any, expected: Any) -> str:
    if not isinstance(expected, np.ndarray):
        return "differs"
    actual = np.asarray(actual)
    if actual.shape != expected.shape or actual.dtype != expected.dtype:
        return f"is {actual.dtype}{list(actual.shape)}, not {expected.dtype}{list(expected.shape)}"
    return f"begins {actual.reshape(-1)[:4].tolist()}, not {expected.reshape(-1)[:4].tolist()}"
