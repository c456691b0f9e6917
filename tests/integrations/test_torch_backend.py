"""torch.compile with optc: eager's numbers, and eager itself where no artifact can be made, with one warning."""

from __future__ import annotations

import tomllib
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from optc.integrations import torch_backend
from optc.integrations.torch_backend import OptcWarning, optc

torch = pytest.importorskip("torch")


@pytest.fixture(autouse=True, scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with pytest.MonkeyPatch.context() as patch:
        path = tmp_path_factory.mktemp("torch")
        patch.setenv("OPTC_CACHE_DIR", str(path))
        yield path


@pytest.fixture(autouse=True)
def fresh() -> None:
    torch._dynamo.reset()
    torch_backend._warned.clear()
    torch.manual_seed(0)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(6, 4)
        self.norm = torch.nn.BatchNorm1d(4)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        y = torch.relu(self.norm(self.linear(x)))
        return y.softmax(-1), y


def close(found: object, expected: object) -> None:
    for one, other in zip(found, expected, strict=True):  # type: ignore[call-overload]
        np.testing.assert_allclose(one.numpy(), other.numpy(), rtol=1e-5, atol=1e-6)


def runs_natively(net: object, *inputs: object) -> bool:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        net(*inputs)  # type: ignore[operator]
    return not [each for each in seen if each.category is OptcWarning]


def test_a_network_runs_and_notices_new_weights_and_shapes() -> None:
    net = Net().eval()
    compiled = torch.compile(net, backend=optc)
    x = torch.randn(3, 6)
    with torch.no_grad():
        assert runs_natively(compiled, x)
        close(compiled(x), net(x))
        net.load_state_dict(Net().state_dict())
        with pytest.warns(OptcWarning, match="its weights have changed since it was compiled"):
            close(compiled(x), net(x))
        other = torch.randn(5, 6)
        with pytest.warns(OptcWarning, match="dimensions are free"):
            close(compiled(other), net(other))
        assert runs_natively(compiled, torch.randn(7, 6)), "a reason is told once"


def test_graph_breaks() -> None:
    @torch.compile(backend=optc)
    def branching(x: torch.Tensor) -> torch.Tensor:
        y = x * 2
        return y + 1 if y.sum() > 0 else y - 1

    with torch.no_grad():
        np.testing.assert_array_equal(branching(torch.ones(4)), np.full(4, 3.0))
        np.testing.assert_array_equal(branching(-torch.ones(4)), np.full(4, -3.0))


def test_training_runs_in_eager() -> None:
    net = Net()
    compiled = torch.compile(net, backend=optc)
    with pytest.warns(OptcWarning, match="gradients are needed"):
        compiled(torch.randn(3, 6))[0].square().sum().backward()
    assert net.linear.weight.grad is not None
    assert torch.isfinite(net.linear.weight.grad).all()


def test_writes_to_inputs_run_in_eager() -> None:
    @torch.compile(backend=optc)
    def increment(x: torch.Tensor) -> torch.Tensor:
        x.add_(1)
        return x * 2

    x = torch.zeros(4)
    with torch.no_grad(), pytest.warns(OptcWarning, match="it writes to its inputs or buffers"):
        y = increment(x)
    assert x.tolist() == [1.0] * 4 and y.tolist() == [2.0] * 4


def test_torch_finds_it_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    points = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text())["project"]["entry-points"]
    folder = tmp_path / "optc_points-1.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text("Name: optc-points\nVersion: 1\n")
    lines = [f"{name} = {place}\n" for name, place in points["torch_dynamo_backends"].items()]
    (folder / "entry_points.txt").write_text("[torch_dynamo_backends]\n" + "".join(lines))
    monkeypatch.syspath_prepend(tmp_path)
    for cached in ("_discover_entrypoint_backends", "_lazy_import"):
        getattr(torch._dynamo.backends.registry, cached).cache_clear()
    assert "optc" in torch._dynamo.list_backends()
    compiled = torch.compile(lambda x: x.relu() + 1, backend="optc")
    with torch.no_grad():
        assert compiled(torch.tensor([-1.0, 2.0])).tolist() == [1.0, 3.0]
