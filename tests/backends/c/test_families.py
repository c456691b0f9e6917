"""Every way of laying out kernels, with and without its instructions, gives the same bytes."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from c_kit import WARNINGS, Built, Quantized, model_of, write

from optc import targets
from optc.backends.c.families import CORE, HELIUM, WIDE, family_of

SHAPE = (1, 5, 11, 19)


def network(q: Quantized) -> str:
    """Windows at all borders, outputs and channels that leave rests in every register, and a sum."""
    y = q.coded("x", 0.05, 131)
    for outputs, channels, kernel, attributes in (
        (37, 5, 3, {"pads": [1, 1, 1, 1]}),
        (37, 1, 3, {"pads": [1, 1, 1, 1], "group": 37}),
        (40, 37, 1, {}),
        (40, 1, 3, {"pads": [0, 1, 1, 0], "strides": [2, 1], "group": 40}),
        (40, 1, 5, {"pads": [2, 2, 2, 2], "strides": [1, 2], "group": 40}),
        (32, 20, 3, {"pads": [1, 2, 1, 2], "group": 2}),
        (32, 32, 3, {"pads": [2, 2, 2, 2], "dilations": [2, 1]}),
    ):
        weights, scales = q.weights((outputs, channels, kernel, kernel), 0, scale=0.004)
        made = q.add("Conv", [y, weights, q.bias(scales, 0.05)], **attributes)
        y = q.coded(made, 0.05, 120)
    weights, scales = q.weights((32, 32, 3, 3), 0, scale=0.004)
    branch = q.coded(q.add("Conv", [y, weights, q.bias(scales, 0.05)], pads=[1, 1, 1, 1]), 0.05, 120)
    total = q.coded(q.add("Add", [branch, y]), 0.07, 110)
    mean = q.coded(q.add("GlobalAveragePool", [total]), 0.02, 128)
    weights, _ = q.weights((32, 21), 1)
    return q.add("MatMul", [q.add("Flatten", [mean]), weights])


def knows(*flags: str) -> bool:
    """Whether this machine runs what its compiler makes with some flags."""
    words = Path("/proc/cpuinfo").read_text().split() if Path("/proc/cpuinfo").exists() else []
    return all(flag in words for flag in flags)


VARIANTS: dict[str, tuple[str, Sequence[str], Sequence[str]]] = {
    "halves in plain C": ("cortex-m7", ("-O1",), ()),
    "rows in plain C": ("cortex-m55", ("-O1",), ()),
    "lanes in plain C": ("c99", ("-O1",), ()),
    "AVX2": ("c99", ("-O1", "-mavx2"), ("avx2",)),
    "AVX-512": (
        "c99",
        ("-O1", "-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"),
        ("avx512f", "avx512bw", "avx512vl", "avx512_vnni"),
    ),
}


@pytest.fixture(scope="module")
def samples() -> list[np.ndarray]:
    generator = np.random.default_rng(2)
    return [generator.uniform(-7, 7, SHAPE).astype(np.float32), np.full(SHAPE, 9, np.float32)]


@pytest.fixture(scope="module")
def reference(samples: list[np.ndarray], tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return run("cortex-m7", ("-O0",), samples, tmp_path_factory.mktemp("reference"))


def run(target: str, flags: Sequence[str], samples: list[np.ndarray], folder: Path) -> list[bytes]:
    q = Quantized(seed=4)
    built = Built(model_of(q.model(SHAPE, network(q)), target), folder, flags)
    return [built.run(sample)[0].tobytes() for sample in samples]


@pytest.mark.parametrize("name", VARIANTS)
def test_all_variants_give_the_same_bytes(
    name: str, samples: list[np.ndarray], reference: list[bytes], tmp_path: Path
) -> None:
    target, flags, needed = VARIANTS[name]
    if not knows(*needed):
        pytest.skip("this processor lacks the instructions")
    assert len(set(reference)) == len(reference)
    assert run(target, flags, samples, tmp_path) == reference


def test_sanitizers_find_nothing_in_wide_kernels(tmp_path: Path) -> None:
    q = Quantized(seed=4)
    write(model_of(q.model(SHAPE, network(q)), "c99"), tmp_path)
    (tmp_path / "main.c").write_text('#include "small.h"\nint main(void) { small_run(); return 0; }\n')
    checks = ["-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    wide = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512vnni"] if knows("avx512_vnni", "avx512bw") else []
    command = ["gcc", *WARNINGS, *checks, *wide, "small.c", "main.c", "-o", "small", "-lm"]
    subprocess.run(command, cwd=tmp_path, check=True)
    subprocess.run([tmp_path / "small"], check=True)


def test_targets_name_their_family() -> None:
    assert [family_of(targets.load(name)) for name in ("c99", "cortex-m55", "cortex-m7", "riscv32")] == [
        WIDE, HELIUM, CORE, CORE,
    ]  # fmt: skip


def test_weights_keep_their_bytes() -> None:
    generator = np.random.default_rng(0)
    weights = generator.integers(-128, 128, (37, 12)).astype(np.int8)
    for family in (CORE, HELIUM, WIDE):
        for packed in (family.pack(weights), family.pack_depthwise(weights.T)):
            assert np.array_equal(np.sort(packed.reshape(-1)), np.sort(weights.reshape(-1)))
