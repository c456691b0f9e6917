"""The C interface from C and C++, also under the compiler's race and memory checkers."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
import sanitizer_kit
from native_kit import KERNELS, chain, weighted_sum

from optc.backends.host.entry import emit_entry
from optc.backends.host.link import link, runtime_sources

STRESS = Path(__file__).parent / "stress.c"


@pytest.mark.parametrize("check", sanitizer_kit.CHECKS)
def test_stress(check: str, tmp_path: Path) -> None:
    sanitizer_kit.require(check)
    entry = emit_entry(chain("square", "negate"), "stress")
    sources = {**runtime_sources(), "model.c": entry, "stress.c": STRESS.read_text()}
    assert sanitizer_kit.run(sanitizer_kit.build(tmp_path, check, sources, KERNELS)) == ("600 runs\n", "", 0)


CALLER = r"""
#include <cstdio>
#include "optc_model.h"
static int fallback(void*, int32_t, const void* const*, void* const*) { return 0; }
int main(int argc, char** argv) {
  optc_model* model;
  if (argc != 2 || optc_model_init(&model, argv[1], NULL) != OPTC_OK) return std::puts(optc_model_error(NULL)), 1;
  optc_model_set_fallback(model, fallback, NULL);
  static float x[1000], y[1000], z[1000];
  const void* inputs[] = {x};
  void* outputs[] = {y, z};
  if (optc_model_run(model, inputs, outputs) != OPTC_OK) return std::puts(optc_model_error(model)), 1;
  std::printf("%g %g\n", y[999], z[999]);
  optc_model_free(model);
}
"""


@pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler")
def test_from_cpp(kernels: bytes, tmp_path: Path) -> None:
    program, weights = weighted_sum()
    (tmp_path / "libmodel.so").write_bytes(link(emit_entry(program, "sum"), [kernels]))
    (tmp_path / "optc_model.h").write_text(runtime_sources()["optc_model.h"])
    (tmp_path / "caller.cc").write_text(CALLER)
    command = ["c++", "-std=c++98", "-Wall", "-Werror", "caller.cc", "libmodel.so", "-Wl,-rpath,.", "-o", "caller"]
    subprocess.run(command, cwd=tmp_path, check=True)

    def call(folder: str) -> tuple[int, str]:
        done = subprocess.run(["./caller", folder], cwd=tmp_path, capture_output=True, text=True, check=False)
        return done.returncode, done.stdout

    missing = os.strerror(2)
    assert call("nowhere") == (1, f"cannot open nowhere/weights.bin: {missing}\n")
    (tmp_path / "weights.bin").write_bytes(weights[:-1])
    assert call(".") == (
        1,
        "./weights.bin has 4031 bytes, and the code expects 4032: the files are not of one artifact\n",
    )
    (tmp_path / "weights.bin").write_bytes(weights)
    assert call(".") == (0, "1998 999\n")


def test_header_is_plain_c99(tmp_path: Path) -> None:
    (tmp_path / "optc_model.h").write_text(runtime_sources()["optc_model.h"])
    (tmp_path / "user.c").write_text('#include "optc_model.h"\noptc_options options = OPTC_OPTIONS;\n')
    command = ["cc", "-std=c99", "-pedantic", "-Wall", "-Wextra", "-Werror", "-c", "user.c"]
    subprocess.run(command, cwd=tmp_path, check=True)
