"""The runtime's decoder of packed weights: every bit, and no step outside of its memory whatever the file holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

import numpy as np
import pytest
import sanitizer_kit

from optc.backends.host.link import runtime_sources
from optc.passes.compression.stored_weights import BLOCK, pack_weights

RANDOM = np.random.default_rng(0)
CONTENTS = {
    "floats": (RANDOM.normal(size=BLOCK // 4 + 16) / 20).astype(np.float32).tobytes(),
    "halves": (RANDOM.normal(size=3000) / 20).astype(np.float16).tobytes(),
    "codes": np.clip(np.rint(RANDOM.normal(size=4001) * 20), -127, 127).astype(np.int8).tobytes(),
    "one symbol": bytes(777),
    "noise": RANDOM.bytes(640),
    "nothing": b"",
}


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    check = "memory" if sanitizer_kit.offers("memory") else "plain"
    runtime = runtime_sources()
    sources = {name: runtime[name] for name in ("unpack.c", "unpack.h")}
    sources["unpacked.c"] = (Path(__file__).parent / "unpacked.c").read_text()
    return sanitizer_kit.build(tmp_path_factory.mktemp("unpack"), check, sources, "")


def decoded(program: Path, packed: Path, size: int) -> tuple[bytes, int]:
    done = subprocess.run([program, packed, str(size)], capture_output=True, check=False)
    assert not done.stderr, done.stderr.decode()
    return done.stdout, done.returncode


@pytest.mark.parametrize("name", CONTENTS)
def test_every_bit_comes_back(program: Path, name: str, tmp_path: Path) -> None:
    content = CONTENTS[name]
    file = tmp_path / "weights.bin"
    file.write_bytes(packed := b"".join(pack_weights([content])))
    assert decoded(program, file, len(content)) == (content, 0)
    # Of another size, cut off, or no such file at all: refused.
    assert decoded(program, file, len(content) + 64)[1] == 1
    for wrong in (packed[:-9], packed[:20], b"", b"\0" + packed[1:]):
        file.write_bytes(wrong)
        if content or len(wrong) != len(packed) - 9:
            assert decoded(program, file, len(content))[1] == 1


@pytest.mark.parametrize("name", ["halves", "codes", "one symbol"])
def test_damage_never_leads_outside(program: Path, name: str, tmp_path: Path) -> None:
    file = tmp_path / "weights.bin"
    file.write_bytes(b"".join(pack_weights([CONTENTS[name]])))
    done = subprocess.run([program, file, str(len(CONTENTS[name])), "2000"], capture_output=True, text=True, check=True)
    # Flips in codes may give other numbers; those in heads and most in streams are seen.
    assert not done.stderr and 500 < int(done.stdout) <= 2000
