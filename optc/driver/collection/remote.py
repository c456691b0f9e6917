"""Kernels of a collection that are timed on a device: a program for each workload, sent there and run.

The program holds the kernels and the loop of `timing.c`; it needs nothing there and prints what was measured.
"""

from __future__ import annotations

import contextlib
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from importlib import resources
from math import prod
from pathlib import Path
from typing import Any, TypeVar

from optc.artifact.host import requirements_of
from optc.backends.tvm.tuning.measure import element_bytes
from optc.costmodel.state import State
from optc.driver.collection import timing
from optc.driver.collection.building import Buffers, Prepared, filled, timing_text
from optc.errors import OptcError, UsageError
from optc.runtime.device.artifact import PAUSE, RETRIES, TIMEOUT, check_kind, why_failed
from optc.runtime.device.description import Device
from optc.runtime.device.session import DeviceLost, Session, TooLong, open_session
from optc.targets.foreign import compiler_for
from optc.targets.target import Target

PROGRAM = "kernels"
_FAILED, _USAGE = 1, 2  # exit codes of the program, as timing_main.c says
_NOT_STARTED = (126, 127)  # of the shell
_KINDS = {"float32": "f", "float64": "d"}  # of buffers; see timing_main.c

Result = TypeVar("Result")


@dataclass
class DeviceBench:
    """A device that times kernels; a `Bench`.

    Attributes:
        device: where.
        target: what it is.
        timeout: seconds that the kernels of one workload may take there.
        retries: further attempts where the device is lost.
    """

    device: Device
    target: Target
    timeout: float = TIMEOUT
    retries: int = RETRIES
    _session: Session | None = field(default=None, repr=False)
    _measured: bool = field(default=False, repr=False)

    def prepare(self) -> None:
        """See Bench: the device answers and is of the target's kind, and a compiler for it is there."""
        if "tvm" not in self.target.backends or not self.target.llvm:
            raise UsageError(f"no kernels are built for '{self.target.name}'", where="--target")
        self._attempted(lambda session: None)
        compiler_for(self.target, static=True)

    def link(self, objects: Mapping[str, bytes], buffers: Mapping[str, Buffers], library: Path) -> None:
        """See Bench."""
        with tempfile.TemporaryDirectory(prefix="optc-collect-") as temporary:
            folder = Path(temporary)
            for symbol, code in objects.items():
                (folder / f"{symbol}.o").write_bytes(code)
            (folder / "main.c").write_text(program_text(buffers), encoding="utf-8")
            words = ["-std=gnu11", "-O2", "-static", "-s", "main.c", *(f"{symbol}.o" for symbol in objects)]
            compiler_for(self.target, static=True).run([*words, "-lm", "-o", PROGRAM], folder)
            library.write_bytes((folder / PROGRAM).read_bytes())

    def state(self) -> State | None:
        """See Bench: nothing probes a device."""
        return None

    def times(self, prepared: Sequence[Prepared], folder: Path) -> Iterator[dict[str, Any]]:
        """See Bench."""
        for each in prepared:
            if any(point.symbol for point in each.points):
                yield from self._times(each.library)

    def close(self) -> None:
        """Leave the device."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _times(self, library: str) -> list[dict[str, Any]]:
        sizes = (str(timing.inner_bytes(self.target)), str(timing.outer_bytes(self.target)))

        def work(session: Session) -> list[dict[str, Any]]:
            session.put(PROGRAM, Path(library), executable=True)
            finished = session.run([*self.device.prefix, f"./{PROGRAM}", *sizes], self.timeout)
            if finished.code != 0 and self._is_kernels_fault(finished.code):
                return [{"library": library, "failed": True}]
            if finished.code != 0:
                raise OptcError(
                    f"kernels do not run on the device '{self.device.name}'",
                    where=self.device.place,
                    why=why_failed(finished),
                    hint=f"check that it is a '{self.target.name}' (--target), and --prefix of optc device add",
                )
            try:
                records = [asdict(timing.Times(library, **json.loads(line))) for line in finished.output.splitlines()]
            except (ValueError, TypeError) as fault:
                raise OptcError(
                    f"the program answers with nonsense on the device '{self.device.name}'",
                    where=self.device.place,
                    hint="look whether --prefix changes what it prints",
                ) from fault
            self._measured = True
            return records

        try:
            return self._attempted(work)
        except TooLong:
            if not self._measured:
                raise
            return [{"library": library, "failed": True}]

    def _is_kernels_fault(self, code: int) -> bool:
        """Whether an exit code is a fact about these kernels; if the first of all crash, hardly any would run."""
        return code == _FAILED or (self._measured and code not in (_USAGE, *_NOT_STARTED))

    def _attempted(self, work: Callable[[Session], Result]) -> Result:
        """What `work` returns; once more where the device is lost."""
        for left in range(self.retries, -1, -1):
            try:
                if self._session is None:
                    self._session = open_session(self.device)
                    check_kind(self.device, self._session.facts, requirements_of(self.target), "kernels were built")
                return work(self._session)
            except DeviceLost:
                self.close()
                if not left:
                    raise
            except BaseException:
                self.close()
                raise
            time.sleep(PAUSE)
        raise AssertionError("the last attempt returns or raises")


@contextlib.contextmanager
def device_bench(device: Device, target: Target, timeout: float, retries: int) -> Iterator[DeviceBench]:
    """A device that is left at the end."""
    bench = DeviceBench(device, target, timeout, retries)
    try:
        yield bench
    finally:
        bench.close()


def program_text(buffers: Mapping[str, Buffers]) -> str:
    """The C source of the program that times the kernels of these symbols."""
    lines, cases = [], []
    for symbol, own in buffers.items():
        sizes = ", ".join(str(prod(shape) * element_bytes(dtype)) for shape, dtype, _ in own)
        kinds = "".join(_KINDS.get(dtype, "z") for _, dtype, _ in own)
        constants = "".join("01"[constant] for _, _, constant in own)
        lines += [f"extern int32_t {symbol}();", f"static const int64_t {symbol}_sizes[] = {{{sizes}}};"]
        cases.append(f'  {{"{symbol}", (void*){symbol}, "{kinds}", "{constants}", {symbol}_sizes}},')
    lines += ["static const struct described described[] = {", *cases, "};"]
    main = resources.files("optc.driver.collection").joinpath("timing_main.c").read_text(encoding="utf-8")
    return timing_text() + filled(main).replace("@CASES@", "\n".join(lines))
