"""Blocks against the kernels that they replace, timed on this host."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from optc import cache
from optc.backends.host.race import ALIGNMENT, Call, race
from optc.backends.interface import Kernel, KernelBackend
from optc.backends.tvm.tuning.workers import Task, run_isolated
from optc.backends.tvm.workload import workload_key
from optc.driver.options import AUTOMATIC_BUDGET, CompileOptions
from optc.driver.program.lowering import group_of
from optc.ir.core import Operation, Value
from optc.targets import load
from optc.targets.target import Target

KIND = "races"
RACE_SECONDS = 20.0
"""After this long a race is taken to hang."""

Pair = tuple[Operation, Sequence[Operation]]
Times = tuple[float, float]


@dataclass(frozen=True)
class Races:
    """The `race` of a PassContext: see there.

    Attributes:
        backend: makes the kernels, tuned within the budget of `options`.
        target: what for; only this host is measured.
        options: of the compile.
    """

    backend: KernelBackend
    target: Target
    options: CompileOptions

    def __call__(self, pairs: Sequence[Pair]) -> list[Times | None] | None:
        budget = AUTOMATIC_BUDGET if self.options.budget is None else self.options.budget
        if budget <= 0 or not hasattr(os, "fork") or dict(self.target.llvm) != dict(load("cpu").llvm):
            return None
        keys = [self._key(pair) for pair in pairs]
        times, missing = self._known(keys)
        if not missing:
            return times
        with cache.measuring(lambda: self.options.progress("waiting for another process that measures", 0, 1)):
            times, missing = self._known(keys)  # it may have measured the same
            left = set(missing)
            for number, seconds in self._run([pairs[each] for each in missing], budget):
                times[missing[number]] = seconds
                left.discard(missing[number])
                cache.put(KIND, keys[missing[number]], json.dumps(seconds).encode())
            for each in left:
                cache.put(KIND, keys[each], json.dumps(None).encode())
        return times

    def _known(self, keys: Sequence[str]) -> tuple[list[Times | None], list[int]]:
        """The kept times, and the numbers of those to be measured.

        A race that an automatic budget did not reach is not run by the next compile either, which decides alike then.
        """
        found = [cache.get(KIND, key) for key in keys]
        kept = [None if entry is None else json.loads(entry) for entry in found]
        again = self.options.budget is not None
        missing = [n for n, entry in enumerate(found) if entry is None or (kept[n] is None and again)]
        return [None if each is None else (each[0], each[1]) for each in kept], missing

    @property
    def _threads(self) -> int:
        return self.options.threads or self.target.cores

    def _key(self, pair: Pair) -> str:
        block, parts = pair
        workloads = [workload_key(group_of(each), self.target) for each in (block, *parts)]
        return hashlib.sha256(json.dumps([*workloads, self._threads]).encode()).hexdigest()

    def _run(self, pairs: Sequence[Pair], budget: float) -> Iterator[tuple[int, Times]]:
        """The times of those pairs that have kernels, as they come."""
        if not pairs:
            return
        operations = [each for block, parts in pairs for each in (block, *parts)]
        made = self.backend.kernels(
            [group_of(each) for each in operations],
            self.target,
            budget=budget,
            threads=self._threads,
            progress=self.options.progress,
        )
        kernels = dict(zip(operations, made, strict=True))
        last_cache = self.target.caches[-1].bytes if self.target.caches else 0

        def tasks() -> Iterator[tuple[int, Task]]:
            for number, (block, parts) in enumerate(pairs):
                buffers = _Buffers()
                fused, apart = buffers.calls([block], kernels), buffers.calls(parts, kernels)
                if fused is not None and apart is not None:
                    contestants = [fused, apart]
                    arrays, data = buffers.arrays, buffers.data
                    yield number, partial(race, contestants, arrays, data, self._threads, last_cache)

        deadline = time.monotonic() + budget
        for done, (number, seconds) in enumerate(run_isolated(tasks(), 1, RACE_SECONDS, deadline), start=1):
            self.options.progress("measuring blocks", done, len(pairs))
            if seconds is not None:
                yield number, (seconds[0], seconds[1])


class _Buffers:
    """Memory for the values of a race; contestants share what both read or write."""

    def __init__(self) -> None:
        self.arrays: list[np.ndarray] = []
        self.data: list[int] = []
        self._numbers: dict[Value, int] = {}

    def calls(self, operations: Sequence[Operation], kernels: dict[Operation, Kernel | str]) -> list[Call] | None:
        """The calls of some fused operations; None where one has no kernel."""
        made = []
        for operation in operations:
            kernel = kernels[operation]
            if not isinstance(kernel, Kernel):
                return None
            arguments = [self._operand(value, kernel, i) for i, value in enumerate(operation.present_operands)]
            arguments += [self._value(value) for value in operation.results]
            arguments += [self._add(np.zeros(extent, np.uint8), data=True) for extent in kernel.scratch_bytes]
            made.append(Call(kernel.symbol, kernel.object_code, tuple(arguments)))
        return made

    def _operand(self, value: Value, kernel: Kernel, position: int) -> int:
        array = value.constant
        if array is None:
            return self._value(value)
        packing = kernel.pack.get(position)
        return self._add(packing[1](array) if packing is not None else np.ascontiguousarray(array), data=False)

    def _value(self, value: Value) -> int:
        if value not in self._numbers:
            type = value.tensor_type
            array = np.zeros(type.bytes, np.uint8)
            if type.dtype.name == "f32":
                array = np.random.default_rng(0).uniform(-1.0, 1.0, type.bytes // 4).astype(np.float32)
            self._numbers[value] = self._add(array, data=True)
        return self._numbers[value]

    def _add(self, array: np.ndarray, *, data: bool) -> int:
        """The number of an aligned copy."""
        raw = np.zeros(array.nbytes + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        copy = raw[start : start + array.nbytes]
        copy[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
        self.arrays.append(copy)
        if data:
            self.data.append(len(self.arrays) - 1)
        return len(self.arrays) - 1
