"""Winograd convolution of unsigned bytes with signed ones: a quarter of the products, in 16 bits, and exact sums."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from optc.backends.tvm.group import Group
from optc.backends.tvm.math.winograd import TAPS
from optc.backends.tvm.math.winograd_integers import INTEGER_PAIRS, largest_result
from optc.backends.tvm.template import Schedule, Template
from optc.backends.tvm.templates import epilogue
from optc.backends.tvm.templates import register_tile as tiles
from optc.backends.tvm.templates.dot_tile import peak_of, weights_of
from optc.backends.tvm.templates.integer_conv import IntegerConv
from optc.backends.tvm.templates.integer_winograd_kernel import PAIR, WORD, IntegerWinogradKernel, kind_of, word_lanes
from optc.backends.tvm.templates.winograd import Winograd, covering, window_refusal
from optc.backends.tvm.templates.winograd_kernel import Tiling, anchor_of
from optc.ir.core import Value
from optc.ops.hints import WEIGHT_SUM

if TYPE_CHECKING:
    from optc.targets.target import Target


class IntegerWinograd(Winograd):
    """`onnx.ConvInteger` of one group with 3 x 3 windows that move by one, where no sum exceeds what is exact.

    Schedule: see `Winograd`.
    """

    name = "integer_winograd"
    kernel = IntegerWinogradKernel
    element_bytes = WORD

    def refuses(self, group: Group, target: Target) -> str | None:
        refusal = Template.registry[IntegerConv.name].refuses(group, target) or window_refusal(group)
        if refusal is not None:
            return refusal
        data = anchor_of(group).operands[0]
        assert data is not None
        if kind_of(group, target) is None:
            return "no instruction multiplies pairs of 16-bit numbers"
        if word_lanes(data, target) % PAIR:
            return "the channels of the data do not lie in pairs"
        if not self.variants(group):
            return "the sums may exceed what is exact"
        return None

    def variants(self, group: Group) -> list[int]:
        most = 255 * _weight_sum(group)
        return [m for m in covering(group, INTEGER_PAIRS) if most <= largest_result(m)]

    def products_seconds(self, group: Group, target: Target, tile: tuple[int, int], problem: tuple[int, ...]) -> float:
        rows, columns, width, channels = problem
        kind = kind_of(group, target)
        assert kind is not None
        return tiles.estimate(
            target,
            rows=rows,
            columns=columns,
            width=width,
            steps=-(-channels // PAIR),
            tile=tile,
            weight_sweeps=0,
            data_bytes=0,
            peak=peak_of(target) * kind.rate,
            depth=PAIR,
            step_bytes=PAIR * WORD,
            held=kind.registers,
        )

    def weights_seconds(self, group: Group, target: Target, knobs: Mapping[str, int]) -> float:
        """See `Winograd`; transforming them and, panel by panel, reading the transforms."""
        data, lanes, positions = anchor_of(group).operands[0], tiles.lanes_of(target), (knobs["m"] + 2) ** 2
        assert data is not None
        width, channels = epilogue.padded_channels(group, target), data.shape[1]
        panel = min(width, lanes * knobs["vectors"])
        panel_bytes, block_bytes = (WORD * positions * channels * each for each in (panel, knobs["block"]))
        vectors = -(-channels // PAIR) * -(-width // lanes)
        step_seconds = 2 * lanes / target.peak_flops.get("f32", 2.0e9)
        transforms = vectors * (TAPS**2 + WEIGHT * positions) * step_seconds
        reads = tiles.transfer(target, panel_bytes + block_bytes, panel_bytes) * -(-width // panel)
        return transforms + reads

    def estimate(self, group: Group, schedule: Schedule, target: Target) -> float:
        """See `Winograd`; also writing and reading the products, which may exceed the first cache."""
        knobs = dict(schedule)
        width, positions = epilogue.padded_channels(group, target), (knobs["m"] + 2) ** 2
        panel = min(width, tiles.lanes_of(target) * knobs["vectors"])
        each = positions * 4
        total = each * width * Tiling.of(group, knobs["m"]).total
        products = tiles.transfer(target, each * panel * knobs["block"], 2 * total)
        return UNSEEN * (super().estimate(group, schedule, target) + products)

    def held(self, group: Group, target: Target) -> int:
        kind = kind_of(group, target)
        assert kind is not None
        return kind.registers

    def data_lanes(self, data: Value, target: Target) -> int:
        return word_lanes(data, target)


WEIGHT = 4.0  # one vector of transformed weights, in multiply-adds
UNSEEN = 1.1  # kernels took 1 to 1.3 times what the rest of the estimate says


def _weight_sum(group: Group) -> int:
    """What neither the positive weights of an output nor the negative ones exceed in sum."""
    conv = anchor_of(group)
    known = conv.attributes.get(WEIGHT_SUM)
    return int(known) if known is not None else 128 * math.prod(weights_of(conv).shape[1:])  # type: ignore[arg-type]
