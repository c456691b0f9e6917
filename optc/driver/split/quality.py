"""What sending coded values costs the outputs: the halves in sequence, through the codec, beside the whole model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from optc.artifact.split_record import CutTensor
from optc.driver.quantization.running import Runner
from optc.driver.split.halves import Cut
from optc.driver.split.sizes import Feeds
from optc.ir.core import Module


@dataclass(frozen=True)
class Noise:
    """What the outputs lose.

    Attributes:
        snr_db: signal to noise at the worst output; None where there is no noise.
        changed: share of the samples whose largest score is another; None where no output is a row of scores.
        samples: that were run.
        left: share of them that the device answered at its exit.
    """

    snr_db: float | None
    changed: float | None
    samples: int
    left: float = 0.0


def noise_of(
    module: Module,
    cut: Cut,
    tensors: Sequence[Sequence[CutTensor]],
    batches: Iterable[Feeds],
    exit: str | None = None,
) -> list[Noise]:
    """Compare a cut with the whole model, for several codings of what is sent.

    Args:
        module: the whole.
        cut: of it, with a server half.
        tensors: for each coding, what is sent, in the order of `cut.sent`.
        batches: inputs of the model.
        exit: an output of the device half that says that its own outputs are the answer.
    """
    from optc.runtime.split.codec import Place, open_codec

    whole = Runner(module)
    device = None if cut.device is None else Runner(cut.device)
    server = Runner(cut.server) if cut.server is not None else None
    codecs = [[open_codec(Place(tensor)) for tensor in each] for each in tensors]
    tallies = [_Tally(len(module.main.outputs)) for _ in tensors]
    for feeds in batches:
        expected = dict(zip(module.main.output_names, whole.run(feeds), strict=True))
        made: dict[str, np.ndarray] = dict(feeds)
        if device is not None and cut.device is not None:
            made |= dict(zip(cut.device.main.output_names, device.run(feeds), strict=True))
        if exit is not None and made[exit].all():
            for tally in tallies:
                tally.add(expected, made)
                tally.left += 1
            continue
        for coding, tally in zip(codecs, tallies, strict=True):
            received = {
                name: codec.decode(codec.encode(made[name])) for (name, _), codec in zip(cut.sent, coding, strict=True)
            }
            outputs = dict(made)
            if server is not None and cut.server is not None:
                outputs |= dict(zip(cut.server.main.output_names, server.run(received), strict=True))
            tally.add(expected, outputs)
    return [tally.noise() for tally in tallies]


class _Tally:
    def __init__(self, outputs: int) -> None:
        self.signal = np.zeros(outputs)
        self.noise_power = np.zeros(outputs)
        self.rows = self.changed = self.samples = self.left = 0

    def add(self, expected: Mapping[str, np.ndarray], found: Mapping[str, np.ndarray]) -> None:
        for index, (name, wanted) in enumerate(expected.items()):
            exact = np.asarray(wanted, np.float64)
            error = exact - np.asarray(found[name], np.float64)
            self.signal[index] += float(np.square(exact).sum())
            self.noise_power[index] += float(np.square(error).sum())
            if exact.ndim == 2 and exact.shape[1] > 1 and wanted.dtype.kind == "f":
                self.rows += exact.shape[0]
                self.changed += int((exact.argmax(1) != np.asarray(found[name]).argmax(1)).sum())
        self.samples += 1

    def noise(self) -> Noise:
        noisy = self.noise_power > 0
        snr = None
        if noisy.any():
            ratio = float((self.signal[noisy] / self.noise_power[noisy]).min())
            snr = 10.0 * float(np.log10(max(ratio, 1e-30)))
        changed = self.changed / self.rows if self.rows else None
        return Noise(snr, changed, self.samples, self.left / max(self.samples, 1))
