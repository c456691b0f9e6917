"""The linked library: what it needs, what it shows, and that a compiler's absence is explained."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from native_kit import chain, weighted_sum

from optc import cache, toolchain
from optc.backends.host.entry import emit_entry
from optc.backends.host.link import link, runtime_sources
from optc.errors import OptcError

needs_readelf = pytest.mark.skipif(not shutil.which("readelf"), reason="no readelf")


@pytest.fixture(scope="module")
def library(kernels: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("link") / "libmodel.so"
    path.write_bytes(link(emit_entry(weighted_sum()[0], "sum"), [kernels]))
    return path


def readelf(library: Path, *options: str) -> str:
    return subprocess.run(["readelf", "-W", *options, library], check=True, capture_output=True, text=True).stdout


@needs_readelf
def test_needs_only_the_c_library(library: Path) -> None:
    needed = set(re.findall(r"NEEDED.*\[(.*)\]", readelf(library, "-d")))
    # The dynamic loader itself serves thread-local storage.
    assert {name for name in needed if not name.startswith("ld-linux")} <= {"libc.so.6", "libm.so.6", "libpthread.so.0"}


@needs_readelf
def test_exports_only_the_interface(library: Path) -> None:
    symbols = re.findall(r"(?:GLOBAL|WEAK)\s+DEFAULT\s+(\d+)\s+(\S+)", readelf(library, "--dyn-syms"))
    exported = {name for _, name in symbols}
    declared = set(re.findall(r"\b(optc_model_\w+)\(", runtime_sources()["optc_model.h"]))
    assert exported == declared


@needs_readelf
def test_stack_is_not_executable(library: Path) -> None:
    assert re.search(r"GNU_STACK.*RW ", readelf(library, "-l"))


def test_the_same_bytes_without_the_cache(
    kernels: bytes, library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    content = link(emit_entry(weighted_sum()[0], "sum"), [kernels])
    assert content == library.read_bytes()
    assert str(tmp_path).encode() not in content


def test_missing_kernel_is_reported(kernels: bytes) -> None:
    with pytest.raises(OptcError) as failure:
        link(emit_entry(chain("absent"), "bad"), [kernels])
    assert re.search(r"undefined (reference|symbol).*absent", str(failure.value))


def test_a_compiler_that_does_not_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "no-such-compiler -m64")
    with pytest.raises(OptcError) as failure:
        toolchain.find_compiler()
    assert str(failure.value) == "the C compiler 'no-such-compiler' does not exist\n  at environment variable CC"


def test_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    toolchain._find.cache_clear()
    with pytest.raises(OptcError) as failure:
        toolchain.find_compiler()
    assert str(failure.value) == (
        "no C compiler was found\n"
        "  neither $CC nor cc, gcc, clang nor the Python package ziglang is there\n"
        "  hint: install gcc or clang, or run: pip install ziglang"
    )
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: object())
    assert toolchain.find_compiler().command == (sys.executable, "-m", "ziglang", "cc", "-mcpu=baseline")
    toolchain._find.cache_clear()


TOOLS = {"prefix": "riscv64-linux-gnu", "zig": "riscv64-linux-gnu.2.31", "zig_static": "riscv64-linux-musl"}


def test_no_compiler_for_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CC_riscv64_linux_gnu", raising=False)
    monkeypatch.setenv("PATH", "/nonexistent")
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(OptcError) as failure:
        toolchain.find_cross_compiler(TOOLS)
    assert str(failure.value) == (
        "no C compiler for riscv64-linux-gnu was found\n"
        "  neither the Python package ziglang nor riscv64-linux-gnu-gcc is there\n"
        "  hint: run: pip install 'optc[zig]'"
    )
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: object())
    zig = (sys.executable, "-m", "ziglang", "cc", "-target")
    assert toolchain.find_cross_compiler(TOOLS).command == (*zig, "riscv64-linux-gnu.2.31")
    assert toolchain.find_cross_compiler(TOOLS, static=True).command == (*zig, "riscv64-linux-musl")


def test_a_chosen_compiler_for_another_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC_riscv64_linux_gnu", "sh -e")
    assert toolchain.find_cross_compiler(TOOLS).command == ("sh", "-e")
    monkeypatch.setenv("CC_riscv64_linux_gnu", "no-such-compiler")
    with pytest.raises(OptcError) as failure:
        toolchain.find_cross_compiler(TOOLS)
    assert str(failure.value) == (
        "the C compiler 'no-such-compiler' does not exist\n  at environment variable CC_riscv64_linux_gnu"
    )


def test_a_compiler_that_fails(monkeypatch: pytest.MonkeyPatch, kernels: bytes, tmp_path: Path) -> None:
    script = tmp_path / "cc"
    script.write_text("#!/bin/sh\n[ $1 = --version ] && exit\necho 'note: hm' >&2\necho 'error: no disk' >&2\nexit 3\n")
    script.chmod(0o755)
    monkeypatch.setenv("CC", str(script))
    with pytest.raises(OptcError) as failure:
        link(emit_entry(weighted_sum()[0], "sum"), [kernels])
    assert str(failure.value) == (
        f"the C compiler '{script}' failed with code 3\n  error: no disk\n"
        "  hint: check that it can link a shared library, or choose another one with the environment variable CC"
    )


def test_cache_distrusts_its_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("OPTC_CACHE_DIR", str(tmp_path))
    assert cache.get("kind", "key") is None
    cache.put("kind", "key", b"value")
    assert cache.get("kind", "key") == b"value"
    assert cache.get("other", "key") is None
    (entry,) = (path for path in tmp_path.rglob("*") if path.is_file())
    entry.write_bytes(entry.read_bytes()[:-1])
    assert cache.get("kind", "key") is None
    assert not entry.exists()
    monkeypatch.setenv("OPTC_CACHE_DIR", "/dev/null/cache")
    cache.put("kind", "key", b"value")
    assert cache.get("kind", "key") is None
