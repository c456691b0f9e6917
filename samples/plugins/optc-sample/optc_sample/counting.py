"""A pass: a frozen dataclass whose fields are its options."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

from optc.ir.core import Module
from optc.passes.base import Pass, PassContext, Remark


@dataclass(frozen=True)
class CountOperations(Pass):
    """Say how often each operation occurs; those that occur fewer than `least` times are left out."""

    name: ClassVar[str] = "count-operations"
    least: int = 1

    def run(self, module: Module, context: PassContext) -> bool:
        for name, count in sorted(Counter(operation.name for operation in module.walk()).items()):
            if count >= self.least:
                context.remarks.append(Remark(self.name, "applied", name, f"occurs {count} times"))
        return False
