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
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import onnx
from tflite_models import convert

from optc import driver
from optc.backends.c.emulator import BOARDS, run_emulated
from optc.backends.c.source import identifier

MODELS = {
    "ic": "pretrainedResnet_quant.tflite",
    "kws": "kws_ref_model.tflite",
    "vww": "vww_96_int8.tflite",
    "ad": "ad01_int8.tflite",
}

NAMES = {
    "ic": "ResNet-8, CIFAR-10",
    "kws": "DS-CNN, keywords",
    "vww": "MobileNetV1 0.25, 96×96",
    "ad": "autoencoder",
}

_MAIN = r"""
#include <stdint.h>
#include "%(name)s.h"
void optc_print(const char* text);
static void print_number(uint32_t number) {
  char text[12];
  int i = 11;
  text[i--] = 0;
  text[i--] = '\n';
  do { text[i--] = (char)('0' + number %% 10); number /= 10; } while (number);
  optc_print(text + i + 1);
}
int main(void) {
  volatile uint32_t* const control = (volatile uint32_t*)0xe000e010;
  control[1] = 0xffffff;
  control[2] = 0;
  control[0] = 5;
  const uint32_t start = control[2];
  %(name)s_run();
  const uint32_t end = control[2];
  print_number((start - end) & 0xffffff);
  return 0;
}
"""

_TIMED = r"""
#include <stdio.h>
#include <time.h>
#include "%(name)s.h"
static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}
int main(void) {
  double least = 1.0;
  for (int i = 0; i < 2000; i++) {
    const double start = now();
    %(name)s_run();
    const double seconds = now() - start;
    least = seconds < least ? seconds : least;
  }
  printf("%%.9f\n", least);
  return 0;
}
"""


def measure(name: str, folder: Path, target: str) -> dict[str, Any]:
    """Sizes of the object file and instructions of one run."""
    printed = run_emulated(folder, name, _MAIN % {"name": name}, target)
    instructions = round(int(re.findall(r"\d+", printed)[-1]) * BOARDS[target].tick)
    sizes = subprocess.run(
        ["arm-none-eabi-size", f"{name}.o"], cwd=folder, capture_output=True, text=True, check=True
    ).stdout.splitlines()[1]
    text, data, bss = map(int, sizes.split()[:3])
    return {"flash_bytes": text + data, "ram_bytes": data + bss, "instructions": instructions}


def host_seconds(name: str, folder: Path) -> float:
    """The least time of a run of the C on this machine, compiled for it by gcc -O3 -march=native."""
    (folder / "timed.c").write_text(_TIMED % {"name": name})
    flags = ["-std=c99", "-D_POSIX_C_SOURCE=200809L", "-O3", "-march=native", "-ffp-contract=off"]
    subprocess.run(["gcc", *flags, "timed.c", f"{name}.c", "-o", "timed", "-lm"], cwd=folder, check=True)
    return float(subprocess.run([folder / "timed"], capture_output=True, text=True, check=True).stdout)


def native_seconds(path: Path) -> float:
    """The least time of a run of a native artifact on one thread, by `optc bench`."""
    command = ["optc", "bench", str(path), "--threads", "1", "--seconds", "1", "--json"]
    record = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    return float(record["results"][0]["min"])


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
    parser.add_argument("--part", choices=PARTS, action="append", help="repeatable; default: all")
    parser.add_argument("--tables", action="store_true", help="only print what was measured before")
    arguments = parser.parse_args()
    if arguments.tables:
        print(tables(arguments.out))
        return
    arguments.out.mkdir(parents=True, exist_ok=True)
    for part in arguments.part or PARTS:
        records = []
        for short, file in MODELS.items():
            for record in PARTS[part](short, arguments.models / file, arguments.out):
                records.append({"model": short, **record})
                print(json.dumps(records[-1]), flush=True)
        (arguments.out / f"{part}.json").write_text(json.dumps(records, indent=1) + "\n")


def tables(out: Path) -> str:
    """The tables of docs/microcontroller.md from the records of both parts."""
    measured = {(each["model"], each["target"]): each for each in json.loads((out / "boards.json").read_text())}
    lines = [
        "| network | RAM | TFLM's RAM | flash (Cortex-M7) | .tflite file alone | multiplications "
        "| instructions, M7 | M4 | M55 |",
        "| --- " * 9 + "|",
    ]
    for short, name in NAMES.items():
        m4, m7, m55 = (measured[short, target] for target in ("cortex-m4", "cortex-m7", "cortex-m55"))
        counts = " | ".join(f"{each['instructions'] / 1e6:.2f} M" for each in (m7, m4, m55))
        lines.append(
            f"| {name} | {m7['ram_bytes']:,} | {m7['interpreter_ram_bytes'] or 0:,} | {m7['flash_bytes']:,} "
            f"| {m7['file_bytes']:,} | {m7['multiplications'] / 1e6:.2f} M | {counts} |"
        )
    lines += ["", "| network | C, µs | tvm backend, µs | ratio |", "| --- " * 4 + "|"]
    for each in json.loads((out / "host.json").read_text()):
        lines.append(
            f"| {NAMES[each['model']]} | {each['c_seconds'] * 1e6:.1f} | {each['native_seconds'] * 1e6:.1f} "
            f"| {each['ratio']:.2f} |"
        )
    return "\n".join(lines)


def boards(short: str, source: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Memory and instructions on every emulated board."""
    proto = convert(source)
    for target in BOARDS:
        made = driver.compile(proto, target=target, output=out / f"{short}-{target}")
        work = _sources(made.path, out / f"{short}-{target}-work")
        figures = measure(identifier(proto.graph.name), work, target)
        assert figures["ram_bytes"] == made.manifest.cost["ram_bytes"]
        yield {
            "target": target, "multiplications": _multiplications(proto), **figures,
            "file_bytes": source.stat().st_size, "interpreter_ram_bytes": interpreter_ram(source),
        }  # fmt: skip


def host(short: str, source: Path, out: Path) -> Iterator[dict[str, Any]]:
    """Seconds of the C and of the tvm backend's kernels on this machine, in turns; artifacts that are there stay."""
    proto = convert(source)
    native, plain = out / f"{short}-native", out / f"{short}-c99"
    if not native.exists():
        driver.compile(proto, target="cpu", threads=1, output=native)
    if not plain.exists():
        driver.compile(proto, target="c99", output=plain)
    name, work = identifier(proto.graph.name), _sources(plain, out / f"{short}-c99-work")
    rounds = [(host_seconds(name, work), native_seconds(native)) for _ in range(3)]
    ours, theirs = (min(each) for each in zip(*rounds, strict=True))
    yield {"c_seconds": ours, "native_seconds": theirs, "ratio": ours / theirs}


PARTS: dict[str, Callable[[str, Path, Path], Iterator[dict[str, Any]]]] = {"boards": boards, "host": host}


def _sources(artifact: Path, work: Path) -> Path:
    """A folder with the two files of an artifact."""
    work.mkdir(exist_ok=True)
    for file in artifact.iterdir():
        if file.suffix in (".c", ".h"):
            (work / file.name).write_bytes(file.read_bytes())
    return work


def _multiplications(proto: onnx.ModelProto) -> int:
    """Of convolutions and matrix products."""
    from optc.driver.program.lowering import static_flops
    from optc.frontends import load_model

    graph = load_model(proto, {}, {}).module.main
    return sum(static_flops(each) for each in graph if each.name in ("onnx.Conv", "onnx.Gemm", "onnx.MatMul")) // 2


if __name__ == "__main__":
    main()
