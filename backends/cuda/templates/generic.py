"""Any group whose operations have lowerings: one launch for each stage and output, in between in global memory."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from optc.backends.cuda import nests
from optc.backends.cuda.estimate import group_bytes, memory_seconds, overlapped, peak
from optc.backends.cuda.function import Function
from optc.backends.cuda.kernel import Argument, Launch
from optc.backends.cuda.printing import Printer
from optc.backends.cuda.template import CudaTemplate, Definition, Schedule
from optc.backends.tvm import loops
from optc.backends.tvm.emission.kernel import GroupKernel, storage_name
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import Stage
from optc.backends.tvm.lowering.context import Elements
from optc.backends.tvm.templates.generic import group_refusal, pointwise_refusal

if TYPE_CHECKING:
    from optc.targets.target import Target

_MANY = 128  # results a multiprocessor from which one thread each fills it
_HIDING = 512  # threads a multiprocessor that hide the latency of memory
_STEPS = 12.0  # instructions of an element beside its operations: indices, a load, a store
_MOST_TERMS = 128  # that one thread sums by itself


def instruction_seconds(count: float, target: Target) -> float:
    """The time of so many instructions of single threads on the whole device."""
    return 2 * count / (peak(target, "f32") * target.cores)


def moved(group: Group, outputs: Sequence[int], target: Target) -> float:
    """The time to read the inputs and write the outputs, by one thread for each element."""
    return memory_seconds(group_bytes(group), -(-sum(outputs) // nests.THREADS), 4.0 * nests.THREADS, target)


def lanes_of(size: int, terms: int, cores: int) -> int:
    """Threads that share one result of a reduction of `size` results by so many terms each."""
    if size >= _MANY * cores:
        return 1
    if size >= cores or terms < 4 * nests.THREADS:
        return nests.lanes_for(terms)
    return nests.THREADS


class Generic(CudaTemplate):
    """See the module."""

    name = "generic"
    priority = 0

    def refuses(self, group: Group, target: Target) -> str | None:
        return group_refusal(group)

    def space(self, group: Group, target: Target) -> list[Schedule]:
        return [()]

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        return _Launches(group, symbol, target.cores).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        kernel, seconds = GroupKernel(group), 0.0
        for stage in kernel.stages:
            size, terms = math.prod(stage.shape), math.prod(stage.extents)
            lanes = lanes_of(size, terms, target.cores)
            # Few threads do not hide what they wait for.
            busy = min(1.0, size * lanes / (_HIDING * target.cores))
            seconds += instruction_seconds(size * (_STEPS + 8 * terms), target) / busy
            seconds += target.launch_seconds + 8 * size / target.memory_bandwidth_all
        outputs = [math.prod(value.tensor_type.stored_shape) for value in group.body.outputs]
        seconds += instruction_seconds(_STEPS * sum(outputs), target) + moved(group, outputs, target)
        return seconds + target.launch_seconds * len(set(outputs))


class _Launches:
    def __init__(self, group: Group, symbol: str, cores: int) -> None:
        self.kernel = GroupKernel(group)
        self.symbol = symbol
        self.cores = cores
        self.parameters: list[tuple[Argument, Any]] = [
            (("input", i), buffer) for i, buffer in enumerate(self.kernel.inputs)
        ]
        self.parameters += [(("output", i), buffer) for i, (_, _, buffer) in enumerate(self.kernel.outputs)]
        self.printer: Printer | None = None  # of the output that is being written
        self.scratch: list[int] = []
        self.texts: list[str] = []
        self.launches: list[Launch] = []

    def definition(self, *, inline: bool = False) -> Definition:
        """The code; `inline` computes the results of a reduction where they are read."""
        for number, stage in enumerate(self.kernel.stages):
            if inline:
                self._read_inline(number, stage)
            else:
                self._stage(number, stage)
        self._outputs()
        text, launches = "\n".join(self.texts), tuple(self.launches)
        return Definition(text, launches, {}, tuple(self.scratch), tuple((i, 0) for i in self._overwritten()))

    def _overwritten(self) -> list[int]:
        """The inputs that the output may lie over: of a single element-wise function."""
        if len(self.launches) != 1 or len(self.kernel.outputs) != 1 or self.printer is None:
            return []
        return self.printer.overwritten(self.kernel.inputs, self.kernel.outputs[0][2])

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

        def write(printer: Printer, own: Sequence[Any], values: Elements) -> None:
            place = nests.flat(own, stage.shape)
            for buffer, value in zip(buffers, values, strict=True):
                nests.store(printer, buffer, value, place)

        if stage.combiner is None:

            def elements(printer: Printer, own: Sequence[Any]) -> list[tuple[Any, Any]]:
                values = nests.scoped_all(lambda: stage.body(own, ()), lambda each: each)
                return list(zip(buffers, values, strict=True))

            widest = max(dtype.bytes for dtype in stage.dtypes)
            self._add(nests.map_function(self._function, stage.shape, max(widest, self._widest()), elements))
        else:
            self._reduction(self._function(), f"{self.symbol}_partial{number}", stage, write)
        stage.read = tuple(nests.reader(b, stage.shape, t) for b, t in zip(buffers, stage.dtypes, strict=True))

    def _read_inline(self, number: int, stage: Stage) -> None:
        """Let reads of a stage print the loops of its reduction, once for each place that is read."""
        assert stage.combiner is not None
        partial = nests.Partial(f"{self.symbol}_partial{number}", stage.combiner, stage.dtypes)
        self.texts.append(partial.text)
        known: dict[tuple[object, ...], tuple[Any, ...]] = {}

        def components(indices: Sequence[Any]) -> tuple[Any, ...]:
            printer = self.printer
            assert printer is not None
            key = (id(printer), *map(str, indices))
            if key not in known:

                def define() -> list[str]:
                    name = nests.reduced(printer, partial, stage, indices)
                    return [f"{name}.c{component}" for component in range(len(partial.dtypes))]

                known[key] = printer.defer(partial.dtypes, define)
            return known[key]

        def reading(component: int) -> Callable[..., Any]:
            return lambda *indices: components(indices)[component]

        stage.read = tuple(map(reading, range(len(stage.dtypes))))

    def _reduction(
        self, function: Function, name: str, stage: Stage, write: Callable[[Printer, Sequence[Any], Elements], None]
    ) -> None:
        assert stage.combiner is not None
        partial = nests.Partial(name, stage.combiner, stage.dtypes)
        self.texts.append(partial.text)
        size, terms = math.prod(stage.shape), math.prod(stage.extents)
        threads = nests.THREADS
        lanes = lanes_of(size, terms, self.cores)
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

            def elements(
                printer: Printer, place: Sequence[Any], outputs: list[Any] = outputs
            ) -> list[tuple[Any, Any]]:
                self.printer = printer
                return [(buffer, nests.output_element(value, tensor, place)) for value, tensor, buffer in outputs]

            self._add(nests.map_function(self._function, shape, self._widest(), elements))

    def _widest(self) -> int:
        """Bytes of the widest element that the kernel reads or writes."""
        values = [*self.kernel.sources, *(value for value, _, _ in self.kernel.outputs)]
        return max(value.dtype.bytes for value in values)


class Pointwise(Generic):
    """Groups of element-wise and movement operations only."""

    name = "pointwise"
    priority = 10

    def refuses(self, group: Group, target: Target) -> str | None:
        return pointwise_refusal(group)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        outputs = [math.prod(value.tensor_type.stored_shape) for value in group.body.outputs]
        steps = sum(outputs) * (_STEPS + len(list(group.body)))
        return target.launch_seconds + overlapped(instruction_seconds(steps, target), moved(group, outputs, target))


class Inline(Generic):
    """Groups whose reductions are short: each thread makes an element of the result, and the windows it reads."""

    name = "inline"
    priority = 0

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = group_refusal(group)
        if refusal is not None:
            return refusal
        stages = GroupKernel(group).stages
        if len(stages) != 1 or stages[0].combiner is None:
            return "it has no single reduction"
        terms = math.prod(stages[0].extents)
        return None if terms <= _MOST_TERMS else f"each element takes a sum of {terms}"

    def build(self, group: Group, schedule: Schedule, target: Target, symbol: str) -> Definition:
        return _Launches(group, symbol, target.cores).definition(inline=True)

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        (stage,) = GroupKernel(group).stages
        outputs = [math.prod(value.tensor_type.stored_shape) for value in group.body.outputs]
        steps = sum(outputs) * (_STEPS + len(list(group.body)) + 4 * math.prod(stage.extents))
        return target.launch_seconds + overlapped(instruction_seconds(steps, target), moved(group, outputs, target))
