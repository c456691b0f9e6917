"""The emulator itself: number formats, barriers, and that a read beyond an array is found."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from optc.backends.cuda.emulator.build import Emulator, emulated_source, emulator_sources, find_cxx
from optc.backends.cuda.kernel import CudaKernel, Launch
from optc.backends.cuda.runtime import runtime_headers
from optc.backends.interface import Option, Selection
from optc.errors import OptcError

SOURCE = """
OPTC_GLOBAL void widen(const unsigned short* input0, float* output0) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  output0[i] = optc_half_to_float(input0[i]);
}
OPTC_GLOBAL void narrow(const float* input0, unsigned short* output0) {
  const int i = blockIdx.x * 256 + threadIdx.x;
  output0[i] = optc_float_to_half(input0[i]);
}
OPTC_GLOBAL void turned(const float* input0, float* output0) {
  OPTC_SHARED float tile[64];
  tile[threadIdx.x] = input0[blockIdx.x * 64 + threadIdx.x];
  __syncthreads();
  output0[blockIdx.x * 64 + threadIdx.x] = tile[63 - threadIdx.x];
}
OPTC_GLOBAL void hasty(const float* input0, float* output0) {
  OPTC_SHARED float tile[64];
  tile[threadIdx.x] = 0.0f;
  __syncthreads();
  tile[threadIdx.x] = input0[threadIdx.x];
  output0[threadIdx.x] = tile[threadIdx.x / 2];
}
OPTC_GLOBAL void divided(const float* input0, float* output0) {
  if (threadIdx.x < 32) __syncthreads();
  output0[threadIdx.x] = input0[threadIdx.x];
}
"""

BEYOND = """
static int extra = 0;
OPTC_GLOBAL void beyond(const float* input0, float* output0) {
  OPTC_SHARED float tile[64];
  tile[threadIdx.x + extra] = input0[threadIdx.x];
  __syncthreads();
  output0[threadIdx.x] = tile[threadIdx.x];
}
"""

MAIN = """
int main(int count, char** words) {
  extra = std::atoi(words[1]);
  float* in = (float*)std::malloc(64 * sizeof(float));
  float* out = (float*)std::malloc(64 * sizeof(float));
  for (int i = 0; i < 64; ++i) in[i] = i;
  void* parameters[] = {&in, &out};
  const unsigned grid[3] = {1, 1, 1}, block[3] = {64, 1, 1};
  return optc_emulate_beyond(grid, block, 0, parameters);
}
"""


def kernel(function: str, blocks: int, threads: int) -> CudaKernel:
    option = Option("none", (), 0.0)
    launch = Launch(function, (blocks, 1, 1), (threads, 1, 1), 0, (("input", 0), ("output", 0)))
    selection = Selection(option, None, option, 1, 0, "")
    return CudaKernel(function, b"", selection, source=SOURCE, launches=(launch,))


SHAPES = {"widen": (256, 256), "narrow": (256, 256), "turned": (3, 64), "hasty": (1, 64), "divided": (1, 64)}
KERNELS = {name: kernel(name, *shape) for name, shape in SHAPES.items()}


@pytest.fixture(scope="module")
def emulator() -> Emulator:
    return Emulator(list(KERNELS.values()))


def test_libraries_with_kernels_of_one_name_do_not_share_memory() -> None:
    """The second has the larger array, which must not lie where the first one's ends."""

    def reversing(size: int) -> CudaKernel:
        source = f"""
template <int size> void turn(const float* from, float* to) {{
  OPTC_SHARED float tile[size + {size}];
  tile[threadIdx.x] = from[threadIdx.x];
  __syncthreads();
  to[threadIdx.x] = tile[{size} - 1 - threadIdx.x];
}}
OPTC_GLOBAL void turned_row(const float* input0, float* output0) {{ turn<0>(input0, output0); }}
"""
        return replace(kernel("turned_row", 1, size), source=source)

    kernels = [reversing(size) for size in (32, 1024)]
    emulators = [Emulator([each]) for each in kernels]
    for each, emulator, size in zip(kernels, emulators, (32, 1024), strict=True):
        values, found = np.arange(size, dtype=np.float32), np.empty(size, np.float32)
        emulator.run(each, [values], [found])
        np.testing.assert_array_equal(found, values[::-1])


def test_all_halves_widen_as_in_numpy(emulator: Emulator) -> None:
    bits = np.arange(2**16, dtype=np.uint16)
    found = np.empty(2**16, np.float32)
    emulator.run(KERNELS["widen"], [bits], [found])
    np.testing.assert_array_equal(found, bits.view(np.float16).astype(np.float32))


def test_floats_are_rounded_to_halves_as_in_numpy(emulator: Emulator) -> None:
    random = np.random.default_rng(0)
    values = random.integers(0, 2**32, 2**16, dtype=np.uint32).view(np.float32)
    values[: 2**15] = random.standard_normal(2**15) * 2.0 ** random.integers(-28, 17, 2**15)
    values[:6] = [65519.0, 65520.0, 2.0**-24, 2.0**-25, -(2.0**-25) * 1.5, np.inf]
    values = values[~np.isnan(values)]
    padded = np.zeros(2**16, np.float32)
    padded[: values.size] = values
    found = np.empty(2**16, np.uint16)
    emulator.run(KERNELS["narrow"], [padded], [found])
    with np.errstate(over="ignore"):
        np.testing.assert_array_equal(found, padded.astype(np.float16).view(np.uint16))


def test_threads_see_what_others_wrote_before_a_barrier(emulator: Emulator) -> None:
    values, found = np.arange(192, dtype=np.float32), np.empty(192, np.float32)
    emulator.run(KERNELS["turned"], [values], [found])
    np.testing.assert_array_equal(found, values.reshape(3, 64)[:, ::-1].reshape(-1))


def test_a_missing_barrier_shows_in_one_of_the_orders(emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> None:
    values = np.arange(1, 65, dtype=np.float32)
    wanted, forwards, backwards = values[np.arange(64) // 2], np.empty(64, np.float32), np.empty(64, np.float32)
    emulator.run(KERNELS["hasty"], [values], [forwards])
    monkeypatch.setenv("OPTC_EMULATION_REVERSED", "1")
    emulator.run(KERNELS["hasty"], [values], [backwards])
    assert (forwards == wanted).all() and not (backwards == wanted).all()


def test_a_barrier_that_some_threads_miss_is_an_error(emulator: Emulator, capfd: pytest.CaptureFixture[str]) -> None:
    values = np.zeros(64, np.float32)
    with pytest.raises(OptcError, match="the emulation of divided failed"):
        emulator.run(KERNELS["divided"], [values], [values.copy()])
    assert "a barrier is not reached by all threads" in capfd.readouterr().err


def test_address_sanitizer_finds_a_store_beyond_shared_memory(tmp_path: Path) -> None:
    for name, text in {**runtime_headers(), **emulator_sources()}.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "main.cpp").write_text(emulated_source([BEYOND], ["beyond"]) + MAIN)

    units = ["main.cpp", "scheduler.cpp", "-o", "beyond"]
    command = [*find_cxx(), "-std=c++17", "-DOPTC_EMULATION", "-fsanitize=address", "-I.", *units]
    made = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    if made.returncode:
        pytest.skip(f"no AddressSanitizer here: {made.stderr.splitlines()[-1]}")

    def run(extra: int) -> subprocess.CompletedProcess[str]:
        program, settings = [str(tmp_path / "beyond"), str(extra)], {"ASAN_OPTIONS": "detect_leaks=0"}
        return subprocess.run(program, env=settings, capture_output=True, text=True, check=False)

    assert run(0).returncode == 0
    found = run(1)
    assert found.returncode != 0 and "global-buffer-overflow" in found.stderr
