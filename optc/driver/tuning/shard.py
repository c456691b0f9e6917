"""Measure some kernels in a process of its own, on whichever machine it runs, and give the decisions back.

    python -m optc.driver.tuning.shard FOLDER

reads FOLDER/shard.json and writes FOLDER/decisions.json. What is measured also stays in the cache of that machine.
"""

from __future__ import annotations

import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from optc.backends.tvm.tuning import runs_here
from optc.backends.tvm.tuning.hardware import hardware_of, hardware_text
from optc.backends.tvm.tuning.sharing import decisions_of
from optc.costmodel.kernels.machine import target_from_json, target_json
from optc.driver.collection.workloads import parsed_group
from optc.driver.compile import kernel_maker
from optc.driver.options import CompileOptions
from optc.errors import OptcError
from optc.targets import load
from optc.targets.library import HOST
from optc.targets.target import Target

SHARD, DECISIONS = "shard.json", "decisions.json"


@dataclass(frozen=True)
class Shard:
    """Plain data that says what to measure.

    Attributes:
        groups: each as its canonical text and the positions of its constant inputs.
        name: of the target.
        target: its figures, as JSON.
        threads: that the kernels will run on.
        seconds: for measuring.
    """

    groups: tuple[tuple[str, tuple[int, ...]], ...]
    name: str
    target: str
    threads: int
    seconds: float


def figures(target: Target) -> str:
    """What a worker needs to know of a target, as JSON."""
    return target_json(replace(target, modes={}, toolchain={}))


def measure_shard(shard: Shard) -> list[dict[str, Any]]:
    """The decisions on a shard's kernels, as plain data.

    Raises:
        OptcError: this machine is not the target, or the process fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-shard-") as name:
        folder = Path(name)
        (folder / SHARD).write_text(json.dumps(asdict(shard)), encoding="utf-8")
        words = [sys.executable, "-m", __name__, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, errors="replace", check=False)
        if done.returncode:
            why = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise OptcError("kernels cannot be measured on a worker", where=platform.node(), why=why)
        found: list[dict[str, Any]] = json.loads((folder / DECISIONS).read_text(encoding="utf-8"))
        return found


def main(arguments: Sequence[str]) -> None:
    """See the module's text."""
    folder = Path(arguments[0])
    content = json.loads((folder / SHARD).read_text(encoding="utf-8"))
    target = target_from_json(content["target"], content["name"])
    if (refusal := _refusal(target)) is not None:
        sys.exit(refusal)
    backend = kernel_maker(target, CompileOptions(target=target.name))
    assert backend is not None
    groups = [parsed_group(text, constants) for text, constants in content["groups"]]
    backend.tune(groups, target, budget=content["seconds"], threads=content["threads"])
    (folder / DECISIONS).write_text(json.dumps(decisions_of(groups, target)), encoding="utf-8")


def _refusal(target: Target) -> str | None:
    """Why what is measured here says nothing of a target."""
    here = hardware_of(load(HOST))
    if target.name == HOST and here != hardware_of(target):
        return f"it is {hardware_text(here)}; the schedules are for {hardware_text(hardware_of(target))}"
    return None if runs_here(target) else f"it does not run code for '{target.name}'"


if __name__ == "__main__":
    main(sys.argv[1:])
