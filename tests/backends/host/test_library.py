"""Libraries under a model's own names: two in one program, with weights inside, and the same bytes each time."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
from native_kit import SIZE, weighted_sum

from optc import toolchain
from optc.backends.host.entry import emit_entry
from optc.backends.host.library import check_kinds, check_name, libraries
from optc.backends.host.platform import POSIX, WEB
from optc.errors import OptcError, UsageError
from optc.toolchain import Tools, find_compiler

PROGRAM = """
#include <stdio.h>
#include "first.h"
#include "second.h"
static float x[SIZE], y[SIZE], z[SIZE];
int main(void) {
  optc_model *a, *b;
  for (int i = 0; i < SIZE; ++i) x[i] = (float)i;
  const void* inputs[] = {x};
  void* outputs[] = {y, z};
  if (first_open(&a, NULL) || second_open(&b, NULL)) return 1;
  if (first_run(a, inputs, outputs)) return 2;
  fwrite(y, sizeof y, 1, stdout);
  if (second_run(b, inputs, outputs)) return 3;
  fwrite(y, sizeof y, 1, stdout);
  first_free(a);
  second_free(b);
  return 0;
}
"""


def made(name: str, kernels: bytes, weights: bytes) -> dict[str, bytes]:
    program, _ = weighted_sum()
    entry = emit_entry(program, name, 1)
    return libraries(name, ["static", "shared"], entry, [kernels], [weights], find_compiler(), Tools(), POSIX)


@pytest.fixture(scope="module")
def folder(kernels: bytes, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two models that differ in their weights."""
    _, weights = weighted_sum()
    path = tmp_path_factory.mktemp("libraries")
    other = (3 * np.frombuffer(weights, np.float32)).tobytes()
    for name, content in (("first", weights), ("second", other)):
        for file, data in made(name, kernels, content).items():
            (path / file).write_bytes(data)
    (path / "optc_model.h").write_text(POSIX.sources()["optc_model.h"])
    (path / "main.c").write_text(PROGRAM.replace("SIZE", str(SIZE)))
    return path


@pytest.mark.parametrize("kind", ["static", "shared"])
def test_two_models_in_one_program(kind: str, folder: Path) -> None:
    if kind == "static":
        options = ["libfirst.a", "libsecond.a", "-lm", "-lpthread"]
    else:
        command = ["pkg-config", "--cflags", "--libs", "first", "second"]
        found = subprocess.run(command, env={"PKG_CONFIG_PATH": str(folder), "PATH": "/usr/bin:/bin"}, check=True,
                               capture_output=True, text=True)  # fmt: skip
        options = [*found.stdout.split(), f"-Wl,-rpath,{folder}"]
    subprocess.run(["cc", "main.c", *options, "-o", f"run_{kind}"], cwd=folder, check=True)
    done = subprocess.run([folder / f"run_{kind}"], capture_output=True, check=True, cwd="/")
    first, second = np.frombuffer(done.stdout, np.float32).reshape(2, SIZE)
    x = np.arange(SIZE, dtype=np.float32)
    weights = np.frombuffer(weighted_sum()[1], np.float32)[:SIZE]
    np.testing.assert_allclose(first, 2 * (x + weights), rtol=1e-5)
    np.testing.assert_allclose(second, 2 * (x + 3 * weights), rtol=1e-5)


def test_only_the_model_s_names_are_visible(folder: Path) -> None:
    for options in (["-g", "--defined-only", "libfirst.a"], ["-D", "--defined-only", "libfirst.so"]):
        lines = subprocess.run(["nm", *options], cwd=folder, check=True, capture_output=True, text=True).stdout.split()
        names = [word for word in lines if "_" in word]
        assert "first_open" in names and "first_run" in names
        assert all(name.startswith("first_") for name in names)


def test_the_same_bytes_each_time(kernels: bytes, folder: Path) -> None:
    for name, content in made("first", kernels, weighted_sum()[1]).items():
        assert content == (folder / name).read_bytes(), name


def test_the_header_is_c_and_cpp(folder: Path) -> None:
    for compiler in (["cc", "-std=c99", "-Wpedantic", "-xc"], ["c++", "-std=c++17", "-xc++"]):
        subprocess.run([*compiler, "-Wall", "-Werror", "-fsyntax-only", "first.h"], cwd=folder, check=True)


def test_what_is_refused(kernels: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="'optc_x' is no name for a library"):
        check_name("optc_x")
    with pytest.raises(UsageError, match="'dynamic' is no kind of library"):
        check_kinds(["dynamic"])
    assert check_kinds(["shared", "static", "shared"]) == ("static", "shared")
    with pytest.raises(UsageError, match="there are no static libraries for systems of the kind 'web'"):
        libraries("a", ["static"], "", [], [], find_compiler(), Tools(), WEB)
    monkeypatch.setattr(toolchain.shutil, "which", lambda name: None if "objcopy" in name else name)
    with pytest.raises(OptcError, match=r"'mips-objcopy' was not found"):
        program, weights = weighted_sum()
        entry = emit_entry(program, "a", 1)
        libraries("a", ["static"], entry, [kernels], [weights], find_compiler(), Tools("mips"), POSIX)
