"""What the generated source promises: no allocation, the stated memory, defined behaviour."""

from __future__ import annotations

import ctypes
import subprocess
from pathlib import Path

import numpy as np
import pytest
from c_kit import WARNINGS, Quantized, missing, model_of, write

from optc import driver
from optc.backends.c.coding import fixed_point, scaled
from optc.backends.c.literals import integer_literal, real_literal
from optc.backends.c.source import Model, identifier
from optc.errors import LimitError

SHAPE = (1, 4, 8, 8)

MAIN = """
#include <stdio.h>
#include "small.h"
int main(void) {
  for (int i = 0; i < SMALL_INPUT_0_SIZE; i++) small_input_0()[i] = (signed char)(i * 37 % 256 - 128);
  small_run();
  for (int i = 0; i < SMALL_OUTPUT_0_SIZE; i++) printf("%d ", small_output_0()[i]);
  return 0;
}
"""


def quantized() -> Quantized:
    return Quantized(seed=3)


def network(q: Quantized) -> str:
    """Two convolutions, one of them with a sum, and a softmax."""
    x = q.coded("x", 0.05, 128)
    weights, scales = q.weights((8, 4, 3, 3), 0)
    first = q.add("Conv", [x, weights, q.bias(scales, 0.05)], pads=[1, 1, 1, 1])
    y = q.coded(q.add("Relu", [first]), 0.2, 0)
    weights, scales = q.weights((8, 8, 3, 3), 0)
    second = q.coded(q.add("Conv", [y, weights, q.bias(scales, 0.2)], pads=[1, 1, 1, 1]), 0.5, 128)
    total = q.coded(q.add("Add", [second, y]), 0.5, 100)
    mean = q.coded(q.add("GlobalAveragePool", [total]), 0.1, 128)
    return q.coded(q.add("Softmax", [q.add("Flatten", [mean])]), 1 / 256, 0)


@pytest.fixture(scope="module")
def model() -> Model:
    q = quantized()
    return model_of(q.model(SHAPE, network(q)))


def test_sanitizers_find_nothing(model: Model, tmp_path: Path) -> None:
    write(model, tmp_path)
    (tmp_path / "main.c").write_text(MAIN)
    outputs = []
    for flags in (["-O0"], ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"], ["-O3"]):
        command = ["gcc", *WARNINGS, *flags, "small.c", "main.c", "-o", "small", "-lm"]
        subprocess.run(command, cwd=tmp_path, check=True)
        done = subprocess.run([tmp_path / "small"], capture_output=True, text=True, check=True)
        outputs.append(done.stdout)
    assert outputs[0] and len(set(outputs)) == 1


def test_the_object_takes_the_stated_ram_and_calls_no_more_than_string_and_math(model: Model, tmp_path: Path) -> None:
    write(model, tmp_path)
    subprocess.run(["gcc", *WARNINGS, "-O2", "-fno-pic", "-c", "small.c", "-o", "small.o"], cwd=tmp_path, check=True)
    sizes = subprocess.run(["size", "-B", "small.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    _, data, bss, *_ = sizes.stdout.splitlines()[1].split()
    assert (int(data), int(bss)) == (0, model.arena_bytes)
    symbols = subprocess.run(["nm", "-u", "small.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    allowed = {"memcpy", "memset", "memmove", "nearbyintf", "expf", "_GLOBAL_OFFSET_TABLE_", "__stack_chk_fail"}
    assert {line.split()[-1] for line in symbols.stdout.splitlines()} <= allowed


def test_riscv_compiles(model: Model, tmp_path: Path) -> None:
    if lacking := missing("riscv64-unknown-elf-gcc:picolibc.specs"):
        pytest.skip(f"not installed: {lacking}")
    write(model, tmp_path)
    flags = ["-march=rv32imc", "-mabi=ilp32", "--specs=picolibc.specs", "-O2"]
    subprocess.run(["riscv64-unknown-elf-gcc", *WARNINGS, *flags, "-c", "small.c", "-o", "o"], cwd=tmp_path, check=True)


def test_results_overwrite_operands(model: Model) -> None:
    # The two tensors of 8 x 8 x 8 that a sum needs, and what the kernel gathers: never a third tensor.
    assert model.arena_bytes < 2 * 512 + 2 * 72 + 64


def test_an_artifact_runs_here_and_says_what_it_takes(tmp_path: Path) -> None:
    q = quantized()
    proto = q.model(SHAPE, network(q))
    made = driver.compile(proto, target="cortex-m7", output=tmp_path / "out")
    assert made.manifest.verification is not None and made.manifest.verification["passed"]
    assert made.manifest.cost["ram_bytes"] == made.manifest.program["arena_bytes"] < 1300
    assert {"small.c", "small.h"} <= set(made.manifest.files)
    header = (tmp_path / "out" / "small.h").read_text()
    assert "int8_t[1x8x8x4], axis 1 of 1x4x8x8 innermost; real = (code - 0) * 0.0500000007" in header
    x = q.random.uniform(-6, 6, SHAPE).astype(np.float32)
    (result,) = made.run({"x": x}).values()
    assert result.shape == (1, 8) and abs(result.sum() - 1) < 0.05


def test_a_limit_that_is_too_small(tmp_path: Path) -> None:
    q = quantized()
    proto = q.model(SHAPE, network(q))
    with pytest.raises(LimitError) as caught:
        driver.compile(proto, target="cortex-m7", memory_limit="1K", output=tmp_path / "out")
    needed = int(str(caught.value).split("needs an arena of ")[1].split()[0])
    assert str(caught.value).count("bytes live") == 3
    assert f"--memory-limit {needed} works" in str(caught.value.hint)
    driver.compile(proto, target="cortex-m7", memory_limit=needed, output=tmp_path / "out")


def test_fixed_point_is_within_its_bound() -> None:
    generator = np.random.default_rng(0)
    for _ in range(200):
        scales = 2.0 ** generator.uniform(-14, 1, 5)
        largest = np.minimum(2.0**28, 600 / scales)
        fixed = fixed_point(scales, largest)
        assert not isinstance(fixed, str)
        sums = (generator.uniform(-1, 1, (100, 5)) * largest).astype(np.int64)
        found = scaled(sums, fixed)
        assert np.all(np.abs(found - sums * scales) <= 0.5 + fixed.error + 1e-9)


def test_fixed_point_refuses_what_it_cannot_hold() -> None:
    one = np.ones(1)
    assert fixed_point(np.array([0.0]), one) == "a scale is not positive"
    assert fixed_point(np.array([0.5]), one * 2**31) == "its sums may exceed 32 bits"
    assert "apart" in str(fixed_point(np.array([0.2, 3.55e-9]), np.array([1e3, 2e9])))


def test_literals_give_back_the_number() -> None:
    library = ctypes.CDLL(None)
    library.strtof.restype = ctypes.c_float
    for value in (0.1, 1.0, -3.0, 1e-30, 16777217.0, 1.17549435e-38):
        single = float(np.float32(value))
        assert library.strtof(real_literal(single, single=True).rstrip("f").encode(), None) == single
    assert integer_literal(-(2**31), "int32") == "(-2147483647 - 1)"
    assert integer_literal(7, "uint64") == "UINT64_C(7)"
    assert real_literal(float("inf"), single=True) == "INFINITY"


def test_names_become_identifiers() -> None:
    assert [identifier(name) for name in ("mobile-net v2", "8bit", "")] == ["mobile_net_v2", "m_8bit", "model"]
