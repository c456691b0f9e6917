"""What the host target derives from a processor's facts, and what calibration measures and remembers."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from optc import toolchain
from optc.errors import OptcError
from optc.targets import calibration, host
from optc.targets.calibration import Measurement
from optc.targets.host import CpuFacts

V3 = host._X86_V3
ZEN4 = host._ZEN4
SKYLAKE = host._X86_V4 | {"clwb", "adx"}


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        (CpuFacts("x86_64", "AuthenticAMD", family=0x19, model=0x11, flags=ZEN4), "znver4"),
        (CpuFacts("x86_64", "AuthenticAMD", family=0x19, model=0x11, flags=V3), "x86-64-v3"),  # AVX-512 hidden
        (CpuFacts("x86_64", "AuthenticAMD", family=0x17, model=0x31, flags=V3 | {"clwb"}), "znver2"),
        (CpuFacts("x86_64", "GenuineIntel", family=6, model=0x55, flags=SKYLAKE), "skylake-avx512"),
        (CpuFacts("x86_64", "GenuineIntel", family=6, model=0xFF, flags=host._X86_V4), "x86-64-v4"),
        (CpuFacts("x86_64", flags=host._X86_V2), "x86-64-v2"),
        (CpuFacts("x86_64"), "x86-64"),
        (CpuFacts("aarch64"), "generic"),
    ],
)
def test_llvm_never_gets_a_name_that_implies_missing_instructions(facts: CpuFacts, name: str) -> None:
    assert host.llvm_cpu(facts) == name


def test_simd_figures() -> None:
    wide = host.target_of(CpuFacts("x86_64", "AuthenticAMD", family=0x19, model=0x11, flags=ZEN4, hertz=3e9))
    assert (wide.vector_bytes, wide.vector_registers, wide.channel_block) == (64, 32, 8)
    assert wide.peak_flops["f32"] == 3e9 * 32  # one 64-byte unit, two operations
    narrow = host.target_of(CpuFacts("x86_64", flags=V3, hertz=2e9))
    assert (narrow.vector_bytes, narrow.vector_registers, narrow.channel_block) == (32, 16, 8)
    assert narrow.peak_flops["f32"] == 2e9 * 32
    arm = host.target_of(CpuFacts("aarch64"))
    assert (arm.vector_bytes, arm.channel_block) == (16, 4)
    assert "not measured" in arm.figures["peak_flops"]


def test_this_machine_is_described() -> None:
    target = host.host()
    assert target.name == "cpu" and target.cores >= 1 and target.llvm["kind"] == "llvm"
    assert target.peak_flops["f32"] > 1e9


def test_dot_products_beyond_the_name_of_a_processor_are_told() -> None:
    plain = host.CpuFacts("x86_64", flags=host._X86_V3)
    assert "mattr" not in host.target_of(plain).llvm
    vnni = host.target_of(replace(plain, flags=host._X86_V3 | {"avx_vnni"}))
    assert vnni.llvm["mattr"] == ["+avxvnni"]
    assert vnni.peak_flops["i8"] == 2 * host.target_of(plain).peak_flops["i8"]
    named = host.CpuFacts("x86_64", "AuthenticAMD", family=0x19, model=0x11, flags=host._ZEN4)
    assert host.extensions(named) == []
    assert host.extensions(host.CpuFacts("aarch64", flags=frozenset({"asimddp"}))) == ["+dotprod"]


def test_a_stored_measurement_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    levels = len(host.target_of(host.detect()).caches)
    measured = Measurement(5e10, tuple(1e11 / (level + 1) for level in range(levels)), 7e9, 9e9, "2026-01-02")
    path = calibration.store(host._identity(host.detect()), measured)
    target = host.host()
    assert target.peak_flops["f32"] == 5e10
    assert target.memory_bandwidth == 7e9 and target.memory_bandwidth_all == 9e9
    assert target.caches[0].bandwidth == 1e11
    calibration.store(host._identity(host.detect()), replace(measured, byte_operations=3e11))
    assert host.host().peak_flops["i8"] == 3e11
    assert "f32 and i8 measured on this machine" in host.host().figures["peak_flops"]
    assert target.figures["memory_bandwidth"] == "measured on this machine (2026-01-02)"
    path.write_text("{")
    assert "not measured" in host.host().figures["peak_flops"]


@pytest.mark.skipif(shutil.which("cc") is None, reason="no C compiler")
def test_calibration_measures_plausible_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    facts = host.detect()
    measured = calibration.measure(
        vector_bytes=host.level_of(facts).vector_bytes, cores=1, cache_bytes=[32_768, 262_144]
    )
    assert 1e9 < measured.flops < 2e12
    assert measured.byte_operations == 0 or measured.flops / 2 < measured.byte_operations < 16 * measured.flops
    assert len(measured.cache_bandwidth) == 2
    assert measured.cache_bandwidth[0] > measured.memory_bandwidth / 2 > 1e8


def test_calibration_without_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr(toolchain.importlib.util, "find_spec", lambda name: None)
    toolchain._find.cache_clear()
    with pytest.raises(OptcError, match="no C compiler was found"):
        calibration.measure(vector_bytes=16, cores=1, cache_bytes=[32_768])


def test_stores_that_cannot_be_written_say_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OptcError, match="the measured figures cannot be stored"):
        calibration.store("x", Measurement(1.0, (1.0,), 1.0, 1.0, "2026-01-02"))
