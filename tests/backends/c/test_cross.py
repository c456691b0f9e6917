"""The same C on emulated processors gives the same bytes as here."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from c_kit import WARNINGS, Built, Quantized, missing, model_of, stored_input, write
from tree_kit import ensemble, samples_at_thresholds

from optc.backends.c.emulator import BOARDS, run_emulated
from optc.backends.c.source import Model

Make = Callable[[str], "tuple[Model, np.ndarray]"]

SHAPE = (1, 6, 9, 11)

MAIN = """
#include <string.h>
#include "small.h"
void optc_print(const char* text);
static const unsigned char x[] = {%(values)s};
int main(void) {
  memcpy(small_input_0(), x, sizeof x);
  small_run();
  const unsigned char* bytes = (const unsigned char*)small_output_0();
  for (unsigned i = 0; i < SMALL_OUTPUT_0_SIZE * sizeof *small_output_0(); i++) {
    char text[3] = {"0123456789abcdef"[bytes[i] >> 4], "0123456789abcdef"[bytes[i] & 15], 0};
    optc_print(text);
  }
  return 0;
}
"""


def small(target: str) -> tuple[Model, np.ndarray]:
    """A network with every kernel on codes."""
    q = Quantized(seed=11)
    weights, scales = q.weights((8, 6, 3, 3), 0)
    first = q.add("Relu", [q.add("Conv", [q.coded("x", 0.05, 131), weights, q.bias(scales, 0.05)], pads=[1, 1, 1, 1])])
    y = q.coded(first, 0.2, 0)
    weights, scales = q.weights((8, 1, 3, 3), 0)
    deep = q.add("Conv", [y, weights, q.bias(scales, 0.2)], group=8, pads=[1, 1, 1, 1])
    deep = q.coded(q.add("Sigmoid", [q.coded(deep, 0.3, 120)]), 0.004, 0)
    weights, scales = q.weights((8, 8, 1, 1), 0)
    thin = q.coded(q.add("Conv", [deep, weights, q.bias(scales, 0.004)]), 0.1, 128)
    total = q.coded(q.add("Add", [thin, y]), 0.2, 60)
    pooled = q.coded(q.add("MaxPool", [total], kernel_shape=[2, 2], strides=[2, 2]), 0.2, 60)
    mean = q.coded(q.add("GlobalAveragePool", [pooled]), 0.1, 90)
    flat = q.add("Flatten", [mean])
    weights, _ = q.weights((8, 5), 1)
    logits = q.add("MatMul", [q.coded(flat, 0.1, 90), weights])
    return model_of(q.model(SHAPE, q.add("Softmax", [logits])), target), q.random.uniform(-7, 7, SHAPE).astype("f4")


def trees(target: str) -> tuple[Model, np.ndarray]:
    """An ensemble of trees, and samples that meet its thresholds."""
    generator = np.random.default_rng(3)
    return model_of(ensemble(generator, 3), target), samples_at_thresholds(generator)


MODELS = (small, trees)


def input_bytes(model: Model, x: np.ndarray) -> str:
    return ", ".join(map(str, stored_input(model.inputs[0], x).tobytes()))


RISCV_START = """
#include <stdint.h>
int main(void);
void optc_print(const char* text) { while (*text) *(volatile uint8_t*)0x10000000 = (uint8_t)*text++; }
__attribute__((used)) void begin(void) {
  main();
  *(volatile uint32_t*)0x100000 = 0x5555;
  for (;;) {}
}
__attribute__((naked, section(".start"))) void start(void) { __asm__("la sp, stack_top\\n j begin"); }
"""

RISCV_LINK = """
ENTRY(start)
SECTIONS {
  . = 0x80000000;
  .text : { KEEP(*(.start)) *(.text*) *(.rodata*) *(.srodata*) }
  .data : { *(.data*) *(.sdata*) }
  .bss : { *(.bss*) *(.sbss*) *(COMMON) }
  . = ALIGN(16);
  stack_top = . + 0x10000;
}
"""


@pytest.mark.parametrize("make", MODELS)
def test_an_emulated_riscv_computes_the_same_bytes(make: Make, tmp_path: Path) -> None:
    if lacking := missing("riscv64-unknown-elf-gcc:picolibc.specs", "qemu-system-riscv32"):
        pytest.skip(f"not installed: {lacking}")
    model, x = make("riscv32")
    (expected,) = Built(model, tmp_path).run(x)
    write(model, tmp_path)
    (tmp_path / "main.c").write_text(MAIN % {"values": input_bytes(model, x)})
    (tmp_path / "start.c").write_text(RISCV_START)
    (tmp_path / "link.ld").write_text(RISCV_LINK)
    common = ["riscv64-unknown-elf-gcc", "-march=rv32imc", "-mabi=ilp32", "-mcmodel=medany", "--specs=picolibc.specs"]
    common += ["-O2", "-ffp-contract=off"]
    subprocess.run([*common, *WARNINGS, "-c", "small.c", "-o", "small.o"], cwd=tmp_path, check=True)
    link = ["-nostartfiles", "-T", "link.ld", "start.c", "main.c", "small.o", "-lm", "-o", "small.elf"]
    subprocess.run([*common, *link], cwd=tmp_path, check=True)
    emulator = ["qemu-system-riscv32", "-M", "virt", "-bios", "none", "-display", "none", "-serial", "stdio"]
    emulator += ["-monitor", "none", "-kernel", "small.elf"]
    done = subprocess.run(emulator, cwd=tmp_path, capture_output=True, text=True, timeout=60, check=False)
    assert expected.tobytes().hex() in done.stdout, done.stdout[-500:] + done.stderr[-500:]


@pytest.mark.parametrize("make", MODELS)
@pytest.mark.parametrize("target", BOARDS)
def test_an_emulated_arm_computes_the_same_bytes(target: str, make: Make, tmp_path: Path) -> None:
    if lacking := missing("arm-none-eabi-gcc", "qemu-system-arm"):
        pytest.skip(f"not installed: {lacking}")
    model, x = make(target)
    (expected,) = Built(model, tmp_path).run(x)
    write(model, tmp_path)
    printed = run_emulated(tmp_path, "small", MAIN % {"values": input_bytes(model, x)}, target, WARNINGS)
    assert expected.tobytes().hex() in printed, printed[-2000:]


def test_an_emulated_aarch64_with_dot_products_computes_the_same_bytes(tmp_path: Path) -> None:
    if lacking := missing("aarch64-linux-gnu-gcc", "qemu-aarch64-static"):
        pytest.skip(f"not installed: {lacking}")
    model, x = small("c99")
    (expected,) = Built(model, tmp_path).run(x)
    write(model, tmp_path)
    printing = "#include <stdio.h>\nvoid optc_print(const char* text) { fputs(text, stdout); }\n"
    (tmp_path / "main.c").write_text(printing + MAIN % {"values": input_bytes(model, x)})
    flags = [*WARNINGS, "-O2", "-ffp-contract=off", "-march=armv8.2-a+dotprod", "-static"]
    command = ["aarch64-linux-gnu-gcc", *flags, "main.c", "small.c", "-o", "small", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    emulator = ["qemu-aarch64-static", str(tmp_path / "small")]
    done = subprocess.run(emulator, capture_output=True, text=True, timeout=60, check=True)
    assert expected.tobytes().hex() in done.stdout
