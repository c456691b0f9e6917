"""What templates of convolutions in channel blocks share: their pieces are rows of windows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Schedule
from optc.backends.tvm.templates.operand import Operand, data_block
from optc.backends.tvm.templates.rows import Geometry, RowTemplate
from optc.backends.tvm.templates.window import window_of

if TYPE_CHECKING:
    from optc.targets.target import Target


class WindowedTemplate(RowTemplate):
    """A template whose anchor is a convolution; its data is read in blocks of channels."""

    def geometry(self, group: Group, schedule: Schedule) -> Geometry:
        conv = group.anchor
        assert conv is not None
        window = window_of(conv)
        assert window is not None
        return Geometry(conv.results[0].shape[:1], window.rows, 2)

    def operand(self, fused: FusedContraction, target: Target) -> Operand:
        data = fused.anchor.operands[0]
        assert data is not None
        return Operand(fused, data, data_block(data, target))
