"""What a kernel of the c backend is: a call in C, the constants that it reads, and what it asks of the arena."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np


@dataclass(frozen=True)
class Constant:
    """An array in flash.

    Attributes:
        name: what the call writes for it, after a dollar sign.
        values: int8, int16, int32, float32 or any other element type of ONNX with a C type.
    """

    name: str
    values: np.ndarray


@dataclass(frozen=True)
class CKernel:
    """One step of the generated function.

    Attributes:
        kind: of kernel, for reports.
        sources: runtime headers by file name, each after those that it needs.
        call: a C statement; `$in0`, `$out0`, `$scratch` and the names of the constants stand for addresses.
        constants: that it reads.
        record: the initializer of a constant struct that the call names as `$record`, with its C type; may name
            constants.
        sum_record: the initializer of an `optc_sum_of_codes`, named `$record_sum`.
        scratch_bytes: of the arena while it runs.
        overlap: by operand position, bytes that the result must begin before the operand so that it may overwrite it;
            operands that are left out may not be overwritten.
        functions: C source that the call needs beside the headers; the same text is written once.
        defines: preprocessor names that the headers ask for.
    """

    kind: str
    call: str
    sources: tuple[str, ...] = ()
    constants: tuple[Constant, ...] = ()
    record: tuple[str, str] | None = None
    sum_record: str | None = None
    scratch_bytes: int = 0
    overlap: Mapping[int, int] = field(default_factory=dict)
    functions: tuple[str, ...] = ()
    defines: frozenset[str] = frozenset()
