"""The generated model.c."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_kit import BYTES, SLOT, chain, input_at, output_at, slot, tensor, weighted_sum

from optc.backends.host.entry import c_string, emit_entry
from optc.errors import InternalError
from optc.program import Branch, FallbackCall, KernelCall, Location, Program, TensorInfo


def body(source: str) -> list[str]:
    """The statements of the generated run function."""
    return source.split("static int run(optc_frame* frame) {\n")[1].split("  return OPTC_OK;")[0].splitlines()


def test_straight_code() -> None:
    source = emit_entry(weighted_sum()[0], "sum")
    assert body(source) == [
        "  OPTC_KERNEL(0, add(OPTC_IN(0, 0), OPTC_WEIGHTS(0), OPTC_ARENA(0))); /* plus */",
        "  OPTC_KERNEL(1, twice(OPTC_ARENA(0), OPTC_OUT(0, 0))); /* times */",
        "  OPTC_COPY(2, OPTC_OUT(1, 0), OPTC_WEIGHTS(0), 4000);",
    ]
    assert "int32_t add(void*, void*, void*);\nint32_t twice(void*, void*);\n" in source
    assert '    {"x", "float32", 1, (const int64_t[]){1000}, 4000},\n' in source


def test_branches_and_regions() -> None:
    unknown = TensorInfo("u", "float32", (None, 3))
    anything = TensorInfo("v", "object", None)
    steps = (
        Branch(
            Location("arena", 64, 1),
            (KernelCall("twice", (input_at(0), output_at(0)), "yes"),),
            (
                FallbackCall("a.onnx", ((tensor("x"), input_at(0)),), ((unknown, None), (anything, None)), "no", "why"),
                FallbackCall("b.onnx", ((unknown, None),), ((tensor("y"), output_at(0)),), "no", "why"),
            ),
            "choice",
        ),
    )
    source = emit_entry(Program((tensor("x"),), (tensor("y"),), 128, 0, steps), "branches")
    assert body(source) == [
        "  /* choice */",
        "  if (OPTC_CONDITION(OPTC_ARENA(64))) {",
        "    OPTC_KERNEL(0, twice(OPTC_IN(0, 0), OPTC_OUT(0, 0))); /* yes */",
        "  } else {",
        "    { /* no: why */",
        "      const void* const region_inputs[] = {OPTC_IN(0, 0)};",
        "      void* const region_outputs[] = {NULL, NULL};",
        "      OPTC_FALLBACK_REGION(1, 0, region_inputs, region_outputs);",
        "    }",
        "    { /* no: why */",
        "      const void* const region_inputs[] = {NULL};",
        "      void* const region_outputs[] = {OPTC_OUT(0, 0)};",
        "      OPTC_FALLBACK_REGION(2, 1, region_inputs, region_outputs);",
        "    }",
        "  }",
    ]
    assert '{"u", "float32", 2, (const int64_t[]){-1, 3}, -1}' in source
    assert '{"v", "object", -1, NULL, -1}' in source
    assert '{"a.onnx", "no", 1, 2, region_0_inputs, region_0_outputs}' in source


@pytest.mark.parametrize(
    ("call", "why"),
    [
        (
            KernelCall("twice", (slot(0), slot(1)), ""),
            f"kernel twice uses bytes {SLOT} to {SLOT + BYTES} of arena, which has {SLOT}",
        ),
        (
            KernelCall("twice", (Location("arena", 4, 8),), ""),
            "kernel twice uses offset 4 of arena, which is not aligned",
        ),
        (KernelCall("2x", (), ""), "kernel name '2x' is not a C identifier"),
        (KernelCall("twice", (output_at(1),), ""), "kernel twice uses output 1, which has no buffer"),
    ],
)
def test_invalid_programs(call: KernelCall, why: str) -> None:
    with pytest.raises(InternalError) as failure:
        emit_entry(Program((tensor("x"),), (tensor("y"),), SLOT, 0, (call,)), "bad")
    assert failure.value.why == why


def test_unplanned_values_have_a_maker() -> None:
    unknown = TensorInfo("u", "float32", (None,))
    with pytest.raises(InternalError) as failure:
        emit_entry(Program((), (unknown,), 0, 0, ()), "bad")
    assert failure.value.why == "no region computes 'u', which has no planned place"
    assert "-1" in emit_entry(Program((unknown,), (unknown,), 0, 0, ()), "good")


def test_one_kernel_has_one_signature() -> None:
    program = chain("twice", "negate")
    twice = KernelCall("twice", (input_at(0), slot(0), slot(0)), "")
    with pytest.raises(InternalError) as failure:
        emit_entry(Program(program.inputs, program.outputs, SLOT, 0, (*program.steps, twice)), "bad")
    assert failure.value.why == "kernel twice is called with different numbers of arguments"


@settings(derandomize=True, deadline=None, max_examples=50)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_strings_survive(text: str) -> None:
    literal = c_string(text)
    assert literal.isascii() and literal.isprintable() and "??" not in literal
    assert literal[1:-1].encode().decode("unicode_escape").encode("latin-1").decode() == text
