"""`optc doctor`: what optc finds on this machine, and what is missing."""

from __future__ import annotations

import os
import platform
import sys
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import click

from optc import __version__
from optc.cli.output import emit_json, emit_table, size_text
from optc.cli.parameters import common
from optc.errors import OptcError

REQUIRED = ("numpy", "onnx", "onnxruntime", "apache-tvm", "apache-tvm-ffi", "onnx-ir", "onnxscript", "sympy", "lark")
ABSENT = "not installed"
OPTIONAL = {"torch": "reads PyTorch models", "ziglang": "links artifacts where no C compiler is"}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at; `ok` is False when optc cannot work as it is."""

    what: str
    found: str
    ok: bool
    hint: str = ""


@click.command("doctor")
@common
def command(as_json: bool) -> None:
    """Check Python, packages, the C compiler, the cache and the processor; exit code 1 when something is missing."""
    findings = [_python(), *_packages(), _compiler(), _cuda(), _cache(), _processor()]
    broken = [item for item in findings if not item.ok]
    if as_json:
        emit_json({"optc": __version__, "ok": not broken, "findings": [asdict(item) for item in findings]})
    else:
        rows = [[item.what, _state(item), item.found, item.hint] for item in findings]
        emit_table(["what", "state", "found", ""], [["optc", "ok", __version__, ""], *rows])
    if broken:
        raise SystemExit(1)


def _state(finding: Finding) -> str:
    return "absent" if finding.ok and finding.found == ABSENT else "ok" if finding.ok else "MISSING"


def _python() -> Finding:
    return Finding("python", f"{platform.python_version()} ({sys.executable})", sys.version_info >= (3, 11))


def _packages() -> list[Finding]:
    findings = []
    for name in (*REQUIRED, *OPTIONAL):
        use = OPTIONAL.get(name, "")
        try:
            findings.append(Finding(name, version(name), True, use))
        except PackageNotFoundError:
            hint = f"pip install {name}" + (f" ({use})" if use else "")
            findings.append(Finding(name, ABSENT, name in OPTIONAL, hint))
    return findings


def _compiler() -> Finding:
    from optc.toolchain import find_compiler

    try:
        compiler = find_compiler()
    except OptcError as error:
        return Finding("C compiler", error.what, False, error.hint or "")
    first = compiler.version.splitlines()[0] if compiler.version else ""
    return Finding("C compiler", f"{' '.join(compiler.command)}: {first}", True)


def _cuda() -> Finding:
    from optc.backends.cuda.toolkit import find_toolkit

    try:
        toolkit = find_toolkit()
    except OptcError:
        return Finding("CUDA compiler", ABSENT, True, "pip install 'optc[cuda]' (compiles for NVIDIA GPUs)")
    known = toolkit.architectures
    return Finding("CUDA compiler", f"{toolkit.nvcc}: {toolkit.version}, {known[0]} to {known[-1]}", True)


def _cache() -> Finding:
    from optc.cache import cache_folder

    folder = cache_folder()
    existing = next(path for path in (folder, *folder.parents) if path.exists())
    if not os.access(existing, os.W_OK):
        return Finding("cache", f"{folder} cannot be written", False, "set OPTC_CACHE_DIR")
    return Finding("cache", f"{folder} ({size_text(_size(folder))})", True, "OPTC_CACHE_DIR moves it")


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def _processor() -> Finding:
    from optc import targets

    target = targets.load("cpu")
    facts = f"{target.description}, {target.cores} cores, {target.vector_bytes}-byte vectors"
    measured = "measured" in target.figures.get("peak_flops", "") and "not measured" not in target.figures["peak_flops"]
    return Finding("processor", facts, True, "" if measured else "optc targets --calibrate measures it")
