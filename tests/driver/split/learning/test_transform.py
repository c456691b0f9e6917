"""Transforms of blocks are fitted in closed form, and written as they were trained."""

from __future__ import annotations

import numpy as np
import pytest
from learning_kit import images, network, ran

from optc.errors import OptcError

torch = pytest.importorskip("torch")

from optc.driver.split.learning.bottleneck import BottleFit, Bottleneck, compress, train_bottleneck  # noqa: E402
from optc.driver.split.learning.loop import Samples, Schedule  # noqa: E402
from optc.driver.split.learning.transform import fit_transform  # noqa: E402
from optc.driver.split.learning.writing import halves  # noqa: E402


def fitted(
    step: float = 0.1, *, mixing: bool = True, cut: str = "r1", resume: str | None = None, **shape: object
) -> Bottleneck:
    """A transform of a value, or of `cut` in place of what lies between it and `resume`."""
    shape = {"channels": 32, "halvings": 1, "kind": "transform", **shape}
    made = Bottleneck.of(network(), cut, resume, **shape).eval()
    fit_transform(made, torch.from_numpy(images()), step, mixing=mixing)
    return made


def error(model: Bottleneck) -> float:
    """Mean squared error of the features at `resume` over their variance, on other images."""
    inputs = torch.from_numpy(images(64, seed=3))
    with torch.no_grad():
        wanted = model.taught_features(inputs)
        found = model.decoder(model.codes(model.latent(inputs)))
    return float((found - wanted).square().mean() / wanted.var())


def entropy(model: Bottleneck) -> float:
    """Bits an image, if each channel were coded by itself."""
    with torch.no_grad():
        codes = model.codes(model.latent(torch.from_numpy(images()))).transpose(0, 1).flatten(1).numpy()
    shares = [np.unique(row, return_counts=True)[1] / len(row) for row in codes]
    return float(sum(-(share * np.log2(share)).sum() for share in shares) * codes.shape[1] / 256)


def test_all_components_in_small_steps_lose_nothing() -> None:
    model = fitted(0.05)  # 127 of them reach six deviations of the first component
    inputs = images(16, seed=3)
    with torch.no_grad():
        found = model(torch.from_numpy(inputs)).numpy()
    wanted = ran(network(), {"x": inputs})[0]
    assert np.abs(found - wanted).mean() < 0.1 * np.abs(wanted).mean()
    assert error(model) < 1e-3


def test_components_need_fewer_bits_than_channels_for_the_same_error() -> None:
    alone = fitted(0.5, mixing=False, cut="a1", channels=8, halvings=0)
    mixed = next(each for step in (0.8, 0.4, 0.2) if error(each := fitted(step, cut="a1")) <= error(alone))
    assert entropy(mixed) < 0.9 * entropy(alone)


def test_codes_of_single_channels_are_the_channels_in_steps_of_their_deviation() -> None:
    model = fitted(0.25, mixing=False, channels=8, halvings=0)
    inputs = torch.from_numpy(images())
    with torch.no_grad():
        features = model.features(inputs)
        codes = model.codes(model.latent(inputs))
    deviation = features.transpose(0, 1).flatten(1).std(1)
    wanted = (features / (0.25 * deviation[:, None, None])).round()
    assert float((codes - wanted).abs().max()) <= 1  # float32 may round a half either way
    assert float((codes == wanted).float().mean()) > 0.999


def test_the_decoder_is_the_best_linear_one() -> None:
    model = fitted(0.8, channels=4)
    inputs = torch.from_numpy(images())
    with torch.no_grad():
        codes, wanted = model.codes(model.latent(inputs)), model.taught_features(inputs)

        def loss() -> float:
            return float((model.decoder(codes) - wanted).square().mean())

        best = loss()
        (conv, _) = model.decoder.children()
        for seed in range(5):
            change = 0.01 * torch.randn(conv.weight.shape, generator=torch.Generator().manual_seed(seed))
            for sign in (1, -1):
                conv.weight += sign * change
                assert loss() > best
                conv.weight -= sign * change


def test_layers_between_cut_and_resume_are_replaced() -> None:
    model = fitted(0.1, cut="r0", resume="r1")
    assert error(model) < 0.3
    assert model(torch.from_numpy(images(2))).shape == (2, 4)


def test_what_cannot_be_fitted_is_refused() -> None:
    with pytest.raises(OptcError, match="channels can only be sent as they are one by one") as caught:
        fitted(mixing=False, channels=4, halvings=0)
    assert caught.value.why == "4 codes are to come of blocks of 8 features"
    convolutions = Bottleneck.of(network(), "r1", channels=4, hidden=8)
    with pytest.raises(OptcError, match="only a bottleneck of the kind 'transform' can be fitted"):
        fit_transform(convolutions, torch.from_numpy(images(8)), 0.1)


@pytest.fixture(scope="module")
def compressed() -> tuple[Bottleneck, float]:
    """Trained for fewer bits with a fixed front, and the bits before."""
    made = fitted(0.3, fixed_front=True)
    before, samples = entropy(made), Samples(torch.from_numpy(images()))
    train_bottleneck(made, samples, BottleFit(Schedule(1, batch=64), Schedule(1, batch=64)))
    compress(made, samples, 20.0, Schedule(6, batch=32, rate=1e-2, trained_rate=5e-3, bfloat16=True))
    return made, before


def test_a_fixed_front_stays_as_it_is(compressed: tuple[Bottleneck, float]) -> None:
    model, before = compressed
    untouched = Bottleneck.of(network(), "r1", channels=4, hidden=8)
    for found, wanted in zip(model.front.parameters(), untouched.front.parameters(), strict=True):
        assert torch.equal(found, wanted)
    trained = zip(model.tail.parameters(), untouched.tail.parameters(), strict=True)
    assert not all(torch.equal(found, wanted) for found, wanted in trained)
    assert entropy(model) < 0.9 * before
    inputs = images(16, seed=5)
    taught = model.taught(torch.from_numpy(inputs)).numpy()
    np.testing.assert_allclose(taught, ran(network(), {"x": inputs})[0], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("width", [None, 5])
def test_halves_of_a_transform_compute_what_was_trained(
    compressed: tuple[Bottleneck, float], width: int | None
) -> None:
    model, inputs = compressed[0], images(16, seed=5)
    device, server = halves(model, width)
    (codes,) = ran(device, {"x": inputs})
    assert codes.shape == (16, width or 32, 4, 4)
    (scores,) = ran(server, {"codes": codes})
    with torch.no_grad():
        wanted = model(torch.from_numpy(inputs), width).numpy()
    np.testing.assert_allclose(scores, wanted, rtol=1e-3, atol=1e-3)
