"""Constant sides of a few bits an element: packed in tiles, unpacked in registers on the way to shared memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from optc.backends.cuda.printing import Printer, c_type
from optc.backends.cuda.sides import SideText, members
from optc.backends.tvm.fused import FusedContraction
from optc.backends.tvm.group import Group
from optc.backends.tvm.lowering import scoped
from optc.backends.tvm.packing import STEPS, Packing
from optc.ir.core import Operation, Value
from optc.ops.packed import MOST_BITS, UNPACK, pack_codes, unpack_codes
from optc.ops.shapes import integer, normalize_axis

CODED_TILES = "coded_tiles"
RUN = 8  # codes along k that one thread unpacks: as many bytes as a code has bits
PADDING = 12  # bytes behind the last code, which loads of whole words reach


def coded_tiles(array: np.ndarray, parameters: Sequence[int]) -> np.ndarray:
    """Codes as one stream of bits in the order [tile][tile along k][run][column][code of the run].

    Args:
        array: codes of 8 bits in any shape, or what `optc.unpack` unpacks.
        parameters: bits of a code; whether the array is packed; whether codes are signed; the matrix's extents, and
            whether its columns are the first of them; codes of a tile along k, and columns of a tile.
    """
    bits, packed, signed, first, second, turned, depth, width = parameters
    codes = unpack_codes(array, bits, (first, second), signed=bool(signed)) if packed else array.reshape(first, second)
    matrix = codes.T if turned else codes
    steps, columns = matrix.shape
    padded = np.pad(matrix, ((0, -steps % depth), (0, -columns % width)))
    parts = padded.reshape(-1, depth // RUN, RUN, padded.shape[1] // width, width).transpose(3, 0, 1, 4, 2)
    stream = pack_codes(np.ascontiguousarray(parts), bits)
    return np.concatenate([stream, np.zeros(PADDING, np.uint8)]).view(array.dtype)


STEPS[CODED_TILES] = coded_tiles


@dataclass(frozen=True)
class Coded:
    """The right operand of a matrix product whose elements are (code - zero) * scale.

    Attributes:
        index: of the group's input that holds the codes.
        bits: of a code.
        signed: whether codes are two's complement.
        packed: whether the input is packed already.
        shape: of the matrix of codes.
        turned: whether its first axis counts columns.
        operation: the DequantizeLinear.
    """

    index: int
    bits: int
    signed: bool
    packed: bool
    shape: tuple[int, int]
    turned: bool
    operation: Operation

    def packing(self, width: int, depth: int) -> Packing:
        """For tiles of `depth` codes along k and `width` columns."""
        flags = (int(self.packed), int(self.signed))
        return Packing(((CODED_TILES, (self.bits, *flags, *self.shape, int(self.turned), depth, width)),))

    def bytes(self, width: int, depth: int) -> int:
        """What `packing` makes."""
        steps, columns = self.shape[::-1] if self.turned else self.shape
        return -(-steps // depth) * depth * -(-columns // width) * width * self.bits // 8 + PADDING


def coded_operand(group: Group, value: Value, *, turned: bool) -> Coded | None:
    """How an operand is coded; None where it is no matrix of constant codes."""
    operation = value.producer
    if operation is None or operation.name != "onnx.DequantizeLinear" or len(value.uses) != 1:
        return None
    codes = operation.operands[0]
    assert codes is not None
    if len(codes.shape) != 2 or codes.dtype.name not in ("i8", "u8") or len(codes.uses) != 1:
        return None
    if integer(operation, "block_size", 0) % RUN:
        return None
    if len(operation.operands[1].shape) == 2 and normalize_axis(integer(operation, "axis", 1), 2) != int(turned):  # type: ignore[union-attr]
        return None  # blocks along the columns
    bits, source, packed = MOST_BITS, codes, False
    if codes.producer is not None and codes.producer.name == UNPACK:
        bits, source, packed = integer(codes.producer, "bits"), codes.producer.operands[0], True  # type: ignore[assignment]
    if source.owner is not group.body or source.index not in group.constants or len(source.uses) != 1:
        return None
    shape = (codes.shape[0], codes.shape[1])
    return Coded(source.index, bits, codes.dtype.name == "i8", packed, shape, turned, operation)


def coded_side(
    name: str, coded: Coded, fused: FusedContraction, names: Mapping[Any, str], element: str, width: int, depth: int
) -> SideText:
    """The struct of a coded side.

    Args:
        name: of the struct.
        coded: what it reads.
        fused: the group.
        names: of the parameters.
        element: TIR's type of the elements that products are made of.
        width: of a tile.
        depth: of a tile along k.
    """
    steps, columns = coded.shape[::-1] if coded.turned else coded.shape
    buffer = fused.inputs[coded.index]
    printer = Printer(3)
    for each, text in names.items():
        printer.buffer(each, text)
    k, w = printer.index("k", steps), printer.index("w", columns)
    place = (w, k) if coded.turned else (k, w)
    scale = printer.expression(_parameter(fused, coded.operation, 1, place).astype("float32"))
    zero = "0"
    if coded.operation.operand(2) is not None:
        zero = printer.expression(_parameter(fused, coded.operation, 2, place).astype("int32"))
    used = [buffer, *(each for each in names if each in printer.used)]
    kind, tiles = c_type(element), -(-steps // depth)
    pack = f"optc_pack<{kind}, {RUN}>"
    lines = [
        f"struct {name} {{",
        *members(used, names),
        f"  using Element = {kind};",
        f"  static constexpr int kOrder = kCoded, kVector = {RUN};",
        "  struct Place {};",
        f"  OPTC_DEVICE {pack} panel(int z, int w_tile, int tile, int piece) const {{",
        f"    const int w = w_tile * {width} + piece % {width}, k = tile * {depth} + piece / {width} * {RUN};",
        f"    int codes[{RUN}];",
        f"    optc_unpack<{coded.bits}, {'true' if coded.signed else 'false'}>({names[buffer]},",
        f"        (w_tile * {tiles} + tile) * {depth // RUN * width} + piece, codes);",
        "    float scale = 0.0f;",
        "    int zero = 0;",
        f"    if (w < {columns} && k < {steps}) {{",
        *printer.lines,
        f"      scale = {scale};",
        f"      zero = {zero};",
        "    }",
        f"    {pack} result;",
        "    OPTC_UNROLL",
        f"    for (int i = 0; i < {RUN}; ++i) result.v[i] = ({kind})((float)(codes[i] - zero) * scale);",
        "    return result;",
        "  }",
        "};",
        "",
    ]
    return SideText("\n".join(lines), used)


def _parameter(fused: FusedContraction, operation: Operation, position: int, place: tuple[Any, Any]) -> Any:
    """The scale or zero point at a place of the codes."""
    value = operation.operands[position]
    assert value is not None
    tensor = fused.tensor(value)
    if all(extent == 1 for extent in value.shape):
        return scoped(lambda: tensor(*(0,) * len(value.shape)))
    axis = normalize_axis(integer(operation, "axis", 1), 2)
    if len(value.shape) == 1:
        return scoped(lambda: tensor(place[axis]))
    block = integer(operation, "block_size", 0)
    indices = tuple(index // block if i == axis else index for i, index in enumerate(place))
    return scoped(lambda: tensor(*indices))
