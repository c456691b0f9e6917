"""A device of another architecture: server, runner and library of 64-bit Arm, in QEMU."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from device_kit import Server
from native_kit import KERNELS, SIZE, weighted_sum

from optc import artifact
from optc.artifact.host import HostRequirements
from optc.backends.host.entry import emit_entry
from optc.backends.host.link import HEADER, link, link_server, runtime_sources
from optc.driver.device import on_device
from optc.errors import OptcError
from optc.runtime.device.session import open_session
from optc.targets import library
from optc.targets.foreign import compiler_for, is_foreign
from optc.toolchain import Compiler

QEMU = "qemu-aarch64-static"
SYSTEM = Path("/usr/aarch64-linux-gnu")  # where the cross compiler's packages put the C library


def cross_compiler(*, static: bool) -> Compiler:
    target = library.load("aarch64")
    if not is_foreign(target) or not shutil.which(QEMU):
        pytest.skip(f"this is no other architecture with {QEMU}")
    if not (SYSTEM / "lib" / "ld-linux-aarch64.so.1").exists():
        pytest.skip(f"no C library of the device in {SYSTEM}")
    try:
        return compiler_for(target, static=static)
    except OptcError as error:
        pytest.skip(error.what)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    compiler = cross_compiler(static=False)
    program, weights = weighted_sum()
    with tempfile.TemporaryDirectory() as temporary:
        Path(temporary, "k.c").write_text(KERNELS)
        compiler.run(["-O1", "-fPIC", "-c", "k.c", "-o", "k.o"], Path(temporary))
        kernels = Path(temporary, "k.o").read_bytes()
    there = artifact.Contents(
        program=program,
        target="aarch64",
        host=HostRequirements("linux", "aarch64"),
        library=link(emit_entry(program, "test", 1), [kernels], compiler),
        header=runtime_sources()[HEADER].encode(),
        weights=[weights],
        module="module {}\n",
        decisions={},
        fallbacks={},
        command="",
    )
    return artifact.write(tmp_path_factory.mktemp("arm") / "model", there)


def test_a_server_of_another_architecture(folder: Path, tmp_path: Path) -> None:
    server = Server(tmp_path, [QEMU], link_server(cross_compiler(static=True)))
    x = np.random.default_rng(0).standard_normal(SIZE).astype(np.float32)
    with server.started():
        session = open_session(server.device())
        session.close()
        assert session.facts.machine == "aarch64"
        # The system here does not start programs of that architecture by itself.
        with on_device(folder, server.device([QEMU, "-L", str(SYSTEM)]), threads=1) as there:
            result, outputs = there.bench({"x": x}, 0.01)
    assert result.runs >= 5
    np.testing.assert_array_equal(outputs["y"], 2 * (x + np.arange(SIZE, dtype=np.float32)))


def test_another_kind_of_machine_is_refused(folder: Path, tmp_path: Path) -> None:
    server = Server(tmp_path)
    machine = os.uname().machine
    with server.started(), on_device(folder, server.device()) as there, pytest.raises(OptcError) as failure:
        there.run({"x": np.zeros(SIZE, np.float32)})
    assert str(failure.value) == (
        "the artifact was compiled for another kind of machine than the device 'board'\n"
        f"  at {folder}\n  it needs linux on aarch64, and that is Linux on {machine}\n"
        "  hint: compile the model again with the --target of that device"
    )
