"""All simplifying passes, repeated until none finds anything."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from optc.ir.core import Module
from optc.passes import registry
from optc.passes.base import Pass, PassContext, Remark
from optc.passes.simplify import ROUND


@dataclass(frozen=True)
class Simplify(Pass):
    """Run the passes of `optc.passes.simplify.ROUND` in order, again and again until nothing changes.

    A remark on a missed rewrite stays only if the last round still misses it.

    Options:
        rounds: how often at most; each opportunity that a round opens takes another one.
    """

    name: ClassVar[str] = "simplify"

    rounds: int = 8

    def run(self, module: Module, context: PassContext) -> bool:
        passes = [registry.get(name)() for name in ROUND]
        changed = False
        missed: list[Remark] = []
        for _ in range(self.rounds):
            trial = replace(context, remarks=[])
            again = [item.run(module, trial) for item in passes]
            context.remarks += [remark for remark in trial.remarks if remark.status == "applied"]
            missed = [remark for remark in trial.remarks if remark.status == "missed"]
            if not any(again):
                break
            changed = True
        context.remarks += missed
        return changed
