"""Several contractions in one kernel, tile by tile of output rows, so that what lies between them stays in cache.

Each thread works through rows from top to bottom. A stage's result is kept in a ring of rows of the thread's own: every
tile makes the rows that are missing, so that rows in which windows overlap are computed once, but for those where one
thread's share ends and another's begins ("line buffers"; Alwani et al., "Fused-layer CNN accelerators", 2016).
"""

from __future__ import annotations

import math
from itertools import pairwise, product
from typing import TYPE_CHECKING

from optc.backends.tvm.group import Group
from optc.backends.tvm.stages import Stage, stages_of
from optc.backends.tvm.template import KernelDefinition, Schedule, Template
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.block_kernel import BlockKernel, Chain, row_template, split_schedule
from optc.backends.tvm.templates.window import window_of

if TYPE_CHECKING:
    from optc.targets.target import Target

MOST_STAGES = 3
MOST_HEIGHTS = 2  # of the rows of a matrix product's register tile


class Block(Template):
    """Chains of convolutions, or of matrix products, with constant weights.

    Schedule: `rows` of the last stage in a tile; the parameters of stage k's own template as `k.name`.
    """

    name = "block"
    priority = 30

    def refuses(self, group: Group, target: Target) -> str | None:
        stages = stages_of(group)
        if isinstance(stages, str):
            return stages
        if not 2 <= len(stages) <= MOST_STAGES:
            return f"{len(stages)} contractions"
        for stage in stages:
            template = row_template(stage, target)
            if isinstance(template, str):
                return template
        for before, after in pairwise(stages):
            refusal = _link_refusal(before, after)
            if refusal is not None:
                return refusal
        packed = [s for stage in stages for i, s in enumerate(stage.sources) if i in _weights(stage)]
        if len(set(packed)) < len(packed):
            return "two stages have the same weights"
        return None

    def space(self, group: Group, target: Target) -> list[Schedule]:
        """The best of all points, and the best one with tiles of another height: each takes long to compile."""
        points = self.points(group, target)
        best = points[0]
        return [best, *[point for point in points if dict(point)["rows"] != dict(best)["rows"]][:1]]

    def points(self, group: Group, target: Target) -> list[Schedule]:
        """Every legal point, the best by estimate first."""
        chain = Chain.of(group, target)
        found = []
        for points in _points(chain, target):
            own = [(f"{number}.{name}", value) for number, point in enumerate(points) for name, value in point]
            height = chain.geometries(points)[-1].rows.out
            for rows in _tile_heights(-(-height // target.cores)):
                found.append(tuple(sorted([("rows", rows), *own])))
        return sorted(found, key=lambda point: self._seconds(chain, point, target))

    def build(self, group: Group, schedule: Schedule, target: Target) -> KernelDefinition:
        return BlockKernel(group, schedule, target, self.estimate(group, schedule, target)).definition()

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        return self._seconds(Chain.of(group, target), schedule, target)

    def _seconds(self, chain: Chain, schedule: Schedule, target: Target) -> float:
        points = split_schedule(schedule)
        rings = chain.rings(points, dict(schedule)["rows"])
        last = chain.geometries(points)[-1]
        tile_count = math.prod(last.lead) * -(-last.rows.out // dict(schedule)["rows"])
        between = [stage.group.body.outputs[0].tensor_type.bytes for stage in chain.stages[:-1]]
        weight_bytes = sum(
            stage.group.body.inputs[i].tensor_type.bytes for stage in chain.stages for i in stage.group.constants
        )
        held = 4 * sum(map(math.prod, rings))
        seconds = 0.0
        for stage, template, point in zip(chain.stages, chain.templates, points, strict=True):
            seconds += template.estimate(stage.group, point, target)
        for moved in between:
            seconds += tiles.traffic(target, held + weight_bytes, moved) - tiles.traffic(target, moved, moved)
        return seconds + (tile_count - 1) * tiles.traffic(target, held + weight_bytes, weight_bytes)


def _weights(stage: Stage) -> set[int]:
    anchor = stage.group.anchor
    assert anchor is not None and anchor.operands[1] is not None
    return {anchor.operands[1].index}


def _link_refusal(before: Stage, after: Stage) -> str | None:
    """Why the rows that a stage makes are not those that the next one reads; None when they are."""
    first, second = before.group.anchor, after.group.anchor
    assert first is not None and second is not None
    value = before.group.body.outputs[0]
    made = list(before.group.body)
    turned = any(each.name in _TURNING for each in made[made.index(first) :])
    if turned or value.shape != first.results[0].shape:
        return f"'{value.name}' is not stored in the order in which {first.name} makes it"
    if second.operands[0] is None or second.operands[0].producer is not None:
        return f"{second.name} does not read what the stage before made as it is"
    if (first.name == "onnx.Conv") != (second.name == "onnx.Conv"):
        return f"{first.name} and {second.name} have no rows in common"
    if value.tensor_type.layout.permutation:
        return f"the axes of '{value.name}' are not stored in order"
    for conv in (first, second):
        window = window_of(conv) if conv.name == "onnx.Conv" else None
        if window is not None and (window.spatial != 2 or window.turned):
            return f"{conv.name} has a single row"
    if any(operation.attributes.get("transA", 0) for operation in (first, second)):
        return "the rows of a matrix are its columns"
    return None


_TURNING = frozenset({"onnx.Transpose", "onnx.Reshape"})


def _points(chain: Chain, target: Target) -> list[tuple[Schedule, ...]]:
    """The best points of the stages by their own estimates: both orders of loops, and pieces of equal height."""
    best: list[dict[tuple[int, int], Schedule]] = []
    for stage, template in zip(chain.stages, chain.templates, strict=True):
        found: dict[tuple[int, int], Schedule] = {}
        for point in template.space(stage.group, target):
            order = dict(point).get("channels_outer", 1)
            found.setdefault((template.geometry(stage.group, point).height, order), point)
        best.append(found)
    alike = [points for points in product(*best) if len({height for height, _ in points}) == 1]
    heights = list(dict.fromkeys(points[0][0] for points in alike))[:MOST_HEIGHTS]
    return [tuple(found[key] for found, key in zip(best, keys, strict=True)) for keys in alike if keys[0][0] in heights]


def _tile_heights(rows: int) -> list[int]:
    """Rows of a tile, spread evenly."""
    return sorted({-(-rows // -(-rows // limit)) for limit in (1, 2, 3, 4, 6, 8, 12, 16, 28, 56, 112)})
