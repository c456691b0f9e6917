"""Artifacts that run as a program of their own: the numbers of the library, and what the user reads when one fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from native_kit import SIZE, weighted_sum

from optc.backends.host.entry import emit_entry
from optc.backends.host.link import link_program
from optc.errors import OptcError, UsageError
from optc.runtime.emulated import EmulatedArtifact
from optc.toolchain import find_compiler

X = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)


@pytest.fixture
def staged(build: Callable[..., Path], kernels: bytes, tmp_path: Path) -> EmulatedArtifact:
    program, weights = weighted_sum()
    binary = tmp_path / "run_once"
    try:
        binary.write_bytes(link_program(emit_entry(program, "sum"), [kernels], find_compiler()))
    except OptcError as error:
        pytest.skip(f"no static C library: {error.why}")
    binary.chmod(0o755)
    return EmulatedArtifact(build(program, weights), [str(binary)], threads=2)


def test_it_computes_what_the_library_does(staged: EmulatedArtifact) -> None:
    outputs = staged.run({"x": X})
    np.testing.assert_array_equal(outputs["y"], 2 * (X + np.arange(SIZE, dtype=np.float32)))
    np.testing.assert_array_equal(outputs["z"], np.arange(SIZE, dtype=np.float32))


def test_wrong_inputs_are_refused(staged: EmulatedArtifact) -> None:
    with pytest.raises(UsageError, match="'x'"):
        staged.run({"x": X[:-1]})


def test_a_program_that_fails(staged: EmulatedArtifact) -> None:
    weights = staged.folder / "weights.bin"
    weights.chmod(0o644)
    weights.write_bytes(b"short")
    with pytest.raises(OptcError) as failure:
        staged.run({"x": X})
    assert failure.value.what == f"the model fails in the emulator '{staged.command[0]}'"
    assert "weights.bin" in str(failure.value.why)


def test_no_emulator(staged: EmulatedArtifact) -> None:
    absent = EmulatedArtifact(staged.folder, ["no-such-emulator"])
    with pytest.raises(OptcError) as failure:
        absent.run({"x": X})
    assert failure.value.what == "the emulator 'no-such-emulator' cannot run the model"
