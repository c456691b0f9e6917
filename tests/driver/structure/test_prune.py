"""Pruning of a small network from the model to the file."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from click.testing import CliRunner
from graph_kit import Builder

from optc.cli.app import cli, run
from optc.driver.quantization.running import Runner
from optc.driver.structure.options import Pricing
from optc.driver.structure.plan import Option, without
from optc.driver.structure.prune import Pruner
from optc.driver.structure.refit import Reference, refit
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model
from optc.passes.quantization.layers import layers_of
from optc.passes.structure.channels import channels_of
from optc.passes.structure.sparsity import thresholds

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(size=(96, 8, 8, 8)).astype(np.float32)
BATCHES = [{"x": part} for part in np.split(X, 6)]


def network() -> Module:
    """Two convolutions whose 32 channels hold what 8 do, a wide product of rank 4, and ten scores."""
    random = np.random.default_rng(5)

    def normal(*shape: int) -> np.ndarray:
        return random.normal(size=shape) / np.sqrt(np.prod(shape[1:]))

    b = Builder(x="batch,8,8,8")
    copies = np.repeat(np.arange(8), 4)
    first = b.constant(normal(8, 8, 3, 3)[copies], np.float32)
    bias = b.constant(normal(8, 1)[copies, 0], np.float32)
    y = b("Relu", b("Conv", b.input("x"), first, bias, pads=(1, 1, 1, 1), results=("first",)))
    second = b.constant(normal(32, 32, 3, 3), np.float32)
    bias = b.constant(normal(32, 1)[:, 0], np.float32)
    y = b("Relu", b("Conv", y, second, bias, pads=(1, 1, 1, 1), results=("second",)))
    y = b("Flatten", b("GlobalAveragePool", y), axis=1)
    y = b("Gemm", y, b.constant(normal(32, 4) @ normal(4, 96), np.float32), b.constant(normal(96, 1)[:, 0], np.float32))
    b.graph.set_outputs([b("MatMul", y, b.constant(normal(96, 10), np.float32))])
    return Module(b.graph, "network")


@pytest.fixture(scope="module")
def module() -> Module:
    return network()


@pytest.fixture(scope="module")
def pruner() -> Pruner:
    model = to_onnx_model(network()).SerializeToString()
    return Pruner.of(model, BATCHES, Pricing("tda4vm", 1))


def noise(module: Module, other: Module) -> float:
    wanted, found = (Runner(each).run({"x": X})[0] for each in (module, other))
    return float(np.square(found - wanted).sum() / np.square(wanted).sum())


def test_what_reads_copies_of_channels_is_fitted_to_those_that_stay(module: Module) -> None:
    family = channels_of(module.main).families[0]
    gone = frozenset(unit for place, unit in enumerate(family.units) if place % 4)
    smaller = without(module, {"a": Option("a", "8 of 32", gone)}, {})
    assert [len(places) for _, _, places in smaller.twins] == [8, 32, 96, 10]
    before = noise(module, smaller.module)
    refit(smaller, Reference(module, BATCHES), near=True)
    assert noise(module, smaller.module) < 0.001 * before


def test_a_layer_of_low_rank_is_two_layers(module: Module) -> None:
    layer = layers_of(module.main)[2]
    reference = Reference(module, BATCHES)
    plan = {"a": Option("a", "rank 4", rank=4, layer=layer.name)}
    smaller = without(module, plan, {layer.name: reference.moments(layer)})
    shapes = [each.weight.shape for each in layers_of(smaller.module.main)][2:]
    assert shapes == [(32, 4), (4, 96), (96, 10)]
    assert noise(module, smaller.module) < 1e-6


def test_convolutions_of_full_rank_lose_what_their_moments_say(module: Module) -> None:
    layer = layers_of(module.main)[1]
    moments = Reference(module, BATCHES).moments(layer)
    smaller = without(module, {"a": Option("a", "rank", rank=16, layer=layer.name)}, {layer.name: moments})
    before, after = module.main, smaller.module.main
    values = [layers_of(before)[1].operation.result], [layers_of(after)[2].operation.result]
    (wanted,), (found,) = (
        Runner(each, list(value)).run({"x": X}) for each, value in zip((module, smaller.module), values, strict=True)
    )
    flat = np.moveaxis(wanted, 1, -1).reshape(-1, 32)
    share = np.square(found - wanted).sum() / np.square(flat - flat.mean(axis=0)).sum()
    assert share == pytest.approx(moments.lost(16), rel=0.1)


def test_the_bound_holds_and_time_is_saved(pruner: Pruner) -> None:
    found = pruner.within_snr(20.0)
    assert found.met and found.version.snr >= 20.0 and found.version.seconds < 0.8 * found.seconds
    assert noise(pruner.module, found.version.module) < 0.02
    assert set(found.version.plan) <= set(found.reasons)
    for item, option in found.version.plan.items():
        assert option.after < option.before and found.reasons[item].startswith(option.what)


def test_a_bound_that_no_change_meets_leaves_the_model(pruner: Pruner) -> None:
    found = pruner.within_snr(200.0)
    assert not found.met and found.version.module is pruner.module and found.version.plan == {}
    assert all("200 dB at every output" in found.reasons[option.item] for option in pruner.options)


def test_accuracy_is_what_a_fixed_sequence_of_versions_is_judged_by(pruner: Pruner) -> None:
    labels = Runner(pruner.module).run({"x": X})[0].argmax(axis=1)
    assert pruner.within_drop(0.9, pruner.data, labels).met
    strict = pruner.within_drop(0.001, pruner.data, labels)
    assert not strict.met and strict.drop is None and len(strict.tried) == 1


def test_the_command_writes_the_model_and_says_why(tmp_path: Path) -> None:
    onnx.save(to_onnx_model(network()), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", X)
    words = ["prune", str(tmp_path / "m.onnx"), "--calib", str(tmp_path / "x.npy"), "--target", "tda4vm"]
    words += ["-o", str(tmp_path / "s.onnx")]
    made = CliRunner().invoke(cli, [*words, "--min-snr", "25", "--json"], catch_exceptions=False)
    record = json.loads(made.stdout)
    assert made.exit_code == 0 and record["met"] and record["latency_ms"] < record["before_ms"]
    assert record["snr_db"] >= 25.0 and set(record["changes"]) <= set(record["reasons"])
    sizes = [
        sum(np.prod(each.dims) for each in onnx.load(tmp_path / name).graph.initializer)
        for name in ("m.onnx", "s.onnx")
    ]
    assert sizes[1] < 0.7 * sizes[0]


def test_a_bound_that_cannot_be_met_has_exit_code_3(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    onnx.save(to_onnx_model(network()), tmp_path / "m.onnx")
    np.save(tmp_path / "x.npy", X)
    words = ["prune", str(tmp_path / "m.onnx"), "--calib", str(tmp_path / "x.npy"), "-o", str(tmp_path / "s.onnx")]
    assert run([*words, "--target", "tda4vm", "--min-snr", "300"]) == 3
    assert "the bound cannot be met by any change that pays" in capsys.readouterr().err
    assert (tmp_path / "s.onnx").exists()
    assert run([*words, "--labels", str(tmp_path / "x.npy")]) == 2


def test_fine_tuning_brings_answers_closer(module: Module) -> None:
    pytest.importorskip("torch")
    from optc.driver.structure.fine_tuning import fine_tune

    family = channels_of(module.main).families[1]
    smaller = without(module, {"a": Option("a", "half", frozenset(family.units[::2]))}, {}).module
    before = noise(module, smaller)
    fine_tune(smaller, module, BATCHES, 5)
    assert noise(module, smaller) < 0.7 * before


def rows_that_few_elements_matter_in() -> Module:
    """A product of 512 numbers of which one in eight is large."""
    random = np.random.default_rng(7)
    b = Builder(x="batch,512")
    weight = random.normal(size=(512, 256)) * np.geomspace(0.1, 1, 512)[:, None]
    b.graph.set_outputs([b("Gemm", b.input("x"), b.constant(weight, np.float32), b.constant(np.ones(256), np.float32))])
    return Module(b.graph, "rows")


def sparse_rows(count: int) -> np.ndarray:
    random = np.random.default_rng(8)
    rows = random.normal(size=(count, 512)) * np.where(random.random((count, 512)) < 0.125, 1.0, 0.01)
    return (rows / np.geomspace(0.1, 1, 512)).astype(np.float32)


def test_rows_get_thinner_where_a_kernel_skips_zeros() -> None:
    """On a processor with such kernels, within the bound; the file says how dense rows are, and onnxruntime agrees."""
    source, x = to_onnx_model(rows_that_few_elements_matter_in()), sparse_rows(256)
    data = [{"x": part} for part in np.split(x, 8)]
    found = Pruner.of(source.SerializeToString(), data, Pricing("x86-64-v3", 1)).within_snr(25.0)
    ((item, option),) = found.version.plan.items()
    assert item.endswith("(activations)") and option.density == 0.15
    assert found.version.snr >= 25.0 and found.version.seconds < 0.45 * found.seconds
    proto = to_onnx_model(found.version.module)
    (product,) = (each for each in proto.graph.node if each.metadata_props)
    assert [(each.key, each.value) for each in product.metadata_props] == [("optc.density", "0.15")]
    proto.graph.output.add().name = product.input[0]
    wanted, (scores, thinned) = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, {"x": x}) for each in (source, proto)
    )
    assert np.count_nonzero(thinned) / thinned.size == pytest.approx(0.15, abs=0.01)
    assert ((thinned == x) | (thinned == 0)).all()
    assert np.square(scores - wanted[0]).sum() < 10**-2.5 * np.square(wanted[0]).sum()
    elsewhere = Pruner.of(source.SerializeToString(), data, Pricing("cortex-m7", 1))
    assert elsewhere.left[item].startswith("does not pay")


def test_what_stays_of_rows_weighs_more_than_what_goes() -> None:
    (layer,) = layers_of(rows_that_few_elements_matter_in().main)
    rows = sparse_rows(40)
    least = thresholds(layer, rows, 0.3)
    weighed = np.abs(rows) * np.linalg.norm(layer.weight, axis=1)
    stays = np.abs(rows) >= least
    assert stays.mean() == pytest.approx(0.3, abs=1e-3)
    assert weighed[stays].min() >= weighed[~stays].max() * (1 - 1e-6)


def test_a_layer_in_two_parts_is_not_thinned_besides(module: Module) -> None:
    layer = layers_of(module.main)[2]
    moments = {layer.name: Reference(module, BATCHES).moments(layer)}
    plan = {
        "rank": Option("rank", "", rank=4, layer=layer.name),
        "row": Option("row", "", layer=layer.name, density=0.5, thresholds=(0.0,) * 32),
    }
    made = without(module, plan, moments)
    assert made.void == ["row"] and not made.thinned
    alone = without(module, {"row": plan["row"]}, moments)
    assert not alone.void and len(alone.thinned) == 1
