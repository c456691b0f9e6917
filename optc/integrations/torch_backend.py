"""`torch.compile(model, backend="optc")`: the graphs that dynamo finds run as artifacts, where they can."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from optc.errors import OptcError

if TYPE_CHECKING:
    import torch

    from optc.runtime import Artifact

_warned: set[str] = set()


class OptcWarning(UserWarning):
    """A part of a model runs in PyTorch, and why; each reason is told once."""


def optc(
    graph: torch.fx.GraphModule, example_inputs: Sequence[Any], *, options: Mapping[str, Any] | None = None, **_: Any
) -> Callable[..., Any]:
    """The backend as dynamo calls it, once for each graph and each set of shapes.

    Parameters and buffers become constants of the artifact: where one changes later, the graph runs in PyTorch again.
    So does a graph that needs gradients, has dimensions that are free, writes to its inputs, or is nothing that optc
    compiles.

    Args:
        graph: what dynamo traced.
        example_inputs: tensors, and parameters where dynamo lifted them out of the graph.
        options: arguments of `optc.compile`, such as `{"tune": 0}`.

    Returns:
        a function of the same inputs to a sequence of the graph's outputs.
    """
    import torch

    reason = _refusal(graph, example_inputs)
    if reason is None:
        try:
            with torch.no_grad():
                return _compiled(graph, example_inputs, dict(options or {}))
        except OptcError as error:
            reason = f"{error.what}: {error.why}" if error.why else error.what
        except _Refused as refused:
            reason = str(refused)
    _warn(reason)
    return graph.forward


class _Refused(Exception):
    """Why a graph does not become an artifact."""


def _warn(reason: str) -> None:
    if reason not in _warned:
        _warned.add(reason)
        warnings.warn(f"a part of the model runs in PyTorch: {reason}", OptcWarning, stacklevel=2)


def _refusal(graph: torch.fx.GraphModule, inputs: Sequence[Any]) -> str | None:
    import torch

    if not all(isinstance(value, torch.Tensor) for value in inputs):
        return "dimensions are free; torch.compile(..., dynamic=False) compiles for each shape"
    if any(not isinstance(size, int) for value in inputs for size in value.shape):
        return "dimensions are free; torch.compile(..., dynamic=False) compiles for each shape"
    if torch.is_grad_enabled() and any(value.requires_grad for value in [*inputs, *graph.parameters()]):
        return "gradients are needed; call it under torch.no_grad() or torch.inference_mode()"
    if any(value.device.type != "cpu" for value in inputs):
        return "its tensors are not in this machine's memory"
    return None


def _compiled(graph: torch.fx.GraphModule, inputs: Sequence[Any], options: dict[str, Any]) -> Callable[..., Any]:
    import torch

    from optc import driver

    static = [number for number, value in enumerate(inputs) if isinstance(value, torch.nn.Parameter)]
    free = [number for number in range(len(inputs)) if number not in static]
    frozen = {number: inputs[number] for number in static}
    watched = [*frozen.values(), *graph.parameters(), *graph.buffers()]
    versions = [_version(value) for value in watched]

    class Frozen(torch.nn.Module):
        """The graph as a function of what is no parameter; only tensors come out."""

        def __init__(self) -> None:
            super().__init__()
            self.graph = graph
            for number, value in frozen.items():
                self.register_buffer(f"frozen_{number}", value.detach())

        def forward(self, *given: Any) -> Any:
            values = dict(zip(free, given, strict=True))
            every = [values[n] if n in values else getattr(self, f"frozen_{n}") for n in range(len(inputs))]
            return tuple(self.graph(*every))

    examples = tuple(_plain(inputs[number]) for number in free)
    if not examples:
        raise _Refused("it has no input")
    try:
        program = torch.export.export(Frozen(), examples, strict=False).run_decompositions({})
    except Exception as error:
        raise _Refused(f"torch.export cannot trace it: {str(error).strip().splitlines()[0]}") from error
    signature = program.graph_signature
    kinds = [str(spec.kind.name) for spec in signature.output_specs]
    if any(kind != "USER_OUTPUT" for kind in kinds):
        raise _Refused("it writes to its inputs or buffers")
    artifact = driver.compile(program, **{"tune": 0, "verify": False, **options})
    if len(artifact.inputs) != len(examples) or len(artifact.outputs) != len(kinds):
        raise _Refused("its inputs or outputs are not tensors alone")
    return _Runner(graph, artifact, free, list(zip(watched, versions, strict=True)))


class _Runner:
    """Runs an artifact on tensors, and the graph itself once a weight has changed."""

    def __init__(
        self, graph: torch.fx.GraphModule, artifact: Artifact, free: list[int], watched: list[tuple[Any, int | None]]
    ) -> None:
        self._graph = graph
        self._artifact = artifact
        self._free = free
        self._watched = watched

    def __call__(self, *values: Any) -> Any:
        import torch

        if any(_version(value) != version for value, version in self._watched):
            _warn("its weights have changed since it was compiled")
            return self._graph(*values)
        feed = {
            info.name: _array(values[number]) for info, number in zip(self._artifact.inputs, self._free, strict=True)
        }
        found = self._artifact.run(feed)
        return [torch.from_numpy(found[info.name]) for info in self._artifact.outputs]


def _version(value: Any) -> int | None:
    """How often a tensor was written to; None for one of inference mode, which does not count."""
    return None if value.is_inference() else value._version


def _plain(value: Any) -> Any:
    """A tensor of its own with the values of one, as an example."""
    return value.detach().clone()


def _array(value: Any) -> np.ndarray:
    return value.detach().contiguous().numpy()
