"""Emulated boards that run generated C: start code, linker script, and what qemu-system-arm is asked for."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Board:
    """An emulated machine.

    Attributes:
        machine: QEMU's name.
        flags: of the compiler for its processor.
        tick: nanoseconds between two counts of the processor's timer.
    """

    machine: str
    flags: tuple[str, ...]
    tick: float


BOARDS = {
    "cortex-m4": Board("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard"), 40.0),
    "cortex-m7": Board("mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard"), 40.0),
    "cortex-m55": Board("mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard"), 31.25),
}
"""By target."""

COMPILER = ("arm-none-eabi-gcc", "-mthumb", "-O2", "-ffp-contract=off")

START = r"""
#include <stdint.h>
extern uint32_t stack_top;
int main(void);
void reset(void);
void fault(void);
__attribute__((section(".vectors"), used)) const void* const vectors[16] = {
    &stack_top, (const void*)reset, (const void*)fault, (const void*)fault, (const void*)fault, (const void*)fault};
static void semihosted(int operation, const void* argument) {
  register int r0 __asm__("r0") = operation;
  register const void* r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
void optc_leave(void) { semihosted(0x18, (const void*)0x20026); }
void optc_print(const char* text) { semihosted(0x04, text); }
void fault(void) { optc_print("fault\n"); optc_leave(); for (;;) {} }
void reset(void) {
  *(volatile uint32_t*)0xe000ed88 |= 0xf << 20;
  __asm__ volatile("dsb\nisb");
  main();
  optc_leave();
  for (;;) {}
}
"""
"""Calls `main`, which may call `optc_print`; the emulator ends behind it."""

LINK = """
ENTRY(reset)
SECTIONS {
  .text 0x0 : { KEEP(*(.vectors)) *(.text*) *(.rodata*) }
  .data 0x20000000 : { *(.data*) }
  .bss : { *(.bss*) *(COMMON) }
  stack_top = 0x20000000 + 0x80000;
  /DISCARD/ : { *(.ARM.exidx*) }
}
"""


def run_emulated(folder: Path, name: str, main: str, target: str, warnings: Sequence[str] = ("-std=c99",)) -> str:
    """Build `name`.c and a program around it, and run it.

    Args:
        folder: with `name`.c and `name`.h; the object file stays there as `name`.o.
        name: of the model.
        main: source of `main`, which calls `void optc_print(const char*)`.
        target: a key of `BOARDS`.
        warnings: more flags for the model.

    Returns:
        what it printed.

    Raises:
        subprocess.CalledProcessError: the compiler fails.
        subprocess.TimeoutExpired: it ran longer than two minutes.
    """
    board = BOARDS[target]
    for file, text in (("main.c", main), ("start.c", START), ("link.ld", LINK)):
        (folder / file).write_text(text)
    compiler = [*COMPILER, *board.flags]
    subprocess.run([*compiler, *warnings, "-c", f"{name}.c", "-o", f"{name}.o"], cwd=folder, check=True)
    link = ["-nostartfiles", "-T", "link.ld", "start.c", "main.c", f"{name}.o", "-lm", "-o", f"{name}.elf"]
    subprocess.run([*compiler, *link], cwd=folder, check=True)
    emulator = ["qemu-system-arm", "-M", board.machine, "-nographic", "-semihosting", "-icount", "shift=0"]
    command = [*emulator, "-kernel", f"{name}.elf"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120, check=False)
    return done.stdout + done.stderr
