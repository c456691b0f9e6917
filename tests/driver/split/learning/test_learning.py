"""Bottlenecks and exits of a toy network learn, and what is written of them computes the same elsewhere."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from learning_kit import images, network, network_of, ran
from onnx import TensorProto, helper

import optc
from optc.artifact.split_record import CutTensor, Predicted, Way
from optc.errors import ModelError
from optc.program import Branch, walk
from optc.runtime.split.codec import Place, open_codec

torch = pytest.importorskip("torch")

from optc.driver.split.learning.bottleneck import BottleFit, Bottleneck, compress, train_bottleneck  # noqa: E402
from optc.driver.split.learning.deployment import trained_way  # noqa: E402
from optc.driver.split.learning.exits import (  # noqa: E402
    CONFIDENCES,
    EarlyExit,
    ExitRule,
    all_scores,
    calibrate,
    train_exit,
)
from optc.driver.split.learning.latent import FactorizedPrior  # noqa: E402
from optc.driver.split.learning.loop import Samples, Schedule  # noqa: E402
from optc.driver.split.learning.section import Section, value_named  # noqa: E402
from optc.driver.split.learning.writing import cascade, halves, whole, with_exit  # noqa: E402
from optc.frontends import load_model  # noqa: E402


def bottleneck(**shape: object) -> Bottleneck:
    torch.manual_seed(0)
    return Bottleneck.of(network(), "r0", "r1", **{"channels": 4, "hidden": 8, "halvings": 1, "levels": 16, **shape})


@pytest.fixture(scope="module")
def trained() -> Bottleneck:
    made = bottleneck(widths=(2, 4))
    recipe = BottleFit(Schedule(2, batch=64), Schedule(16, batch=64, rate=2e-2, trained_rate=5e-3))
    train_bottleneck(made, Samples(torch.from_numpy(images())), recipe)
    return made


@pytest.fixture(scope="module")
def exit_model() -> EarlyExit:
    torch.manual_seed(0)
    made = EarlyExit.of(network(), "r0", ((8, 2),))
    train_exit(made, Samples(torch.from_numpy(images())), Schedule(16, batch=64, rate=2e-2))
    return made


def test_a_section_computes_what_the_network_computes() -> None:
    proto, inputs = network(), images(4)
    graph = load_model(proto).module.main
    middle = value_named(graph, "r1")
    front, rest = Section(graph, graph.inputs, [middle]), Section(graph, [middle], graph.outputs)
    found = rest(front(torch.from_numpy(inputs))).detach().numpy()
    np.testing.assert_allclose(found, ran(proto, {"x": inputs})[0], rtol=1e-4, atol=1e-5)
    assert len(list(front.parameters())) == 4
    assert len(list(rest.parameters())) == 4


def test_values_that_do_not_divide_the_graph_are_refused() -> None:
    graph = load_model(network()).module.main
    with pytest.raises(ModelError) as caught:
        Section(graph, [value_named(graph, "c1")], graph.outputs)
    assert caught.value.why == "'scores' also depends on 'x', not only on 'c1'"
    with pytest.raises(ModelError, match="no value is called 'r9'"):
        value_named(graph, "r9")
    with pytest.raises(ModelError, match="the encoder and the decoder do not fit together"):
        bottleneck(halvings=4)
    with pytest.raises(ModelError, match="'f' is no feature map"):
        Bottleneck.of(network(), "f")


def agreement(model: Bottleneck, width: int | None = None) -> float:
    inputs = torch.from_numpy(images())
    with torch.no_grad():
        teacher = model.teacher_tail(model.teacher_front(inputs))
        return float((model(inputs, width).argmax(1) == teacher.argmax(1)).float().mean())


def test_training_without_labels_makes_the_bottleneck_agree_with_the_network(trained: Bottleneck) -> None:
    before, after = agreement(bottleneck().eval()), agreement(trained)
    assert after > before + 0.2
    assert agreement(trained, 2) > before + 0.1


@pytest.mark.parametrize("width", [None, 2])
def test_halves_compute_what_was_trained(trained: Bottleneck, width: int | None) -> None:
    inputs = images(16, seed=5)
    device, server = halves(trained, width)
    (codes,) = ran(device, {"x": inputs})
    assert codes.dtype == np.int8
    assert codes.shape == (16, width or 4, 4, 4)
    assert codes.min() >= -8
    assert codes.max() <= 7
    (scores,) = ran(server, {"codes": codes})
    with torch.no_grad():
        wanted = trained(torch.from_numpy(inputs), width).numpy()
    np.testing.assert_allclose(scores, wanted, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(ran(whole(trained, width), {"x": inputs})[0], scores, rtol=1e-5, atol=1e-5)


def test_a_way_has_what_its_codec_needs(trained: Bottleneck, tmp_path: Path) -> None:
    inputs = torch.from_numpy(images())
    way = trained_way(trained, inputs, "narrow", width=2)
    (file,) = way.files
    (tmp_path / "cuts" / "narrow").mkdir(parents=True)
    (tmp_path / "cuts" / "narrow" / file).write_bytes(way.files[file])
    sent = CutTensor("codes", "int8", (1, 2, 4, 4), way.encodings["codes"], way.sizes["codes"])
    codec = open_codec(Place(sent, Way("narrow", None, None, (sent,), (), Predicted(0.0, 0.0)), tmp_path))
    (codes,) = ran(way.device, {"x": images(1, seed=8)})
    coded = codec.encode(codes)
    assert np.array_equal(codec.decode(coded), codes)
    assert memoryview(coded).nbytes < 1.5 * way.sizes["codes"] + 8
    assert way.details == {"width": 2}


def test_compression_trades_bits() -> None:
    made, samples = bottleneck(), Samples(torch.from_numpy(images()))
    train_bottleneck(made, samples, BottleFit(Schedule(1, batch=32), Schedule(2, batch=32)))
    bits = []
    for weight in (0.0, 60.0):
        compress(made, samples, weight, Schedule(6, batch=32, rate=1e-2, trained_rate=5e-3))
        with torch.no_grad():
            codes = made.codes(made.latent(samples.inputs))
            bits.append(float(made.prior.bits(codes).flatten(1).sum(1).mean()))
    assert bits[1] < 0.7 * bits[0]


def test_features_are_compressed_without_a_run_of_the_rest() -> None:
    inputs = torch.from_numpy(images())
    errors = []
    for labels in (None, bottleneck(fixed_front=True).taught_features(inputs)):
        made = bottleneck(fixed_front=True, encoder_hidden=4)
        before = {name: value.clone() for name, value in made.tail.state_dict().items()}
        made.tail.forward = None  # type: ignore[method-assign, assignment]
        compress(made, Samples(inputs, labels), 0.001, Schedule(12, batch=32, rate=2e-2), of_features=True)
        with torch.no_grad():
            wanted = made.taught_features(inputs)
            found = made.decoder(made.codes(made.latent(inputs)))
        errors.append(float(torch.nn.functional.mse_loss(found, wanted) / wanted.var()))
        assert all(torch.equal(value, before[name]) for name, value in made.tail.state_dict().items())
    assert errors[0] < 0.7
    assert errors[0] == pytest.approx(errors[1], rel=1e-3)  # what is known already need not be computed


def test_long_networks_have_bottlenecks(tmp_path: Path) -> None:
    nodes = [helper.make_node("Relu", [f"v{place}"], [f"v{place + 1}"]) for place in range(600)]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2, 4, 4]) for name in ("v0", "v600")]
    path = tmp_path / "long.onnx"
    onnx.save(helper.make_model(helper.make_graph(nodes, "long", ends[:1], ends[1:])), path)
    made = Bottleneck.of(path, "v1", channels=2, hidden=4)
    assert made.taught(torch.ones(1, 2, 4, 4)).shape == (1, 2, 4, 4)


def test_tables_of_the_prior_are_its_bits() -> None:
    torch.manual_seed(0)
    prior = FactorizedPrior(3)
    tables = prior.tables()
    codes = torch.tensor([-3.0, 0.0, 5.0]).view(1, 3, 1)
    stated = prior.bits(codes).detach().numpy().reshape(-1)
    table_bits = [-np.log2(tables[channel, int(code) + 128]) for channel, code in enumerate(codes.view(-1))]
    np.testing.assert_allclose(stated, table_bits, atol=0.02)


def test_an_interrupted_training_continues(tmp_path: Path) -> None:
    samples = Samples(torch.from_numpy(images(64)), torch.zeros(64, dtype=torch.int64))
    recipe = BottleFit(Schedule(0), Schedule(2, batch=32))
    straight, interrupted = bottleneck(), bottleneck()
    train_bottleneck(straight, samples, recipe)

    class Stop(Exception):
        pass

    def stop(what: str, done: int, total: int, detail: str = "", /) -> None:
        if done == 3:
            raise Stop

    with pytest.raises(Stop):
        train_bottleneck(interrupted, samples, recipe, checkpoint=tmp_path / "part", progress=stop)
    resumed = bottleneck()
    train_bottleneck(resumed, samples, recipe, checkpoint=tmp_path / "part")
    for found, wanted in zip(resumed.parameters(), straight.parameters(), strict=True):
        torch.testing.assert_close(found, wanted)


def test_the_body_of_an_exit_stays_as_it_is(exit_model: EarlyExit) -> None:
    inputs = images()
    early, late = all_scores(exit_model, torch.from_numpy(inputs))
    np.testing.assert_allclose(late.numpy(), ran(network(), {"x": inputs})[0], rtol=1e-4, atol=1e-5)
    assert float((early.argmax(1) == late.argmax(1)).float().mean()) > 0.45


@settings(derandomize=True, max_examples=12, deadline=None)
@given(st.integers(0, 2**31), st.sampled_from(sorted(CONFIDENCES)), st.sampled_from([0.0, 0.02, 0.1]))
def test_calibration_keeps_its_bound_and_lets_most_leave(seed: int, confidence: str, bound: float) -> None:
    random = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, 4, (200,), generator=random)
    right = torch.nn.functional.one_hot(labels, 4) * 2.0
    early, late = (right * strength + torch.randn(200, 4, generator=random) for strength in (0.7, 1.5))
    rule = calibrate(early, late, labels, bound, confidence)

    def accuracy(rule: ExitRule) -> float:
        return float((rule.answers(early, late)[0].argmax(1) == labels).double().mean())

    alone = float((late.argmax(1) == labels).double().mean())
    assert accuracy(rule) >= alone - bound - 1e-9
    leaves = rule.answers(early, late)[1].double().mean()
    assert float(leaves) == pytest.approx(rule.leaves)
    for threshold in CONFIDENCES[confidence](early).tolist():
        other = ExitRule(confidence, threshold, rule.share, 0.0, 0.0)
        if accuracy(other) >= alone - bound:
            assert other.answers(early, late)[1].double().mean() <= leaves + 1e-9


@pytest.mark.parametrize("confidence", sorted(CONFIDENCES))
def test_a_written_exit_answers_as_its_rule_says(exit_model: EarlyExit, confidence: str) -> None:
    inputs = images(24, seed=4)
    early, late = all_scores(exit_model, torch.from_numpy(inputs))
    sureness = CONFIDENCES[confidence](early).sort().values
    rule = ExitRule(confidence, float((sureness[11] + sureness[12]) / 2), 0.2, 0.5, 0.0)
    wanted, leaves = rule.answers(early, late)
    proto = with_exit(exit_model, rule)
    found = [ran(proto, {"x": inputs[place : place + 1]}) for place in range(24)]
    np.testing.assert_allclose(np.concatenate([scores for scores, _ in found]), wanted.numpy(), rtol=1e-3, atol=1e-4)
    assert np.array_equal(np.concatenate([flag for _, flag in found]), leaves.numpy())
    assert int(leaves.sum()) == 12


def test_an_exit_may_stand_at_the_input_behind_a_convolution_that_strides() -> None:
    torch.manual_seed(0)
    made, inputs = EarlyExit.of(network(), "x", ((8, 1),), stem=(6, 2)).eval(), images(8, seed=4)
    early, late = all_scores(made, torch.from_numpy(inputs))
    np.testing.assert_allclose(late.numpy(), ran(network(), {"x": inputs})[0], rtol=1e-4, atol=1e-5)
    sureness = early.softmax(1).amax(1).sort().values
    rule = ExitRule("softmax", float((sureness[3] + sureness[4]) / 2), 0.0, 0.5, 0.0)
    proto = with_exit(made, rule)
    (stem,) = [each for each in proto.graph.node if each.name == "exit.0"]
    assert {each.name: list(each.ints) for each in stem.attribute if each.ints}["strides"] == [2, 2]
    found = np.concatenate([ran(proto, {"x": inputs[place : place + 1]})[0] for place in range(8)])
    np.testing.assert_allclose(found, rule.answers(early, late)[0].numpy(), rtol=1e-3, atol=1e-4)


def test_a_cascade_asks_the_large_network_where_the_small_one_is_not_sure() -> None:
    small, large = load_model(network()).module, load_model(network_of(np.zeros(4))).module
    inputs = images(12, seed=6)
    early, late = (torch.from_numpy(ran(proto, {"x": inputs})[0]) for proto in (network(), network_of(np.zeros(4))))
    sureness = early.softmax(1).amax(1).sort().values
    rule = ExitRule("softmax", float((sureness[5] + sureness[6]) / 2), 0.5, 0.5, 0.0)
    proto = cascade(small, large, rule)
    found = np.concatenate([ran(proto, {"x": inputs[place : place + 1]})[0] for place in range(12)])
    np.testing.assert_allclose(found, rule.answers(early, late)[0].numpy(), rtol=1e-3, atol=1e-4)


def test_the_rest_is_skipped_in_native_code(exit_model: EarlyExit, tmp_path: Path) -> None:
    inputs = images(24, seed=4)
    early, late = all_scores(exit_model, torch.from_numpy(inputs))
    sureness = early.logsumexp(1).sort().values
    rule = ExitRule("energy", float((sureness[11] + sureness[12]) / 2), 0.0, 0.5, 0.0)
    wanted, leaves = rule.answers(early, late)
    with optc.compile(
        with_exit(exit_model, rule), output=tmp_path / "artifact", threads=1, tune=0, verify=False
    ) as artifact:
        (branch,) = [step for step in walk(artifact.program.steps) if isinstance(step, Branch)]
        assert branch.otherwise
        for place in (int(leaves.nonzero()[0]), int((~leaves).nonzero()[0])):
            feeds = {"x": inputs[place : place + 1]}
            found = artifact.run(feeds)
            np.testing.assert_allclose(found["scores"], wanted[place : place + 1].numpy(), rtol=1e-3, atol=1e-4)
            times = artifact.profile(feeds, runs=3)
            skipped = sum(not step.calls for step in times)
            assert (skipped >= len(branch.otherwise)) == bool(leaves[place])
