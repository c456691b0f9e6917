"""onnxruntime's session over artifacts: existing code changes one import."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.artifact.manifest import MANIFEST
from optc.errors import ModelError, UsageError
from optc.program import TensorInfo

if TYPE_CHECKING:
    from optc.runtime import Artifact

PROVIDER = "OptcExecutionProvider"
MOST_SHAPES = 8
"""So many artifacts of one model with free dimensions are kept, those used last."""

_ONNX_NAMES = {"float32": "float", "float64": "double"}

Shape = tuple[int | str | None, ...]


@dataclass(frozen=True)
class NodeArg:
    """An input or output as onnxruntime describes it: `tensor(float)`, and free dimensions by name or None."""

    name: str
    type: str
    shape: list[int | str | None]


class InferenceSession:
    """A model that runs, with the methods of `onnxruntime.InferenceSession`.

    Args:
        path_or_bytes: an artifact's folder, or an ONNX model as a path or bytes. A model is compiled first; one with
            free dimensions is compiled for the shapes of each run that has new ones.
        sess_options: only `intra_op_num_threads` is heeded.
        providers, provider_options: taken and passed over: there is one provider.
        options: further arguments of `optc.compile`, such as `tune=0`.

    Raises:
        OptcError: the model cannot be read or compiled.
    """

    def __init__(
        self,
        path_or_bytes: str | os.PathLike[str] | bytes,
        sess_options: Any = None,
        providers: Sequence[Any] | None = None,
        provider_options: Sequence[Mapping[str, Any]] | None = None,
        **options: Any,
    ) -> None:
        self._threads: int | None = getattr(sess_options, "intra_op_num_threads", 0) or options.pop("threads", None)
        self._options = options
        self._artifacts: OrderedDict[tuple[tuple[int, ...], ...], Artifact] = OrderedDict()
        self._fixed: Artifact | None = None
        self._model: str | bytes | None = None
        if not isinstance(path_or_bytes, bytes) and (Path(path_or_bytes) / MANIFEST).exists():
            from optc.runtime import load

            self._fixed = load(Path(path_or_bytes), threads=self._threads)
            self._inputs = [_node_arg(info) for info in self._fixed.inputs]
            self._outputs = [_node_arg(info) for info in self._fixed.outputs]
            return
        self._model = path_or_bytes if isinstance(path_or_bytes, bytes) else os.fspath(path_or_bytes)
        self._inputs, self._outputs = _interface(self._model)
        if all(isinstance(size, int) for each in self._inputs for size in each.shape):
            self._fixed = self._compile({})

    def get_inputs(self) -> list[NodeArg]:
        """The inputs in the model's order."""
        return list(self._inputs)

    def get_outputs(self) -> list[NodeArg]:
        """The outputs in the model's order."""
        return list(self._outputs)

    def get_providers(self) -> list[str]:
        """The one provider."""
        return [PROVIDER]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, Any], run_options: Any = None
    ) -> list[np.ndarray]:
        """Compute the outputs.

        Args:
            output_names: which, in order; None or empty for all.
            input_feed: an array for each input.
            run_options: passed over.

        Raises:
            UsageError: a name, type or shape does not fit.
        """
        known = [each.name for each in self._outputs]
        for name in output_names or ():
            if name not in known:
                raise UsageError(f"the model has no output '{name}'", hint=f"it has: {', '.join(known)}")
        feed = {name: np.asarray(value) for name, value in input_feed.items()}
        found = self._artifact(feed).run(feed)
        return [found[name] for name in output_names or known]

    def _artifact(self, feed: Mapping[str, np.ndarray]) -> Artifact:
        if self._fixed is not None:
            return self._fixed
        for each in self._inputs:
            if each.name not in feed:
                raise UsageError(f"the input '{each.name}' is missing")
        shapes = {each.name: feed[each.name].shape for each in self._inputs}
        key = tuple(shapes.values())
        if key not in self._artifacts:
            self._artifacts[key] = self._compile(shapes)
            if len(self._artifacts) > MOST_SHAPES:
                self._artifacts.popitem(last=False)[1].close()
        self._artifacts.move_to_end(key)
        return self._artifacts[key]

    def _compile(self, shapes: Mapping[str, tuple[int, ...]]) -> Artifact:
        from optc import driver

        return driver.compile(self._model, shapes=shapes, threads=self._threads, **self._options)


def _interface(model: str | bytes) -> tuple[list[NodeArg], list[NodeArg]]:
    """The inputs and outputs of an ONNX model, whose weights are not read. Raises ModelError."""
    import onnx

    try:
        if isinstance(model, bytes):
            proto = onnx.load_from_string(model)
        else:
            proto = onnx.load(model, load_external_data=False)
    except Exception as fault:
        where = None if isinstance(model, bytes) else model
        raise ModelError("the model cannot be read", where=where, why=str(fault).split("\n")[0]) from fault
    filled = {tensor.name for tensor in proto.graph.initializer}
    inputs = [each for each in proto.graph.input if each.name not in filled]
    return [_declared(each) for each in inputs], [_declared(each) for each in proto.graph.output]


def _declared(value: Any) -> NodeArg:
    import onnx

    tensor = value.type.tensor_type
    kind = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)).name if tensor.elem_type else "float32"
    shape = [
        dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None
        for dim in (tensor.shape.dim if tensor.HasField("shape") else ())
    ]
    return NodeArg(value.name, _type_name(kind), shape)


def _node_arg(info: TensorInfo) -> NodeArg:
    return NodeArg(info.name, _type_name(info.dtype), list(info.shape or ()))


def _type_name(dtype: str) -> str:
    return f"tensor({_ONNX_NAMES.get(dtype, dtype)})"
