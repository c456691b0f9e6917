"""The two kinds of rules: a pattern and its replacement, and a function over one operation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

from optc.ir.core import Operation, Value
from optc.passes.rewrite.builder import Builder
from optc.passes.rewrite.matching import Match, Nearest, matches
from optc.passes.rewrite.pattern import Either, OpPattern, Pattern, PatternBuilder, Variable

Replacement = Sequence["Value | None"]


@dataclass(frozen=True)
class Miss:
    """A rule that nearly applied.

    Attributes:
        reason: why it did not.
        nearness: how much of it fitted, 0 … 1; the nearest miss of a rule is the one that is remarked on.
    """

    reason: str
    nearness: float = 1.0


Outcome = Replacement | Miss | None


class Rule(Protocol):
    """What the driver needs: tried on operations called one of `roots`, it gives values for the results.

    A value may be None where nobody reads the result.
    """

    @property
    def name(self) -> str: ...

    @property
    def roots(self) -> frozenset[str]: ...

    def apply(self, op: Builder, operation: Operation) -> Outcome: ...


class PatternRule:
    """A pattern and its replacement; subclasses define `pattern` and `rewrite`, and `check` where types matter.

    The parameters of `pattern` after `op` are its variables; it may return `op.either(…)`. `rewrite` names those
    that it needs (a parameter `match` gets the whole match) and returns the value that replaces the pattern's. The
    name of the rule is that of the class, in kebab-case.

    Attributes:
        keep_shared: apply even where an intermediate value has other readers, and so stays.
    """

    keep_shared = False

    @cached_property
    def name(self) -> str:
        return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", type(self).__name__).lower()

    @cached_property
    def roots(self) -> frozenset[str]:
        return frozenset(pattern.kind for pattern in self._patterns)

    @cached_property
    def _patterns(self) -> list[OpPattern]:
        function: Callable[..., Pattern] = self.pattern  # type: ignore[attr-defined]
        names = list(inspect.signature(function).parameters)[1:]
        found = function(PatternBuilder(), *(Variable(name) for name in names))
        patterns = list(found.options) if isinstance(found, Either) else [found]
        assert all(isinstance(pattern, OpPattern) for pattern in patterns), self.name
        return patterns  # type: ignore[return-value]

    @cached_property
    def _sizes(self) -> list[int]:
        return [len(pattern.operations()) for pattern in self._patterns]

    @cached_property
    def _wanted(self) -> list[str]:
        return list(inspect.signature(self.rewrite).parameters)[1:]  # type: ignore[attr-defined]

    def check(self, match: Match) -> str | None:
        """Why the match must not be rewritten; None when it may."""
        return None

    def apply(self, op: Builder, operation: Operation) -> Outcome:
        best: Miss | None = None
        for pattern, size in zip(self._patterns, self._sizes, strict=True):
            nearest = Nearest()
            for match in matches(pattern, operation, nearest):
                reason = self.check(match) or (None if self.keep_shared else match.shared())
                if reason is None:
                    wanted: dict[str, Any] = {name: match if name == "match" else match[name] for name in self._wanted}
                    return [self.rewrite(op, **wanted)]  # type: ignore[attr-defined]
                if best is None or best.nearness < 1:
                    best = Miss(reason)
            if nearest.matched >= 2 and 2 * nearest.matched >= size:
                miss = Miss(nearest.reason, 0.9 * nearest.matched / size)
                best = miss if best is None or best.nearness < miss.nearness else best
        return best


Function = Callable[[Builder, Operation], "Value | Replacement | Miss | None"]


@dataclass(frozen=True)
class OperationRule:
    """A function that looks at one operation; made by `on`."""

    name: str
    roots: frozenset[str]
    function: Function = field(repr=False)

    def apply(self, op: Builder, operation: Operation) -> Outcome:
        found = self.function(op, operation)
        return [found] if isinstance(found, Value) else found


def on(*op_types: str) -> Callable[[Function], OperationRule]:
    """Make a rule of a function `(op, operation) -> value(s) | Miss | None` for these kinds (`Conv`, `optc.fused`)."""

    def decorate(function: Function) -> OperationRule:
        roots = frozenset(name if "." in name else f"onnx.{name}" for name in op_types)
        return OperationRule(function.__name__.replace("_", "-"), roots, function)

    return decorate
