"""PyTorch modules, exported programs and .pt2 files; skipped where torch is not installed."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from optc.errors import ModelError, UsageError
from optc.frontends import load_model
from optc.ops.evaluate import evaluate_graph

torch = pytest.importorskip("torch")
pytest.importorskip("onnxscript")


@pytest.fixture(scope="module")
def network():  # type: ignore[no-untyped-def]
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3, padding=1),
        torch.nn.BatchNorm2d(4),
        torch.nn.SiLU(),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    )


def test_a_module_with_example_inputs(network) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(2, 3, 4, 4)
    loaded = load_model(network, example_inputs=(x,))
    assert loaded.name == "sequential" and isinstance(loaded.reference, bytes)
    expected = network.eval()(x).detach().numpy()
    network.train()
    (result,) = evaluate_graph(loaded.module.main, [x.numpy()])
    np.testing.assert_allclose(result, expected, rtol=1e-4, atol=1e-5)


def test_a_saved_program(network, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    x = torch.randn(2, 3, 4, 4)
    program = torch.export.export(network.eval(), (x,))
    torch.export.save(program, tmp_path / "net.pt2")
    loaded = load_model(tmp_path / "net.pt2")
    assert loaded.name == "net"
    (result,) = evaluate_graph(loaded.module.main, [x.numpy()])
    np.testing.assert_allclose(result, network(x).detach().numpy(), rtol=1e-4, atol=1e-5)


def test_a_module_without_example_inputs(network) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(UsageError) as error:
        load_model(network)
    assert str(error.value) == (
        "The module Sequential cannot be traced without example inputs\n"
        "  hint: Pass example_inputs=(tensor, …) with the shapes to compile for."
    )


def test_a_damaged_program(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    path.write_bytes(b"no zip")
    with pytest.raises(ModelError) as error:
        load_model(path)
    assert str(error.value).startswith(f"The file is no program saved by torch.export.save\n  at {path}\n")
