"""Flipped bits: the guard finds them all, range checks keep answers, injection counts what an oracle counts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx_kit import model, node, value

import optc
from optc.driver.resilience.faults import inject
from optc.driver.resilience.injection import NativeInjection
from optc.driver.resilience.protect import protect
from optc.errors import OptcError, UsageError
from optc.ops.onnx_export import to_onnx_model
from optc.runtime.library import DamagedWeights, NativeModel

CLASSES = 4


@pytest.fixture(scope="module")
def classifier() -> onnx.ModelProto:
    random = np.random.default_rng(0)
    weights = {
        "w": random.normal(0, 0.3, (8, 3, 3, 3)).astype(np.float32),
        "v": random.normal(0, 0.3, (8 * 36, CLASSES)).astype(np.float32),
    }
    nodes = [
        node("Conv", "x w", "c", "conv"),
        node("Relu", "c", "r"),
        node("Flatten", "r", "f"),
        node("MatMul", "f v", "y", "scores"),
    ]
    return model(nodes, [value("x", [1, 3, 8, 8])], [value("y", [1, CLASSES])], weights)


@pytest.fixture(scope="module")
def samples() -> np.ndarray:
    return np.random.default_rng(1).normal(0, 1, (24, 3, 8, 8)).astype(np.float32)


@pytest.fixture(scope="module")
def folders(classifier: onnx.ModelProto, tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    made = {}
    for guard in (False, True):
        made[guard] = tmp_path_factory.mktemp("guard") / str(guard)
        optc.compile(classifier, output=made[guard], threads=1, tune=0, guard_weights=guard).close()
    return made


def test_every_flipped_bit_is_noticed(folders: dict[bool, Path], samples: np.ndarray) -> None:
    """By as many runs as it takes to check all blocks; the message says where."""
    injection = NativeInjection(folders[True], samples)
    for position in np.random.default_rng(2).integers(0, injection.weights.size * 8, 60):
        tally = injection.trial(np.array([position]))
        assert tally.refused > 0
    injection.weights[5000] ^= 1
    with pytest.raises(DamagedWeights, match="the weights have changed: bytes 4096 and on differ from what was comp"):
        for _ in samples:
            injection.answer(0)
    injection.close()


def test_damaged_weights_are_refused_when_opened(folders: dict[bool, Path]) -> None:
    stored = np.fromfile(folders[True] / "weights.bin", np.uint8)
    aligned = np.zeros(stored.size + 64, np.uint8)
    weights = aligned[-aligned.ctypes.data % 64 :][: stored.size]
    weights[:] = stored
    weights[-1] ^= 128
    with pytest.raises(OptcError, match="the weights have changed"):
        NativeModel(folders[True], "libmodel.so", 1, 1, 1, weights)
    NativeModel(folders[False], "libmodel.so", 1, 1, 1, weights).close()


def test_weights_without_a_guard_go_wrong_silently(folders: dict[bool, Path], samples: np.ndarray) -> None:
    injection = NativeInjection(folders[False], samples)
    exponent = np.concatenate([np.arange(region.start, region.start + region.bytes, 4) for region in injection.regions])
    tally = injection.trial(exponent * 8 + 30)
    assert tally.wrong > 0 and tally.refused == 0
    assert injection.trial(np.array([], np.int64)).wrong == 0
    injection.close()


def test_protection_keeps_answers_and_bounds_results(classifier: onnx.ModelProto, samples: np.ndarray) -> None:
    """Against NumPy: nothing changes on the samples; what is larger than ever, or no number, becomes zero."""
    protected = to_onnx_model(protect(classifier, [{"x": samples[i : i + 1]} for i in range(len(samples))]).module)
    outputs = []
    for proto in (classifier, protected):
        session = onnxruntime.InferenceSession(proto.SerializeToString())
        outputs.append([session.run(None, {"x": sample[None]})[0] for sample in samples])
    np.testing.assert_allclose(outputs[0], outputs[1], atol=1e-5)
    session = onnxruntime.InferenceSession(protected.SerializeToString())
    for wild in (1e30, np.nan, np.inf):
        np.testing.assert_array_equal(session.run(None, {"x": np.full((1, 3, 8, 8), wild, np.float32)})[0], 0)


@pytest.mark.parametrize("wild", [np.nan, np.inf, 1e30])
def test_a_check_behind_a_depthwise_convolution_serves_the_layer_in_front(wild: float) -> None:
    """A channel that goes wrong in front of it is as if its filter were zero, and no other channel changes."""
    random = np.random.default_rng(3)
    shapes = {"w": (6, 3, 1, 1), "d": (6, 1, 3, 3), "v": (4, 6, 1, 1)}
    weights = {name: random.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        node("Conv", "x w", "a", "wide"),
        node("Relu", "a", "b"),
        node("Conv", "b d", "c", "filter", group=6, pads=[1, 1, 1, 1]),
        node("Conv", "c v", "y", "narrow"),
    ]
    proto = model(nodes, [value("x", [1, 3, 5, 5])], [value("y", [1, 4, 5, 5])], weights)
    feeds = [{"x": random.normal(0, 1, (1, 3, 5, 5)).astype(np.float32)} for _ in range(8)]
    made = protect(proto, feeds)
    assert (made.layers, made.checks) == (3, 2)
    protected, silenced = to_onnx_model(made.module), onnx.ModelProto.FromString(proto.SerializeToString())
    _overwrite(protected, "w", (2,), wild)
    _overwrite(silenced, "d", (2,), 0.0)
    found, expected = (
        onnxruntime.InferenceSession(each.SerializeToString()).run(None, feeds[0])[0] for each in (protected, silenced)
    )
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def _overwrite(proto: onnx.ModelProto, name: str, place: tuple[int, ...], number: float) -> None:
    (tensor,) = (each for each in proto.graph.initializer if each.name == name)
    array = onnx.numpy_helper.to_array(tensor).copy()
    array[place] = number
    tensor.CopyFrom(onnx.numpy_helper.from_array(array, name))


def test_a_campaign(classifier: onnx.ModelProto, samples: np.ndarray) -> None:
    """A rate at which every trial flips bits; protection makes fewer answers wrong; the same seed, the same counts."""
    feeds = [{"x": samples[i : i + 1]} for i in range(len(samples))]
    options = {"rate": 2e-4, "trials": 12, "limit": 8}
    plain = inject(classifier, feeds, **options)
    again = inject(classifier, feeds, **options)
    assert (plain.weights, plain.activations) == (again.weights, again.activations)
    protected = inject(to_onnx_model(protect(classifier, feeds).module), feeds, **options)
    assert plain.weights.answers == 12 * 8
    assert protected.weights.wrong < plain.weights.wrong
    assert protected.activations.wrong <= plain.activations.wrong
    assert set(plain.layers) == {"conv", "scores"}
    guarded = inject(classifier, feeds, guard_weights=True, **options)
    assert guarded.weights.wrong < plain.weights.wrong and guarded.weights.refused > 0


def test_the_guard_is_for_processors_only(classifier: onnx.ModelProto, tmp_path: Path) -> None:
    with pytest.raises(UsageError) as caught:
        optc.compile(classifier, output=tmp_path / "m", target="wasm", guard_weights=True, verify=False)
    assert str(caught.value) == (
        "weights are guarded only on processors under Linux or macOS\n  at --guard-weights with --target wasm"
    )
