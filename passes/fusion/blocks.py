"""Join chains of kernels into blocks that work tile by tile, where that is faster than one kernel after the other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from optc.costmodel.analytical import AnalyticalCostModel
from optc.costmodel.interface import Candidate, CostModel
from optc.ir.core import Graph, Module, Operation
from optc.ir.printer import canonical_text
from optc.ops.stages import chain, is_contraction
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.fusion.build import FUSED, joined
from optc.targets.target import Target


@dataclass(eq=False)
class _Option:
    """Neighbours on a path of kernels, from `first` to `end`, that might be one.

    Attributes:
        groups: the kernels.
        block: what they would become; in no graph.
        seconds: of the block, predicted or measured.
        apart: of the kernels one after the other.
        measured: whether both were measured on the host.
    """

    groups: tuple[Operation, ...]
    first: int
    block: Operation
    seconds: float
    apart: float
    measured: bool = False

    @property
    def end(self) -> int:
        return self.first + len(self.groups)

    @property
    def gain(self) -> float:
        return self.apart - self.seconds

    @property
    def comparison(self) -> str:
        basis = "measured" if self.measured else "predicted"
        return f"{self.seconds * 1e6:.1f} µs in one kernel, {self.apart * 1e6:.1f} µs in {len(self.groups)} ({basis})"


@dataclass(frozen=True)
class FuseBlocks(Pass):
    """Join kernels with one contraction each, where each feeds the next one's data and nothing else.

    The cost model prices every chain of two or more neighbours, in tiles of the best height, against the kernels one
    after the other. Where the host may be measured, the most promising distinct blocks race against their kernels, and
    only what was measured to be faster is joined. Of the joins along a path of kernels those that gain most together
    are made, by dynamic programming.

    Attributes:
        max_stages: contractions in a block.
        max_measured: distinct blocks that are measured.
        least_gain: the share of the kernels' time that a block must save.
    """

    name: ClassVar[str] = "fuse-blocks"
    max_stages: int = 3
    max_measured: int = 3
    least_gain: float = 0.05

    def run(self, module: Module, context: PassContext) -> bool:
        if context.target is None:
            return False
        model = context.cost_model or AnalyticalCostModel()
        paths = [_Path(path) for path in _paths(module.main)]
        for path in paths:
            path.options = self._options(path.groups, context, context.target, model)
        self._measure(paths, context)
        made = []
        for path in paths:
            chosen = _best(path.options, len(path.groups), self.least_gain)
            for option in path.options:
                self._remark(option, option in chosen, path.options, context)
                if option not in chosen:
                    option.block.drop_operands()
            made += chosen
        for option in made:
            _replace(option)
        return bool(made)

    def _options(
        self, groups: Sequence[Operation], context: PassContext, target: Target, model: CostModel
    ) -> list[_Option]:
        """The blocks on a path that a backend accepts.

        What a block takes of its kernels' time is the roofline's share, whatever prices the kernels: other models know
        kernels with one contraction only.
        """
        roofline = AnalyticalCostModel(getattr(model, "threads", 1))
        prices = [each.seconds for each in model.predict([_candidate(group) for group in groups], target)]
        bounds = [each.seconds for each in roofline.predict([_candidate(group) for group in groups], target)]
        options = []
        for first in range(len(groups)):
            for end in range(first + 2, min(first + self.max_stages, len(groups)) + 1):
                block = joined(groups[first:end])
                body = block.graphs["body"]
                found = chain(list(body), body.outputs)
                reason = found if isinstance(found, str) else context.accepts(block)
                if reason is not None:
                    context.remarks.append(Remark(self.name, "missed", _rule_name(block), reason, block.location))
                    block.drop_operands()
                    break
                (bound,) = roofline.predict([_candidate(block)], target)
                apart = sum(prices[first:end])
                share = bound.seconds / sum(bounds[first:end])
                options.append(_Option(tuple(groups[first:end]), first, block, apart * share, apart))
        return options

    def _measure(self, paths: Sequence[_Path], context: PassContext) -> None:
        """Put measured times in the place of predictions; what was not measured then gains nothing.

        The blocks that would be made by prediction come first, then their rivals.
        """
        options = [option for path in paths for option in path.options]
        likely = {each for path in paths for each in _best(path.options, len(path.groups), self.least_gain)}
        alike: dict[str, list[_Option]] = {}
        for option in options:
            if option.gain > self.least_gain * option.apart:
                alike.setdefault(canonical_text(option.block.graphs["body"]), []).append(option)
        ranked = sorted(alike.values(), key=lambda each: (likely.isdisjoint(each), -each[0].gain * len(each)))
        promising = ranked[: self.max_measured]
        times = context.race([(each[0].block, each[0].groups) for each in promising])
        if times is None:
            return
        for option in options:
            if option.gain > 0:
                option.seconds = max(option.seconds, option.apart)
        for same, seconds in zip(promising, times, strict=True):
            for option in same:
                if seconds is not None:
                    option.seconds, option.apart = seconds
                    option.measured = True

    def _remark(self, option: _Option, applied: bool, options: Sequence[_Option], context: PassContext) -> None:
        predicted = {"block_seconds": option.seconds, "apart_seconds": option.apart}
        others = [
            each for each in options if each is not option and each.first < option.end and option.first < each.end
        ]
        runner_up = max(others, key=lambda each: each.gain, default=None)
        reason = option.comparison
        if runner_up is not None and runner_up.gain > 0:
            reason += f"; the best other block here gains {runner_up.gain * 1e6:.1f} µs"
            predicted["runner_up_seconds"] = option.apart - runner_up.gain
        status = "applied" if applied else "missed"
        context.remarks.append(
            Remark(self.name, status, _rule_name(option.block), reason, option.block.location, predicted)  # type: ignore[arg-type]
        )


@dataclass
class _Path:
    """Kernels each of which feeds the next one alone, and the blocks that they could become."""

    groups: list[Operation]
    options: list[_Option] = field(default_factory=list)


def _paths(graph: Graph) -> Iterator[list[Operation]]:
    """The longest paths of fused operations, with one contraction each, that hand one value to the next one."""
    following = {}
    for operation in graph:
        reader = _only_reader(operation)
        if reader is not None:
            following[operation] = reader
    followed = set(following.values())
    for operation in graph:
        if operation in following and operation not in followed:
            path = [operation]
            while path[-1] in following:
                path.append(following[path[-1]])
            yield path


def _only_reader(group: Operation) -> Operation | None:
    """The fused contraction that alone reads, once, as its data, what a fused contraction makes."""
    if not _has_contraction(group) or len(group.results) != 1 or len(group.result.uses) != 1:
        return None
    ((reader, position),) = group.result.uses
    if reader.graph is not group.graph or not _has_contraction(reader):
        return None
    body = reader.graphs["body"]
    anchor = next(operation for operation in body if is_contraction(operation))
    return reader if _depends(anchor.operands[0], body.inputs[position]) else None


def _has_contraction(group: Operation) -> bool:
    return group.name == FUSED and sum(map(is_contraction, group.graphs["body"])) == 1


def _depends(value: object, source: object) -> bool:
    """Whether a value is another one or worked out of it."""
    producer = getattr(value, "producer", None)
    return value is source or (producer is not None and any(_depends(each, source) for each in producer.operands))


def _candidate(group: Operation) -> Candidate:
    return Candidate.of_graph(group.graphs["body"])


def _best(options: Sequence[_Option], length: int, least_gain: float) -> list[_Option]:
    """The options without a kernel in common that gain most: dynamic programming over the ends."""
    best: list[tuple[float, list[_Option]]] = [(0.0, [])]
    for end in range(1, length + 1):
        found = best[-1]
        for option in options:
            if option.end == end and option.gain > least_gain * option.apart:
                gain, chosen = best[option.first]
                found = max(found, (gain + option.gain, [*chosen, option]), key=lambda each: each[0])
        best.append(found)
    return best[-1][1]


def _replace(option: _Option) -> None:
    """Put the block where the last of its kernels stood."""
    last = option.groups[-1]
    graph = last.graph
    assert graph is not None
    graph.insert(option.block, last.next)
    for old, new in zip(last.results, option.block.results, strict=True):
        old.replace_by(new)
    for group in reversed(option.groups):
        graph.erase(group)


def _rule_name(block: Operation) -> str:
    names = [each.name.split(".")[-1].lower() for each in block.graphs["body"] if is_contraction(each)]
    return "block-" + "-".join(names)
