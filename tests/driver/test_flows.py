"""Which way a backend's modules take to an artifact, and targets that it cannot be for."""

from __future__ import annotations

from pathlib import Path

import pytest

from optc import targets
from optc.backends import KERNEL_BACKENDS, kernel_backend
from optc.driver.compile import kernel_maker
from optc.driver.flows import FLOWS, WITHOUT_KERNELS, flow_of
from optc.driver.options import CompileOptions
from optc.errors import UsageError


def test_every_backend_has_a_flow_that_its_targets_suit() -> None:
    flows = {name: flow_of(kernel_backend(name)) for name in KERNEL_BACKENDS}
    assert flows == {"tvm": FLOWS["objects"], "cuda": FLOWS["cuda"], "c": FLOWS["source"], "onnx": WITHOUT_KERNELS}
    for name in targets.available():
        target = targets.load(name)
        for backend in target.backends:
            assert flows[backend].generator in (None, target.llvm["kind"])


def test_a_backend_that_emits_something_else_is_named() -> None:
    backend = kernel_backend("c")
    assert backend is not None
    backend.emits = "poems"
    with pytest.raises(UsageError) as caught:
        flow_of(backend)
    assert str(caught.value) == (
        "the backend 'c' emits 'poems', of which optc makes no artifact\n"
        "  hint: backends emit objects or cuda or source"
    )


@pytest.mark.parametrize(
    ("base", "backend", "kind", "needed"), [("wasm", "c", "llvm", "c"), ("cortex-m7", "tvm", "c", "llvm")]
)
def test_a_target_file_that_names_the_wrong_backend(
    base: str, backend: str, kind: str, needed: str, tmp_path: Path
) -> None:
    path = tmp_path / "board.toml"
    path.write_text(f'base = "{base}"\nbackends = ["{backend}"]\n')
    with pytest.raises(UsageError) as caught:
        kernel_maker(targets.load(str(path)), CompileOptions())
    assert str(caught.value) == (
        f"the backend '{backend}' cannot emit code for 'board'\n  at backends in the target file\n"
        f"  [llvm] has kind = '{kind}', and the backend needs '{needed}'"
    )
