"""The launches of CUDA kernels as an object file: C functions on device addresses, and the code for the GPUs."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from optc.backends.cuda.kernel import CudaKernel, Launch
from optc.backends.host.entry import c_string
from optc.backends.host.platform import CUDA
from optc.toolchain import Compiler

UNIT = "launches.c"


@dataclass(frozen=True)
class Image:
    """Code of one kernel for a kind of GPU.

    Attributes:
        sm: compute capability, 87 for 8.7.
        is_ptx: PTX, which the driver compiles for that capability and all later ones; else a cubin.
        content: the file.
    """

    sm: int
    is_ptx: bool
    content: bytes


@dataclass(frozen=True)
class Launched:
    """A kernel as the native library has it.

    Attributes:
        kernel: its launches are read.
        inputs: how many parameters are inputs.
        outputs: how many are outputs; the kernel's scratch follows.
        images: its code, for the same kinds of GPUs as every kernel of the library.
    """

    kernel: CudaKernel
    inputs: int
    outputs: int
    images: Sequence[Image]


def launch_object(kernels: Sequence[Launched], compiler: Compiler, toolkit: str) -> bytes:
    """The object file of `emit_launches` with the images in it.

    Raises:
        OptcError: the compiler fails.
    """
    with tempfile.TemporaryDirectory(prefix="optc-launches-") as temporary:
        folder = Path(temporary)
        for name, text in CUDA.sources().items():
            (folder / name).write_text(text)
        (folder / UNIT).write_text(emit_launches(kernels, toolkit))
        for number, each in enumerate(kernels):
            for index, image in enumerate(each.images):
                (folder / f"image_{number}_{index}.bin").write_bytes(image.content + bytes(image.is_ptx))
        compiler.run([*CUDA.compile, "-c", UNIT, "-o", "launches.o"], folder)
        return (folder / "launches.o").read_bytes()


def emit_launches(kernels: Sequence[Launched], toolkit: str) -> str:
    """The C source of the functions that launch kernels, and of the tables that `runtime/cuda` reads.

    Args:
        kernels: in the order of their numbers.
        toolkit: the version of CUDA that made the code, as `13.0`.
    """
    major, minor = (int(part) for part in toolkit.split(".")[:2])
    first = 0
    rows, parts = [], ['#include "kernels.h"']
    for number, each in enumerate(kernels):
        parts += _data(number, each.images)
        launches = each.kernel.launches
        functions = "\n".join(f"    {_function(launch)}," for launch in launches)
        parts.append(f"static const optc_cuda_function functions_{number}[] = {{\n{functions}\n}};")
        counts = f"{len(each.images)}, {len(launches)}, {first}"
        rows.append(f"    {{images_{number}, functions_{number}, {counts}}},")
        parts.append(_launcher(number, each))
        first += len(launches)
    table = "\n".join(rows or ["    {0},"])
    parts.append(f"const optc_cuda_kernel optc_cuda_kernels[] = {{\n{table}\n}};")
    parts.append(f"const int32_t optc_cuda_kernel_count = {len(kernels)};")
    parts.append(f"const int32_t optc_cuda_function_count = {first};")
    parts.append(f"const int32_t optc_cuda_toolkit = {1000 * major + 10 * minor};")
    return "\n\n".join(parts) + "\n"


def _data(number: int, images: Sequence[Image]) -> list[str]:
    """The files of a kernel's images in the read-only section, and the table of them."""
    parts, rows = [], []
    for index, image in enumerate(images):
        name = f"optc_image_{number}_{index}"
        parts.append(
            f'__asm__(".section .rodata.{name},\\"a\\"\\n.balign 64\\n.globl {name}\\n.hidden {name}\\n{name}:\\n"\n'
            f'        ".incbin \\"image_{number}_{index}.bin\\"\\n.previous\\n");\n'
            f'extern __attribute__((visibility("hidden"))) const char {name}[];'
        )
        rows.append(f"    {{{image.sm}, {int(image.is_ptx)}, {name}}},")
    table = "\n".join(rows)
    return [*parts, f"static const optc_cuda_image images_{number}[] = {{\n{table}\n}};"]


def _function(launch: Launch) -> str:
    grid, block = (", ".join(map(str, extents)) for extents in (launch.grid, launch.block))
    return f"{{{c_string(launch.function)}, {{{grid}}}, {{{block}}}, {launch.dynamic_shared_bytes}}}"


def _launcher(number: int, launched: Launched) -> str:
    """`int32_t symbol(void* input…, void* output…, void* scratch…)`, which queues the kernel's functions in order."""
    kernel = launched.kernel
    counts = {"input": launched.inputs, "output": launched.outputs, "scratch": len(kernel.scratch_bytes)}
    names = [_name(kind, position) for kind, count in counts.items() for position in range(count)]
    used = {_name(kind, position) for launch in kernel.launches for kind, position in launch.arguments}
    lines = [f"int32_t {kernel.symbol}({', '.join(f'void* {name}' for name in names) or 'void'}) {{"]
    lines += [f"  (void){name};" for name in names if name not in used]
    lines.append("  int32_t code = 0;")
    for index, launch in enumerate(kernel.launches):
        given = ", ".join(f"&{_name(kind, position)}" for kind, position in launch.arguments) or "0"
        lines.append(f"  void* arguments_{index}[] = {{{given}}};")
        lines.append(f"  if (!code) code = optc_cuda_launch({number}, {index}, arguments_{index});")
    return "\n".join([*lines, "  return code;", "}"])


def _name(kind: str, position: int) -> str:
    return f"{kind}_{position}"
