"""Groups become cubins without spills for every GPU that the compiler knows; the cache keeps them."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from contraction_cases import GroupBuilder
from cuda_kit import conv, integer_conv, jetson, matmul, needs_nvcc

from optc.backends import kernel_backend
from optc.backends.cuda import backend, compilation
from optc.backends.cuda.backend import compile_groups
from optc.backends.cuda.kernel import CudaKernel
from optc.backends.cuda.kernel_cache import find
from optc.backends.cuda.occupancy import CAPABILITIES
from optc.backends.cuda.toolkit import find_toolkit
from optc.backends.cuda.workload import kernel_key, workload_key
from optc.backends.tvm.group import Group
from optc.ir import dtypes
from optc.targets import Target

ARCHITECTURES = ("sm_75", "sm_80", "sm_86", "sm_87", "sm_89", "sm_90", "sm_100")


def softmax() -> Group:
    builder = GroupBuilder()
    return builder.group(builder.op("onnx.Softmax", builder.input((3, 5, 40)), axis=-1))


def groups() -> list[Group]:
    built = [
        conv((1, 16, 10, 10), (20, 16, 3, 3), pad=1),
        conv((1, 16, 10, 10), (20, 16, 3, 3), pad=1, dtype=dtypes.FLOAT16),
        integer_conv((1, 32, 8, 8), (20, 32, 1, 1), zero=3),
        conv((1, 8, 9, 11), (8, 1, 3, 3), pad=1, groups=8),
        matmul((7, 64), (64, 48)),
    ]
    return [*(builder.group(value) for builder, value in built), softmax()]


def target_of(arch: str) -> Target:
    return replace(jetson(), llvm={"kind": "cuda", "arch": arch})


@needs_nvcc
@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_kernels_compile_for_every_gpu_without_spills(arch: str) -> None:
    """All templates for one GPU; for the others what differs between them, the tensor cores."""
    if arch not in find_toolkit().architectures:
        pytest.skip(f"this CUDA does not compile for {arch}")
    wanted = groups() if arch == "sm_87" else groups()[1:3] if arch == "sm_75" else groups()[1:2]
    for kernel in compile_groups(wanted, target_of(arch)):
        assert isinstance(kernel, CudaKernel), kernel
        assert kernel.object_code.startswith(b"\x7fELF") and f".target {arch}" in kernel.ptx
        assert [facts.function for facts in kernel.facts] == [launch.function for launch in kernel.launches]
        for facts in kernel.facts:
            assert facts.spill_bytes == 0 and 0 < facts.registers <= 255
            assert 0 < facts.occupancy <= 1 and facts.blocks_per_sm >= 1
            assert facts.shared_bytes <= CAPABILITIES[arch].block_shared_bytes


@needs_nvcc
def test_functions_of_the_compilers_library_are_part_of_the_kernel() -> None:
    builder = GroupBuilder()
    source = builder.input((40,), dtype=dtypes.FLOAT64)
    value = builder.op("onnx.Sin", builder.op("onnx.Pow", source, builder.input((40,), dtype=dtypes.FLOAT64)))
    (kernel,) = compile_groups([builder.group(value)], target_of("sm_87"))
    assert isinstance(kernel, CudaKernel) and ".func" in kernel.ptx


@needs_nvcc
def test_a_compiled_kernel_comes_from_the_cache_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    group, target = groups()[0], target_of("sm_87")
    (first,) = compile_groups([group], target)
    assert isinstance(first, CudaKernel)
    kept = find(kernel_key(workload_key(group, target), target))
    assert kept is not None

    def refuse(*_: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(compilation, "compile_ptx", refuse)
    (second,) = compile_groups([groups()[0]], target)
    assert isinstance(second, CudaKernel)
    assert replace(first, pack={}) == replace(second, pack={}) == replace(kept, pack={})
    weights = np.arange(20 * 16 * 9, dtype=np.float32).reshape(20, 16, 3, 3)
    (position,) = first.pack
    np.testing.assert_array_equal(first.pack[position][1](weights), second.pack[position][1](weights))


@needs_nvcc
def test_a_point_that_spills_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    group, target = groups()[0], target_of("sm_87")
    found = compilation.candidates_of(group, backend.accepting_templates(group, target), target)  # type: ignore[arg-type]
    job = compilation.Job("passed_over", group, list(found), len(found))
    real, calls = compilation.assemble, []

    def spilling(ptx: str, arch: str) -> object:
        made = real(ptx, arch)
        calls.append(made)
        if len(calls) > 1:
            return made
        return replace(made, resources={name: replace(each, spill_bytes=4) for name, each in made.resources.items()})

    monkeypatch.setattr(compilation, "assemble", spilling)
    compilation.compile_jobs([job], target, lambda *_: None)
    assert job.kernel is not None and len(calls) == 2
    assert job.kernel.selection.chosen.schedule == found[1].schedule
    assert job.kernel.selection.reason == "fastest by the target's figures of those without spills (1 spill)"


def test_the_backend_is_found_by_its_name() -> None:
    found = kernel_backend("cuda")
    assert found is not None and (found.name, found.emits) == ("cuda", "cuda")


def test_what_no_template_takes_is_refused_with_a_reason() -> None:
    builder = GroupBuilder()
    first = builder.op("onnx.MatMul", builder.input((4, 8)), builder.input((8, 8)))
    second = builder.op("onnx.MatMul", first, builder.input((8, 8)))
    found = kernel_backend("cuda")
    assert found is not None
    assert found.refuses(builder.group(second), jetson()) == "rows: several contractions"
