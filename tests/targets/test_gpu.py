"""Which code runs on which GPU, and what is said where none does."""

from __future__ import annotations

import pytest

from optc.targets import gpu
from optc.targets.gpu import Gpus, gpu_refusal, runs_on

CASES = [
    ("sm_80", 80, True),
    ("sm_80", 86, True),
    ("sm_86", 80, False),
    ("sm_80", 90, False),
    ("sm_80", 87, False),  # a system on a chip takes its own cubins alone
    ("sm_87", 87, True),
    ("sm_87", 89, False),
    ("compute_80", 80, True),
    ("compute_80", 87, True),
    ("compute_80", 120, True),
    ("compute_90", 89, False),
]


@pytest.mark.parametrize(("code", "capability", "expected"), CASES)
def test_code_and_gpus(code: str, capability: int, expected: bool) -> None:
    assert runs_on(code, capability) is expected


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "gpus", lambda: Gpus((75, 80)))
    assert gpu_refusal(["sm_80"]) is None
    assert gpu_refusal(["sm_87", "compute_87"]) == (
        "it has code for sm_87, compute_87, and this machine's GPUs are sm_75, sm_80"
    )
    monkeypatch.setattr(gpu, "gpus", lambda: Gpus((), "the CUDA driver is not installed"))
    assert gpu_refusal(["sm_80"]) == "the CUDA driver is not installed"
