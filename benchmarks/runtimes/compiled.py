"""optc itself."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import ClassVar

from benchmarks.runtimes.peer import Peer, Run, Subject

ROOT = Path(__file__).resolve().parents[2]


class Optc(Peer):
    """With the default tuning budget, from optc's own cache where the model was compiled before."""

    name = "optc"
    package = "optc"
    by_threads = True
    target: ClassVar[str] = "cpu"

    def version(self) -> str:
        """The commit; with local changes also their hash, so that prepared files follow the code."""
        commit = _git("rev-parse", "--short", "HEAD")
        changes = _git("diff", "HEAD", "--", "optc", "passes", "backends", "costmodel")
        if changes:
            changed = subprocess.run(["git", "hash-object", "--stdin"], input=changes, capture_output=True, text=True)
            return f"{commit}+{changed.stdout[:7]}"
        return commit or super().version()

    def prepare(self, subject: Subject, folder: Path) -> None:
        import optc

        shapes = {name: list(array.shape) for name, array in subject.inputs.items()}
        optc.compile(
            str(subject.model),
            target=self.target,
            output=str(folder / "artifact"),
            shapes=shapes,
            threads=subject.threads,
            verify=False,
        )

    def load(self, subject: Subject, folder: Path) -> Run:
        from optc.runtime import load

        artifact = load(folder / "artifact", threads=subject.threads)
        return lambda: list(artifact.run(subject.inputs).values())

    def facts(self, subject: Subject, folder: Path) -> dict:
        """FLOPs of one run, a convolution counted as a direct one."""
        from optc.runtime import load

        with load(folder / "artifact", threads=subject.threads) as artifact:
            taken = {(step.label, step.symbol) for step in artifact.profile(subject.inputs, runs=1) if step.calls}
            steps = artifact.decisions.get("steps", ())
            return {"flops": sum(step["flops"] for step in steps if (step["label"], step["symbol"]) in taken)}


class OptcAvx2(Optc):
    """Code for any x86 with AVX2, which has no dot products of bytes."""

    name = "optc-avx2"
    optional = True
    target = "x86-64-v3"


def _git(*arguments: str) -> str:
    try:
        return subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True).stdout.strip()
    except OSError:
        return ""
