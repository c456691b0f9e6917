"""One `__global__` function under construction: its body first, then the parameters that the body turned out to use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optc.backends.cuda.kernel import Argument, Launch
from optc.backends.cuda.printing import Printer, c_type

Extents = Sequence[int]


class Function:
    """A function of a kernel.

    Attributes:
        printer: of its body.
    """

    def __init__(self, name: str, parameters: Sequence[tuple[Argument, Any]]) -> None:
        """Begin a function that may use some buffers, each with its place among the kernel's."""
        self.name = name
        self.printer = Printer()
        self._parameters = list(parameters)
        for (kind, position), buffer in self._parameters:
            self.printer.buffer(buffer, f"{kind}{position}")

    def finish(self, grid: tuple[int, int, int], threads: int, dynamic_shared_bytes: int = 0) -> tuple[str, Launch]:
        """The text, and how it is launched."""
        used = [(argument, buffer) for argument, buffer in self._parameters if buffer in self.printer.used]
        texts = []
        for (kind, position), buffer in used:
            const = "const " if kind == "input" else ""
            texts.append(f"{const}{c_type(str(buffer.dtype))}* __restrict__ {kind}{position}")
        head = f"OPTC_GLOBAL void __launch_bounds__({threads}) {self.name}({', '.join(texts)}) {{"
        launch = Launch(
            self.name, grid, (threads, 1, 1), dynamic_shared_bytes, tuple(argument for argument, _ in used)
        )
        return "\n".join([head, *self.printer.lines, "}", ""]), launch


def decoded(linear: Any, extents: Extents) -> list[Any]:
    """The indices of a linear position in a row-major box."""
    indices: list[Any] = []
    wide = [axis for axis, extent in enumerate(extents) if extent > 1]
    for axis in reversed(range(len(extents))):
        if extents[axis] == 1:
            indices.insert(0, 0)
            continue
        indices.insert(0, linear if axis == wide[0] else linear % extents[axis])
        linear = linear // extents[axis] if axis != wide[0] else linear
    return indices
