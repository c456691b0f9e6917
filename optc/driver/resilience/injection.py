"""Fault injection: bits of weights and of activations flip, and the answers are compared with those without faults.

Weights are flipped in the memory that the compiled library reads, after it was opened. Activations are flipped in the
graph, in onnxruntime: the memory of a library is its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from optc.artifact.reading import read
from optc.artifact.writing import LIBRARY, WEIGHTS
from optc.driver.quantization.running import Runner
from optc.errors import ModelError
from optc.ir.clone import clone_module
from optc.ir.core import Module, Value
from optc.passes.quantization.layers import Layer
from optc.program import KernelCall, TensorInfo, fallback_calls, timed_steps
from optc.runtime.arrays import address_of, aligned_empty, numpy_dtype
from optc.runtime.library import DamagedWeights, NativeModel


@dataclass
class Tally:
    """What became of answers while bits were flipped.

    Attributes:
        answers: how many were asked for.
        wrong: another class than without faults, and nothing told of it.
        not_finite: among the wrong ones, those of infinite or undefined scores.
        refused: the model itself noticed and gave none.
    """

    answers: int = 0
    wrong: int = 0
    not_finite: int = 0
    refused: int = 0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.answers + other.answers,
            self.wrong + other.wrong,
            self.not_finite + other.not_finite,
            self.refused + other.refused,
        )

    @property
    def wrong_share(self) -> float:
        """Of all answers, silently wrong ones."""
        return self.wrong / max(1, self.answers)

    def count(self, scores: np.ndarray, truth: np.ndarray) -> None:
        """Add answers: scores [samples, classes] against the classes without faults [samples]."""
        wrong = scores.argmax(-1) != truth
        finite = np.isfinite(scores).all(-1)
        self.answers += len(truth)
        self.wrong += int(wrong.sum())
        self.not_finite += int((wrong & ~finite).sum())


@dataclass(frozen=True)
class Region:
    """Where the weights of a kernel lie.

    Attributes:
        label: the names of the model's nodes.
        start, bytes: in the weights file.
    """

    label: str
    start: int
    bytes: int


class NativeInjection:
    """A compiled classifier over weights that can be changed.

    Args:
        folder: the artifact; batch 1, no fallbacks.
        samples: for the first input, one after the other: [samples, …].

    Raises:
        ModelError: it is no classifier with one input, or needs onnxruntime.
    """

    def __init__(self, folder: Path, samples: np.ndarray) -> None:
        files = read(folder)
        self.program = files.program
        if fallback_calls(self.program) or len(self.program.inputs) != 1:
            raise ModelError(
                "faults are injected only into models with one input that are native as a whole", where=str(folder)
            )
        info = self.program.outputs[0]
        if info.shape is None or len(info.shape) != 2 or info.shape[0] != 1:
            raise ModelError("the first output is no scores [1, classes]", where=f"'{info.name}' of {folder}")
        stored = np.fromfile(folder / WEIGHTS, np.uint8)
        self.weights = aligned_empty(stored.shape, stored.dtype)
        self.weights[:] = stored
        self._outputs = [_empty(output) for output in self.program.outputs]
        self._native = NativeModel(folder, LIBRARY, 1, len(self._outputs), 1, self.weights)
        given = self.program.inputs[0]
        self._inputs = [_empty(given) for _ in samples]
        for buffer, sample in zip(self._inputs, samples, strict=True):
            buffer[...] = sample
        self.truth = np.concatenate([self._scores(buffer) for buffer in self._inputs]).argmax(-1)

    @property
    def regions(self) -> list[Region]:
        """Of each kernel that has weights, in order."""
        found = []
        for step in timed_steps(self.program):
            if isinstance(step, KernelCall):
                places = [place for place in step.arguments if place.space == "weights"]
                found += [Region(step.label, place.offset, place.bytes) for place in places]
        return found

    def trial(self, bits: np.ndarray) -> Tally:
        """The answers to all samples while these bits of the weights are flipped; after a refusal no more are given.

        Args:
            bits: positions in the weights file.
        """
        tally = Tally()
        self._flip(bits)
        try:
            for number, buffer in enumerate(self._inputs):
                tally.count(self._scores(buffer), self.truth[number : number + 1])
        except DamagedWeights:
            tally.refused = len(self._inputs) - tally.answers
            tally.answers = len(self._inputs)
        finally:
            self._flip(bits)
        return tally

    def answer(self, number: int) -> np.ndarray:
        """The scores [1, classes] of a sample with the weights as they are. Raises DamagedWeights."""
        return self._scores(self._inputs[number])

    def close(self) -> None:
        self._native.close()

    def _flip(self, bits: np.ndarray) -> None:
        np.bitwise_xor.at(self.weights, bits // 8, (1 << (bits % 8)).astype(np.uint8))

    def _scores(self, buffer: np.ndarray) -> np.ndarray:
        self._native.run([address_of(buffer)], [address_of(output) for output in self._outputs])
        return self._outputs[0].astype(np.float64)


def _empty(info: TensorInfo) -> np.ndarray:
    return aligned_empty(tuple(int(extent) for extent in info.shape or () if extent is not None), numpy_dtype(info))


class ActivationInjection:
    """A classifier whose layers' results can be changed before the next operation reads them.

    Args:
        module: not changed.
        layers: of its main graph.
        feeds: samples for its inputs.
    """

    def __init__(self, module: Module, layers: Sequence[Layer], feeds: Mapping[str, np.ndarray]) -> None:
        self._feeds = feeds
        self._layers = list(layers)
        watched = [module.main.outputs[0], *(each.operation.result for each in layers)]
        scores, *results = Runner(module, watched).run(feeds, watched)
        self.truth = scores.argmax(-1)
        self.results = results
        self._runners = [_with_input(module, layer.operation.result) for layer in layers]

    def trial(self, rate: float, choices: np.random.Generator) -> Iterator[tuple[Layer, Tally]]:
        """For each layer the answers while each bit of its result flips with this probability."""
        for layer, result, (runner, name) in zip(self._layers, self.results, self._runners, strict=True):
            tally = Tally()
            changed = np.ascontiguousarray(result)
            words = changed.reshape(-1).view(np.uint32).copy()
            bits = choices.integers(0, words.size * 32, choices.binomial(words.size * 32, rate))
            np.bitwise_xor.at(words, bits // 32, (np.uint32(1) << (bits % 32).astype(np.uint32)))
            faulty = words.view(np.float32).reshape(changed.shape)
            (scores,) = runner.run({**self._feeds, name: faulty})
            tally.count(scores, self.truth)
            yield layer, tally


def _with_input(module: Module, result: Value) -> tuple[Runner, str]:
    """The module with one value given from outside, and what the input is called."""
    mapping: dict[Value, Value] = {}
    copy = clone_module(module, mapping)
    inner = mapping[result]
    given = copy.main.add_input(f"{result.name}.given", inner.type)
    inner.replace_by(given)
    return Runner(copy, [copy.main.outputs[0]]), given.name
