"""Kernels that race: each contestant runs all of its calls on the buffers that it names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.backends.host.race import Call, race
from optc.toolchain import find_compiler

ADDING = """
#include <stdint.h>
int32_t adds(void* left, void* right, void* result) {
  for (int i = 0; i < 16; ++i) ((float*)result)[i] = ((float*)left)[i] + ((float*)right)[i];
  return 0;
}
"""
FAILING = "#include <stdint.h>\nint32_t fails(void* data) { (void)data; return 3; }\n"


def compiled(source: str, folder: Path) -> bytes:
    (folder / "kernel.c").write_text(source)
    find_compiler().run(["-O1", "-fPIC", "-c", "kernel.c", "-o", "kernel.o"], folder)
    return (folder / "kernel.o").read_bytes()


def test_contestants_run_on_the_buffers(tmp_path: Path) -> None:
    code = compiled(ADDING, tmp_path)
    buffers = [np.full(16, number, np.float32) for number in (1, 2, 0, 0)]
    once = [Call("adds", code, (0, 1, 2))]
    twice = [Call("adds", code, (0, 1, 2)), Call("adds", code, (2, 2, 3))]
    seconds = race([once, twice], buffers, [0, 1, 2, 3], 2, 1 << 20)
    assert len(seconds) == 2
    assert all(each >= 0.0 for each in seconds)
    np.testing.assert_array_equal(buffers[2], np.full(16, 3, np.float32))
    np.testing.assert_array_equal(buffers[3], np.full(16, 6, np.float32))


def test_a_failing_kernel_has_no_time(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="a kernel failed"):
        race([[Call("fails", compiled(FAILING, tmp_path), (0,))]], [np.zeros(4, np.float32)], [0], 1, 1 << 20)
