"""Measure some workloads in a process of its own, on whichever machine it runs, and give the rows back.

    python -m optc.driver.collection.shard FOLDER

reads FOLDER/shard.json and collects into the store FOLDER/rows.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from optc.costmodel.kernels.machine import fingerprint_of, target_from_json
from optc.costmodel.kernels.store import RowStore
from optc.driver.collection.session import Settings, collect
from optc.driver.collection.workloads import KernelWorkload
from optc.errors import OptcError
from optc.targets import load
from optc.targets.host import measured_host
from optc.targets.library import HOST

SHARD, ROWS = "shard.json", "rows"


@dataclass(frozen=True)
class Shard:
    """Plain data that says what to measure.

    Attributes:
        workloads: the groups.
        target: the figures of the machine, as JSON; a machine of another kind measures its own.
        settings: as for a collection.
        known: keys of rows that need not be measured.
    """

    workloads: tuple[KernelWorkload, ...]
    target: str
    settings: Settings
    known: frozenset[str]


def measure_shard(shard: Shard) -> list[dict[str, Any]]:
    """The rows of a shard, each by column. Raises OptcError where the process fails."""
    with tempfile.TemporaryDirectory(prefix="optc-shard-") as name:
        folder = Path(name)
        content = {**asdict(shard), "known": sorted(shard.known)}
        (folder / SHARD).write_text(json.dumps(content), encoding="utf-8")
        words = [sys.executable, "-m", __name__, str(folder)]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        if done.returncode:
            why = (done.stderr.strip() or "it said nothing").splitlines()[-1]
            raise OptcError("a shard of the collection failed", why=why)
        return [row.values() for row in RowStore(folder / ROWS).rows()]


def main(arguments: Sequence[str]) -> None:
    """See the module's text."""
    folder = Path(arguments[0])
    content = json.loads((folder / SHARD).read_text(encoding="utf-8"))
    target = target_from_json(content["target"])
    if fingerprint_of(load(HOST)) != fingerprint_of(target):
        target = measured_host()
    workloads = [KernelWorkload(each["ir"], tuple(each["constants"]), each["source"]) for each in content["workloads"]]
    settings = {**content["settings"], "before_timing": tuple(content["settings"]["before_timing"])}
    collect(RowStore(folder / ROWS), workloads, target, Settings(**settings), known=content["known"])


if __name__ == "__main__":
    main(sys.argv[1:])
