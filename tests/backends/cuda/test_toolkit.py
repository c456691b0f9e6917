"""What is read out of the compiler's answers, and what is said when there is none."""

from __future__ import annotations

from pathlib import Path

import pytest
from cuda_kit import needs_nvcc

from optc.backends.cuda import toolkit
from optc.backends.cuda.ptx import joined_ptx, split_ptx
from optc.backends.cuda.toolkit import Resources, parse_resources
from optc.errors import OptcError, UsageError

SAID = """ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'first' for 'sm_87'
ptxas info    : Function properties for first
    16 bytes stack frame, 8 bytes spill stores, 12 bytes spill loads
ptxas info    : Used 255 registers, used 1 barriers, 16 bytes cumulative stack size, 4096 bytes smem, 400 bytes cmem[0]
ptxas info    : Compiling entry function 'second' for 'sm_87'
ptxas info    : Function properties for second
    0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 10 registers, used 0 barriers, 368 bytes cmem[0]
"""

PTX = """//
.version 9.0
.target sm_87
.address_size 64

.extern .shared .align 16 .b8 room[];
.shared .align 4 .b8 table[64];

.visible .entry first(
\t.param .u64 first_param_0
)
{
\tld.shared.f32 %f1, [table];
\tret;

}

.visible .entry second(
\t.param .u64 second_param_0
)
{
\tmov.u32 %r1, room;
\tret;

}
"""


def test_resources_are_read_from_what_ptxas_says() -> None:
    assert parse_resources(SAID) == {"first": Resources(255, 20, 16, 4096), "second": Resources(10, 0, 0, 0)}


def test_each_function_gets_the_variables_that_it_names() -> None:
    parts = split_ptx(PTX)
    assert list(parts) == ["first", "second"]
    assert "table[64]" in parts["first"] and "room" not in parts["first"]
    assert "room[]" in parts["second"] and "table" not in parts["second"]


def test_functions_are_joined_again_with_variables_of_their_own() -> None:
    parts = split_ptx(PTX)
    text = joined_ptx([parts["first"], parts["second"], parts["first"].replace("first", "third")])
    assert text.count(".version") == 1 and text.count(".visible .entry") == 3
    assert text.count(".extern .shared .align 16 .b8 room[];") == 1
    assert "[table_0]" in text and "[table_2]" in text and "table_0[64];" in text and "table_2[64];" in text


CALLS = """.version 9.0
.target sm_87
.address_size 64
.func  (.param .b64 func_retval0) slow
(
\t.param .b64 slow_param_0
)
;
.func  (.param .b64 func_retval0) slower
(
\t.param .b64 slower_param_0
)
;
.global .align 4 .b8 numbers[4] = {1, 2, 3, 4};

.visible .entry first(
\t.param .u64 first_param_0
)
{
\tcall.uni (retval0), slower, (param0);

}

.visible .entry second(
\t.param .u64 second_param_0
)
{
\tret;

}
.func  (.param .b64 func_retval0) slow(
\t.param .b64 slow_param_0
)
{
\tmov.u64 %r1, numbers;

}
.func  (.param .b64 func_retval0) slower(
\t.param .b64 slower_param_0
)
{
\tcall.uni (retval0), slow, (param0);

}
"""


def test_a_function_brings_along_those_that_it_calls_behind_their_own() -> None:
    parts = split_ptx(CALLS)
    first = parts["first"]
    assert first.index("numbers[4]") < first.index(" slow(") < first.index(" slower(") < first.index(".entry first")
    assert "slow" not in parts["second"] and "numbers" not in parts["second"]
    joined = joined_ptx([first, parts["second"], first.replace("first", "third")])
    assert joined.count(" slow(") == joined.count(" slower(") == 1
    assert joined.count(".visible .entry") == 3 and joined.index(" slower(") < joined.index(".visible .entry first")


def test_without_a_compiler_it_is_said_where_to_get_one(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(toolkit, "_package_folders", list)
    for name in ("CUDA_HOME", "CUDA_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OptcError) as caught:
        toolkit.find_toolkit()
    assert str(caught.value) == (
        "no CUDA compiler was found\n  neither nvcc nor the Python package nvidia-cuda-nvcc is there\n"
        "  hint: install a CUDA toolkit, or run: pip install 'optc[cuda]'"
    )
    monkeypatch.setenv("CUDA_HOME", str(tmp_path))
    with pytest.raises(OptcError) as caught:
        toolkit.find_toolkit()
    assert caught.value.what == f"there is no nvcc in {tmp_path}/bin"


def test_nvcc_without_a_compiler_for_the_host_says_what_to_install(tmp_path: Path) -> None:
    fake = tmp_path / "nvcc"
    fake.write_text("#!/bin/sh\necho 'nvcc fatal   : Failed to preprocess host compiler properties.' >&2\nexit 1\n")
    fake.chmod(0o755)
    with pytest.raises(OptcError) as caught:
        toolkit._run([str(fake)])
    assert str(caught.value) == (
        f"'{fake}' failed with code 1\n  nvcc fatal   : Failed to preprocess host compiler properties.\n"
        "  hint: nvcc needs a C++ compiler beside it: install g++"
    )


@needs_nvcc
def test_gpus_that_the_compiler_no_longer_knows_are_refused_in_a_sentence() -> None:
    found = toolkit.find_toolkit()
    if "sm_53" in found.architectures:
        pytest.skip("this CUDA still compiles for sm_53")
    with pytest.raises(UsageError) as caught:
        toolkit.check_architecture("sm_53")
    assert str(caught.value) == (
        f"CUDA {found.version} does not compile for sm_53\n  {found.nvcc} knows {', '.join(found.architectures)}\n"
        "  hint: CUDA 12 was the last release for sm_53: set CUDA_HOME to one"
    )


@needs_nvcc
def test_what_the_compiler_refuses_is_told_in_its_own_words() -> None:
    with pytest.raises(OptcError) as caught:
        toolkit.compile_ptx("nonsense", toolkit.find_toolkit().architectures[0])
    assert "failed with code" in caught.value.what and "kernels.cu(1): error" in (caught.value.why or "")
