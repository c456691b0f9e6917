"""Memory and instructions of the C that optc writes for the MLPerf Tiny reference networks.

    python benchmarks/microcontroller.py --models mlperf_tiny/models --out build/bench/microcontroller

`--models` holds the int8 .tflite files of mlcommons/tiny. Instructions are counted by qemu-system-arm, one an emulated
nanosecond (-icount shift=0), with the processor's own timer: they say nothing of wait states or dual issue. The RAM of
TensorFlow Lite for Microcontrollers is what its interpreter allocates for the same file (package tflite-micro).
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import onnx
from tflite_models import convert

from optc import driver
from optc.backends.c.source import identifier

MODELS = {
    "ic": "pretrainedResnet_quant.tflite",
    "kws": "kws_ref_model.tflite",
    "vww": "vww_96_int8.tflite",
    "ad": "ad01_int8.tflite",
}

MACHINES: dict[str, tuple[str, Sequence[str]]] = {
    "cortex-m4": ("mps2-an386", ("-mcpu=cortex-m4", "-mfpu=fpv4-sp-d16", "-mfloat-abi=hard")),
    "cortex-m7": ("mps2-an500", ("-mcpu=cortex-m7", "-mfpu=fpv5-sp-d16", "-mfloat-abi=hard")),
    "cortex-m55": ("mps3-an547", ("-mcpu=cortex-m55", "-mfloat-abi=hard")),
}
NANOSECONDS_A_TICK = {"mps2-an386": 40.0, "mps2-an500": 40.0, "mps3-an547": 31.25}

_MAIN = r"""
#include <stdint.h>
#include "%(name)s.h"
extern uint32_t stack_top;
void reset(void);
static void fault(void) { for (;;) {} }
__attribute__((section(".vectors"), used)) const void* const vectors[16] = {
    &stack_top, (const void*)reset, (const void*)fault, (const void*)fault, (const void*)fault, (const void*)fault};
static void semihosted(int operation, const void* argument) {
  register int r0 __asm__("r0") = operation;
  register const void* r1 __asm__("r1") = argument;
  __asm__ volatile("bkpt 0xab" : "+r"(r0) : "r"(r1) : "memory");
}
static void print_number(uint32_t number) {
  char text[12];
  int i = 11;
  text[i--] = 0;
  text[i--] = '\n';
  do { text[i--] = (char)('0' + number %% 10); number /= 10; } while (number);
  semihosted(0x04, text + i + 1);
}
void reset(void) {
  volatile uint32_t* const control = (volatile uint32_t*)0xe000e010;
  *(volatile uint32_t*)0xe000ed88 |= 0xf << 20;
  __asm__ volatile("dsb\nisb");
  control[1] = 0xffffff;
  control[2] = 0;
  control[0] = 5;
  const uint32_t start = control[2];
  %(name)s_run();
  const uint32_t end = control[2];
  print_number((start - end) & 0xffffff);
  semihosted(0x18, (const void*)0x20026);
  for (;;) {}
}
"""

_LINK = """
ENTRY(reset)
SECTIONS {
  .text 0x0 : { KEEP(*(.vectors)) *(.text*) *(.rodata*) }
  .data 0x20000000 : { *(.data*) }
  .bss : { *(.bss*) *(COMMON) }
  stack_top = 0x20000000 + 0x80000;
  /DISCARD/ : { *(.ARM.exidx*) }
}
"""


def measure(name: str, folder: Path, target: str) -> dict[str, Any]:
    """Sizes of the object file and instructions of one run."""
    machine, flags = MACHINES[target]
    (folder / "main.c").write_text(_MAIN % {"name": name})
    (folder / "link.ld").write_text(_LINK)
    compiler = ["arm-none-eabi-gcc", "-mthumb", "-O2", *flags]
    subprocess.run([*compiler, "-std=c99", "-c", f"{name}.c", "-o", "model.o"], cwd=folder, check=True)
    sizes = subprocess.run(
        ["arm-none-eabi-size", "model.o"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    text, data, bss = map(int, sizes.split()[:3])
    link = ["-nostartfiles", "-T", "link.ld", "main.c", "model.o", "-lm", "-o", "model.elf"]
    subprocess.run([*compiler, *link], cwd=folder, check=True)
    emulator = ["qemu-system-arm", "-M", machine, "-nographic", "-semihosting", "-icount", "shift=0"]
    done = subprocess.run(
        [*emulator, "-kernel", "model.elf"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )
    ticks = int(re.findall(r"\d+", done.stdout + done.stderr)[-1])
    instructions = round(ticks * NANOSECONDS_A_TICK[machine])
    return {"flash_bytes": text + data, "ram_bytes": data + bss, "instructions": instructions}


def interpreter_ram(path: Path) -> int | None:
    """What the interpreter of TensorFlow Lite for Microcontrollers allocates; None where it is not installed."""
    script = (
        "import sys; from tflite_micro.python.tflite_micro import runtime; "
        "runtime.Interpreter.from_file(sys.argv[1], arena_size=2000000).print_allocations()"
    )
    done = subprocess.run(["python", "-c", script, str(path)], capture_output=True, text=True, check=False)
    found = re.search(r"Arena allocation total (\d+)", done.stdout + done.stderr)
    return int(found[1]) if found else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    records = []
    for short, file in MODELS.items():
        source = arguments.models / file
        proto = convert(source)
        macs = _multiplications(proto)
        for target in MACHINES:
            folder = arguments.out / f"{short}-{target}"
            made = driver.compile(proto, target=target, output=folder)
            name = identifier(proto.graph.name)
            work = arguments.out / f"{short}-{target}-work"
            work.mkdir(exist_ok=True)
            for suffix in (".c", ".h"):
                (work / (name + suffix)).write_bytes((made.path / (name + suffix)).read_bytes())
            figures = measure(name, work, target)
            assert figures["ram_bytes"] == made.manifest.cost["ram_bytes"]
            record = {
                "model": short, "target": target, "multiplications": macs, **figures,
                "file_bytes": source.stat().st_size, "interpreter_ram_bytes": interpreter_ram(source),
            }  # fmt: skip
            records.append(record)
            print(json.dumps(record))
    (arguments.out / "microcontroller.json").write_text(json.dumps(records, indent=1) + "\n")


def _multiplications(proto: onnx.ModelProto) -> int:
    """Of convolutions and matrix products."""
    from optc.driver.lowering import static_flops
    from optc.frontends import load_model

    graph = load_model(proto, {}, {}).module.main
    return sum(static_flops(each) for each in graph if each.name in ("onnx.Conv", "onnx.Gemm", "onnx.MatMul")) // 2


if __name__ == "__main__":
    main()
