"""A campaign of fault injection: how often flipped bits change answers, and which layers they hurt."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from optc.backends.interface import Progress, silent
from optc.driver.compile import compile
from optc.driver.quantization.data import Data
from optc.driver.quantization.images import Preprocessing
from optc.driver.quantization.preparation import prepare
from optc.driver.resilience.injection import ActivationInjection, NativeInjection, Tally
from optc.frontends import load_model
from optc.passes.quantization.layers import layers_of

FLIPS_A_KERNEL = 40
"""Single bits that are flipped in the weights of each kernel, one after the other."""


@dataclass
class Faults:
    """What was found.

    Attributes:
        rate: probability that a bit is flipped.
        samples: that were classified in each trial.
        trials: of weights, and of activations.
        weight_bits: that the compiled model holds.
        weights: the answers while weights were faulty.
        activations: the answers while results of one layer at a time were.
        kernels: by the names of a kernel's nodes, the share of answers that one flipped bit of its weights changes.
        layers: by layer, the share of answers that faults in its results change, at the rate.
    """

    rate: float
    samples: int
    trials: int
    weight_bits: int
    weights: Tally = field(default_factory=Tally)
    activations: Tally = field(default_factory=Tally)
    kernels: dict[str, float] = field(default_factory=dict)
    layers: dict[str, float] = field(default_factory=dict)


def inject(
    model: Any,
    data: Any,
    *,
    rate: float = 1e-6,
    trials: int = 100,
    seed: int = 0,
    guard_weights: bool = False,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    limit: int | None = 50,
    preprocessing: Preprocessing | None = None,
    progress: Progress = silent,
) -> Faults:
    """Flip bits of a classifier's weights and activations and count changed answers.

    Args:
        model: as for `load_model`; one input, scores [1, classes] as the first output.
        data: samples, as for `Data`.
        rate: probability that a bit is flipped, in each trial anew.
        trials: how often.
        seed: of the bits.
        guard_weights: compile with a guard.
        shapes, dims: as for `load_model`; the batch must be 1.
        limit: samples of a trial.
        preprocessing: of images.
        progress: called with (what, done, total, detail).

    Raises:
        ModelError: it is no such classifier.
    """
    choices = np.random.default_rng(seed)
    module = load_model(model).module  # with the batch open, if the model leaves it open
    prepare(module)
    read = Data(data, module.main.inputs, limit=limit, preprocessing=preprocessing)
    batches = list(read.batches())
    name = module.main.inputs[0].name
    samples = np.concatenate([batch[name] for batch in batches])
    with tempfile.TemporaryDirectory(prefix="optc-faults-") as folder:
        path = Path(folder) / "model"
        options: dict[str, Any] = {"shapes": shapes, "dims": dims, "threads": 1, "guard_weights": guard_weights}
        compile(model, output=path, progress=progress, **options).close()
        native = NativeInjection(path, samples[:, None])
        found = Faults(rate, len(samples), trials, native.weights.size * 8)
        for trial in range(trials):
            progress("flipping bits of weights", trial, trials)
            count = choices.binomial(found.weight_bits, rate)
            found.weights = found.weights + native.trial(choices.integers(0, found.weight_bits, count))
        for region in native.regions:
            tally = Tally()
            for bit in choices.integers(0, region.bytes * 8, FLIPS_A_KERNEL):
                tally = tally + native.trial(np.array([region.start * 8 + bit]))
            found.kernels[region.label] = max(found.kernels.get(region.label, 0.0), tally.wrong_share)
        native.close()
    graphs = [ActivationInjection(module, layers_of(module.main), batch) for batch in batches]
    tallies: dict[str, Tally] = {}
    for trial in range(trials):
        progress("flipping bits of activations", trial, trials)
        for layer, tally in graphs[trial % len(graphs)].trial(rate, choices):
            tallies[layer.name] = tallies.get(layer.name, Tally()) + tally
    found.layers = {layer: tally.wrong_share for layer, tally in tallies.items()}
    found.activations = sum(tallies.values(), Tally())
    return found
