"""Any group whose operations have lowerings: one launch for each stage and output, in between in global memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.cuda import nests
from optc.backends.cuda.estimate import group_bytes, group_flops, peak
from optc.backends.cuda.function import Function
from optc.backends.cuda.kernel import Argument, Launch
from optc.backends.cuda.printing import Printer
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.tvm import loops
from optc.backends.tvm.emission.kernel import GroupKernel, storage_name
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import Stage
from optc.backends.tvm.lowering.context import Elements
from optc.backends.tvm.templates.generic import group_refusal

if TYPE_CHECKING:
    from optc.targets.target import Target

_MANY = 128  # results a multiprocessor from which one thread each fills it


class Generic(CudaTemplate):
    """See the module."""

    name = "generic"
    priority = -10

    def refuses(self, group: Group, target: Target) -> str | None:
        return group_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [()]

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        return _Launches(group, symbol, target.cores).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        moved = group_bytes(group) / target.memory_bandwidth_all
        return target.launch_seconds + moved + 8 * group_flops(group) / (peak(target, "f32") * target.cores)


class _Launches:
    def __init__(self, group: Group, symbol: str, cores: int) -> None:
        self.kernel = GroupKernel(group)
        self.symbol = symbol
        self.cores = cores
        self.parameters: list[tuple[Argument, Any]] = [
            (("input", i), buffer) for i, buffer in enumerate(self.kernel.inputs)
        ]
        self.parameters += [(("output", i), buffer) for i, (_, _, buffer) in enumerate(self.kernel.outputs)]
        self.scratch: list[int] = []
        self.texts: list[str] = []
        self.launches: list[Launch] = []

    def definition(self) -> Definition:
        for number, stage in enumerate(self.kernel.stages):
            self._stage(number, stage)
        self._outputs()
        return Definition("\n".join(self.texts), tuple(self.launches), {}, tuple(self.scratch))

    def _function(self) -> Function:
        return Function(f"{self.symbol}_{len(self.launches)}", self.parameters)

    def _add(self, made: tuple[str, Launch]) -> None:
        self.texts.append(made[0])
        self.launches.append(made[1])

    def _stage(self, number: int, stage: Stage) -> None:
        size = math.prod(stage.shape)
        buffers = []
        for dtype in stage.dtypes:
            buffer = loops.parameter((size,), storage_name(dtype), f"scratch{len(self.scratch)}")
            self.parameters.append((("scratch", len(self.scratch)), buffer))
            self.scratch.append(size * dtype.bytes)
            buffers.append(buffer)
        function = self._function()

        def write(printer: Printer, own: Sequence[Any], values: Elements) -> None:
            place = nests.flat(own, stage.shape)
            for buffer, value in zip(buffers, values, strict=True):
                nests.store(printer, buffer, value, place)

        if stage.combiner is None:

            def element(printer: Printer, own: Sequence[Any]) -> None:
                write(printer, own, nests.scoped_all(lambda: stage.body(own, ()), lambda each: each))

            self._add(nests.map_function(function, stage.shape, element))
        else:
            self._reduction(function, f"{self.symbol}_partial{number}", stage, write)
        stage.read = tuple(nests.reader(b, stage.shape, t) for b, t in zip(buffers, stage.dtypes, strict=True))

    def _reduction(
        self, function: Function, name: str, stage: Stage, write: Callable[[Printer, Sequence[Any], Elements], None]
    ) -> None:
        assert stage.combiner is not None
        partial = nests.Partial(name, stage.combiner, stage.dtypes)
        self.texts.append(partial.text)
        size, terms = math.prod(stage.shape), math.prod(stage.extents)
        threads = nests.THREADS
        if size >= _MANY * self.cores:
            lanes = 1
        elif size >= self.cores or terms < 4 * threads:
            lanes = nests.lanes_for(terms)
        else:
            lanes = threads
        groups = threads // lanes
        printer = function.printer
        blocks = -(-size // groups)
        first = f"blockIdx.x * {groups} + threadIdx.x / {lanes}" if groups > 1 else "blockIdx.x"
        nests.reduce_nest(
            printer, partial, stage, stage.shape, (0,) * len(stage.shape), lambda own, v: write(printer, own, v),
            threads=threads, lanes=lanes, first=first, step=blocks * groups,
        )  # fmt: skip
        self._add(function.finish((blocks, 1, 1), threads))

    def _outputs(self) -> None:
        """One launch for all outputs that are stored in one shape."""
        by_shape: dict[tuple[int, ...], list[Any]] = {}
        for output in self.kernel.outputs:
            by_shape.setdefault(output[0].tensor_type.stored_shape, []).append(output)
        for shape, outputs in by_shape.items():

            def element(
                printer: Printer, place: Sequence[Any], shape: tuple[int, ...] = shape, outputs: list[Any] = outputs
            ) -> None:
                for value, tensor, buffer in outputs:
                    nests.store(printer, buffer, nests.output_element(value, tensor, place), nests.flat(place, shape))

            self._add(nests.map_function(self._function(), shape, element))


class Pointwise(Generic):
    """Groups of element-wise and movement operations only."""

    name = "pointwise"
    priority = 10

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = group_refusal(group)
        if refusal is not None:
            return refusal
        return "it has intermediate results" if GroupKernel(group).stages else None
