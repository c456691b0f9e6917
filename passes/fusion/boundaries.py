"""Why two kernels, one of which reads what the other writes, are not one: a rule, or what one would cost."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from optc.costmodel.interface import Candidate, CostModel
from optc.ir.captures import free_values
from optc.ir.core import Operation
from optc.passes.base import Remark
from optc.passes.fusion.rules import GroupRules
from optc.passes.fusion.search import Run
from optc.targets.target import Target

WHAT = "boundary"


def boundaries(
    runs: Sequence[Run], rules: GroupRules, model: CostModel, target: Target, pass_name: str
) -> Iterator[Remark]:
    """A missed remark for each pair of kernels of a division one of which reads what the other writes.

    The nodes are those of the operation that writes and of the first one that reads, so that a pair can be told from
    others. Where one kernel would be legal, `predicted` has its seconds and those of the two.

    Args:
        runs: in a topological order.
    """
    home = {operation: i for i, run in enumerate(runs) for operation in run.candidate.operations}
    order = {operation: i for i, operation in enumerate(home)}
    pairs: dict[tuple[int, int], tuple[Operation, Operation]] = {}
    for operation, reader in home.items():
        for value in free_values(operation):
            writer = home.get(value.producer) if value.producer is not None else None
            if writer is not None and writer != reader and runs[writer].estimate and runs[reader].estimate:
                assert value.producer is not None
                pairs.setdefault((writer, reader), (value.producer, operation))
    readers: dict[int, list[int]] = {}
    for writer, reader in pairs:
        readers.setdefault(writer, []).append(reader)
    for (writer, reader), (producer, operation) in pairs.items():
        both = [each for i in (writer, reader) for each in runs[i].candidate.operations]
        joined = Candidate.of_operations(sorted(both, key=order.__getitem__))
        reason, predicted = rules.refusal(joined), {}
        if reason is None and _waits(writer, reader, readers):
            reason = "another kernel waits for the first, and the second waits for it"
        if reason is None:
            (estimate,) = model.predict([joined], target)
            apart = runs[writer].seconds + runs[reader].seconds
            predicted = {"joined_seconds": estimate.seconds, "apart_seconds": apart}
            reason = f"one kernel would take {estimate.seconds * 1e6:.1f} µs, the two take {apart * 1e6:.1f} µs"
        yield Remark(pass_name, "missed", WHAT, reason, producer.location + operation.location, predicted)


def _waits(first: int, last: int, readers: Mapping[int, Sequence[int]]) -> bool:
    """Whether a third run lies on a path between two."""
    waiting = [each for each in readers.get(first, ()) if each != last]
    seen = set(waiting)
    while waiting:
        run = waiting.pop()
        if run == last:
            return True
        found = [each for each in readers.get(run, ()) if each <= last and each not in seen]
        seen.update(found)
        waiting += found
    return False
