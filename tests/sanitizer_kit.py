"""C programs under the compiler's race and memory checkers; every report ends the program with a failure."""

from __future__ import annotations

import functools
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest

CHECKS = {
    "plain": [],
    "races": ["-fsanitize=thread"],
    "memory": ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"],
}
# Else the race checker ends programs with threads that fork, and the memory checker unmaps signal stacks not its own.
ENVIRONMENT = {
    **os.environ,
    "TSAN_OPTIONS": "die_after_fork=0",
    "ASAN_OPTIONS": "allocator_may_return_null=1:use_sigaltstack=0",
}
WARNINGS = ("-std=c11", "-Wall", "-Wextra", "-Werror")


@functools.cache
def offers(check: str) -> bool:
    """Whether the compiler has a checker, and its programs start here."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "empty.c").write_text("int main(void) { return 0; }\n")
        command = ["cc", *CHECKS[check], "empty.c", "-o", "empty"]
        if subprocess.run(command, cwd=folder, capture_output=True, check=False).returncode:
            return False
        return subprocess.run([folder / "empty"], capture_output=True, check=False).returncode == 0


def require(check: str) -> None:
    """Skip the test where the compiler has no such checker."""
    if not offers(check):
        pytest.skip(f"cc does not offer {' '.join(CHECKS[check])}")


def build(folder: Path, check: str, sources: Mapping[str, str], kernels: str, options: Sequence[str] = ()) -> Path:
    """The program of some C files, and of kernels that have prototypes of their own."""
    for name, text in {**sources, "kernels.c": kernels}.items():
        (folder / name).write_text(text)
    flags = ["cc", "-g", "-O1", *CHECKS[check]]
    subprocess.run([*flags, "-c", "kernels.c"], cwd=folder, check=True)
    units = sorted(name for name in sources if name.endswith(".c"))
    command = [*flags, *WARNINGS, *units, "kernels.o", "-o", "program", *options, "-lpthread", "-ldl"]
    subprocess.run(command, cwd=folder, check=True)
    return folder / "program"


def run(program: Path, environment: Mapping[str, str] | None = None) -> tuple[str, str, int]:
    """What it printed, what it printed as errors, and its exit status."""
    done = subprocess.run(
        [program],
        cwd=program.parent,
        env={**ENVIRONMENT, **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout, done.stderr, done.returncode
