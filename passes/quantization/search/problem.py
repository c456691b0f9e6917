"""Which precision each layer gets, as data: what each would cost in error and in time, and who hands codes to whom."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FLOAT = "float"
"""The precision of a layer that is not quantized."""


@dataclass(frozen=True)
class Option:
    """One precision of a layer.

    Attributes:
        scheme: its name, or FLOAT.
        error: what it adds to each output's noise, relative to the power of that output.
        cost: of the layer itself, in the units of the objective.
        coded: whether the layer reads codes and, with the activation behind it, hands codes on.
    """

    scheme: str
    error: tuple[float, ...]
    cost: float
    coded: bool = False


@dataclass(frozen=True)
class Choice:
    """A layer and its precisions; the first is FLOAT."""

    layer: str
    options: tuple[Option, ...]


@dataclass(frozen=True)
class Joint:
    """An operation between layers: it computes on codes when all that it reads are codes, and in float otherwise.

    Attributes:
        name: unique among layers and joints.
        sources: who hands over each operand: a layer, an earlier joint, or None for what is always float.
        saving: what computing on codes saves.
    """

    name: str
    sources: tuple[str | None, ...]
    saving: float = 0.0


@dataclass(frozen=True)
class Boundary:
    """A tensor, where codes may have to become floats or floats codes.

    Attributes:
        name: of the tensor.
        source: the layer or joint that makes it; None for what is always float.
        readers: layers and joints that read it.
        read_as_float: whether anything else does.
        quantize: the cost of making codes of it, once for all readers.
        dequantize: the cost of making floats of it, likewise.
    """

    name: str
    source: str | None
    readers: tuple[str, ...]
    read_as_float: bool
    quantize: float
    dequantize: float


Assignment = Mapping[str, str]
"""From the names of layers to those of schemes."""


@dataclass(frozen=True)
class PrecisionProblem:
    """All of it; errors of layers add up.

    Attributes:
        choices: one for each layer.
        joints: in order of execution.
        boundaries: in any order.
        fixed: the cost of what has no choice.
    """

    choices: tuple[Choice, ...]
    joints: tuple[Joint, ...] = ()
    boundaries: tuple[Boundary, ...] = ()
    fixed: float = 0.0

    @property
    def outputs(self) -> int:
        """How many outputs have an error of their own."""
        return len(self.choices[0].options[0].error) if self.choices else 0

    def coded(self, assignment: Assignment) -> dict[str, bool]:
        """Which layers and joints hand codes on."""
        found = {choice.layer: self._option(choice, assignment).coded for choice in self.choices}
        for joint in self.joints:
            found[joint.name] = all(source is not None and found[source] for source in joint.sources)
        return found

    def cost(self, assignment: Assignment) -> float:
        """The objective of an assignment."""
        coded = self.coded(assignment)
        total = self.fixed + sum(self._option(choice, assignment).cost for choice in self.choices)
        total -= sum(joint.saving for joint in self.joints if coded[joint.name])
        for boundary in self.boundaries:
            has = boundary.source is not None and coded[boundary.source]
            if not has and any(coded[reader] for reader in boundary.readers):
                total += boundary.quantize
            if has and (boundary.read_as_float or not all(coded[reader] for reader in boundary.readers)):
                total += boundary.dequantize
        return total

    def errors(self, assignment: Assignment) -> tuple[float, ...]:
        """The predicted error of each output."""
        parts = [self._option(choice, assignment).error for choice in self.choices]
        return tuple(sum(each) for each in zip(*parts, strict=True))

    def _option(self, choice: Choice, assignment: Assignment) -> Option:
        wanted = assignment[choice.layer]
        return next(option for option in choice.options if option.scheme == wanted)
