"""`optc compile --calib`: quantize, compile natively, and keep of it what the native artifact itself shows to hold."""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from optc.artifact import read, requirements_of
from optc.artifact.host import host_refusal
from optc.driver.compile import kernel_maker, with_threads, write_artifact
from optc.driver.context import pass_context
from optc.driver.options import CompileOptions
from optc.driver.quantization.acceptance import Drop, compare
from optc.driver.quantization.analysis import analyze
from optc.driver.quantization.data import Batch, Data
from optc.driver.quantization.errors import Noise
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.errors import ModelError, UsageError
from optc.ops.onnx_export import to_onnx_model
from optc.passes.integer.arithmetic import IntegerArithmetic
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.simplify.simplify import Simplify
from optc.runtime import load
from optc.runtime.bench import bench
from optc.runtime.loaded import Artifact
from optc.runtime.verify import is_quantized
from optc.targets import load as load_target
from optc.targets.target import Target

ROUNDS = 3
"""Measurements of each of two artifacts that are compared, in turn."""

ROUND_SECONDS = 0.15

PROBES = 64
"""Samples that the errors of single layers are found with."""

_PRICED = "integer"


@dataclass(frozen=True)
class Bound:
    """What the native artifact must keep; at most one of the two is given.

    Attributes:
        snr: decibels at the worst output, against the model in float.
        drop: the share of accuracy that may be lost on labelled data.
        data: to judge on.
        labels: the right class of each sample of `data`.
    """

    data: Data
    snr: float | None = None
    drop: float | None = None
    labels: np.ndarray | None = None

    @property
    def text(self) -> str | None:
        """The bound in words; None where there is none."""
        if self.snr is not None:
            return f"{self.snr:g} dB at every output"
        return None if self.drop is None else f"{100 * self.drop:g} points of accuracy"


@dataclass(frozen=True)
class Quality:
    """What was measured of a model against the model in float.

    Attributes:
        snr_db: at the worst output; infinite where nothing differs.
        drop: of accuracy; None without labels.
    """

    snr_db: float
    drop: Drop | None = None

    def keeps(self, bound: Bound) -> bool:
        """Whether the bound holds; that on a drop with the confidence of `Drop`."""
        if bound.drop is not None and self.drop is not None:
            return self.drop.bound <= bound.drop
        return bound.snr is None or self.snr_db >= bound.snr

    def to_dict(self) -> dict[str, Any]:
        """As JSON; an infinite ratio is None."""
        record: dict[str, Any] = {"snr_db": self.snr_db if np.isfinite(self.snr_db) else None, "drop": None}
        if self.drop is not None:
            record["drop"] = {
                "measured": self.drop.measured,
                "bound": self.drop.bound,
                "float_accuracy": self.drop.accuracy,
                "confidence": self.drop.confidence,
                "text": self.drop.text,
            }
        return record


class _Model(Protocol):
    def __call__(self, feeds: Batch, /) -> Sequence[np.ndarray]: ...


@dataclass
class Deployment:
    """One compile with calibration data.

    Attributes:
        quantizer: of the model, calibrated.
        plan: every layer that may be quantized.
        options: of the compile.
        bound: on what is lost.
        model: what the user calls it.
        scheme: the precision of quantized layers.
        probes: what the errors of single layers are found with; None for the calibration data.
    """

    quantizer: Quantizer
    plan: QuantizationPlan
    options: CompileOptions
    bound: Bound
    model: str
    scheme: str = "int8"
    probes: Data | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    prices: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    tries: list[dict[str, Any]] = field(default_factory=list)
    _reference: Runner | None = None

    @property
    def _target(self) -> Target:
        return with_threads(load_target(self.options.target), self.options.threads)

    @cached_property
    def _runs_here(self) -> bool:
        """Whether this machine can execute what is compiled."""
        return host_refusal(requirements_of(self._target), self._target.name) is None

    def run(self, folder: Path) -> dict[str, Any]:
        """Write the artifact; the record of precisions that its plan holds.

        `met` is False in the record where no artifact with a quantized layer keeps the bound.
        """
        self.reasons = dict(self.plan.kept)
        names = self._affordable([name for name in self.plan.layers])
        met, quality = True, None
        with tempfile.TemporaryDirectory(prefix="optc-quantized-") as scratch:
            place = Path(scratch)
            if names:
                names, quality, met = self._within(names, place)
            latency = self._latency(names, place) if names else {}
            if latency and latency["int8_seconds"] >= latency["float_seconds"]:
                times = latency["int8_seconds"] / latency["float_seconds"]
                basis = latency["basis"]
                for name in names:
                    self.reasons[name] = f"the whole model in {self.scheme} is {times:.2f}x as slow, {basis}"
                names, quality, met = [], None, True
            record = self._record(names, quality, met, latency)
            self._compile(names, place, folder, record)
        return record

    def _affordable(self, names: list[str]) -> list[str]:
        """Those layers that the cost model predicts to be faster in integers; the others get their reasons."""
        target = self._target
        backend = kernel_maker(target, self.options)
        while names:
            context = pass_context(target, backend, self.options.threads, self.options.cost_model)
            module = self.quantizer.write(self.plan, names)
            Simplify().run(module, context)
            IntegerArithmetic().run(module, context)
            slow = set()
            for remark in context.remarks:
                if remark.pass_name != IntegerArithmetic.name or remark.what != _PRICED:
                    continue
                for name in set(remark.location.nodes) & set(names):
                    if remark.predicted:
                        self.prices[name] = dict(remark.predicted)
                    if remark.status == "missed":
                        self.reasons[name] = remark.reason
                        slow.add(name)
            if not slow:
                break
            names = [name for name in names if name not in slow]
        return names

    def _within(self, names: list[str], place: Path) -> tuple[list[str], Quality, bool]:
        """As many of the layers as keep the bound natively, what the artifact showed, and whether it keeps it."""
        if self.bound.text is None:
            return names, self._native(names, place), True
        probes = self.probes or self.quantizer.data
        found = analyze(self.quantizer.module, self.plan, self.scheme, probes, progress=self.options.progress)
        self.errors = {layer.name: layer.output_snr for layer in found.layers}
        order = sorted(names, key=lambda name: self.errors[name])
        kept = self._screened(order)
        while True:
            chosen = set(order[kept:])
            quality = self._native([name for name in names if name in chosen], place)
            self._note(order[:kept], "native artifact" if self._runs_here else "QDQ form", quality)
            if quality.keeps(self.bound) or kept == len(order) - 1:
                break
            kept = min(len(order) - 1, kept + max(1, kept // 4))
        for rank, name in enumerate(order[:kept], start=1):
            alone = f"alone it leaves {self.errors[name]:.1f} dB at the output, rank {rank} of {len(order)}"
            self.reasons[name] = f"{alone}; for {self.bound.text}"
        return [name for name in names if name in chosen], quality, quality.keeps(self.bound)

    def _screened(self, order: Sequence[str]) -> int:
        """How many layers stay in float for the bound, by the model in QDQ form; bisected."""
        low, high = 0, len(order) - 1
        while low < high:
            middle = (low + high) // 2
            runner = Runner(self.quantizer.write(self.plan, list(order[middle:])))
            quality = self._judge(runner.run)
            self._note(order[:middle], "QDQ form", quality)
            if quality.keeps(self.bound):
                high = middle
            else:
                low = middle + 1
        return low

    def _note(self, in_float: Sequence[str], basis: str, quality: Quality) -> None:
        """Keep what a choice of layers was measured to lose: those of `in_float` and the unaffordable ones in float."""
        self.tries.append(
            {"in_float": list(in_float), "basis": basis, "keeps": quality.keeps(self.bound), **quality.to_dict()}
        )

    def _source(self, names: Collection[str], place: Path) -> str:
        """The model to compile: in QDQ form, or as it was where nothing is quantized."""
        if not names:
            return self.model
        path = place / f"{Path(self.model).stem}.onnx"
        path.write_bytes(to_onnx_model(self.quantizer.write(self.plan, list(names))).SerializeToString())
        return str(path)

    def _compile(
        self, names: Collection[str], place: Path, folder: Path, record: Mapping[str, Any] | None = None
    ) -> Path:
        options = replace(self.options, precision=record)
        if names:  # its shapes are those of the quantizer's module, which are bound
            options = replace(options, shapes={}, dims={})
        write_artifact(self._source(names, place), options, folder)
        return folder

    def _native(self, names: Collection[str], place: Path) -> Quality:
        """What the native artifact loses; for another machine, what the model in QDQ form does."""
        folder = self._compile(names, place, place / "quantized")
        if not self._runs_here:
            return self._judge(Runner(self.quantizer.write(self.plan, list(names))).run)
        with load(folder, threads=self.options.threads) as artifact:
            outputs = [info.name for info in artifact.outputs]

            def run(feeds: Batch) -> list[np.ndarray]:
                found = artifact.run(feeds)
                return [found[name] for name in outputs]

            return self._judge(run)

    def _judge(self, model: _Model) -> Quality:
        if self._reference is None:
            self._reference = Runner(self.quantizer.module)
        noise = [Noise() for _ in self.quantizer.module.main.outputs]
        labels, count = self.bound.labels, 0
        right: tuple[list[np.ndarray], list[np.ndarray]] = ([], [])
        for feeds in self.bound.data.batches():
            wanted, found = self._reference.run(feeds), model(feeds)
            for item, a, b in zip(noise, wanted, found, strict=True):
                item.add(a, b)
            if labels is not None:
                classes = labels[count : count + len(wanted[0])]
                _check_scores(wanted[0], classes, labels)
                for hits, scores in zip(right, (wanted[0], found[0]), strict=True):
                    hits.append(scores.argmax(axis=1) == classes)
                count += len(wanted[0])
        snr = min(item.snr_db for item in noise)
        return Quality(snr) if not count else Quality(snr, compare(np.concatenate(right[0]), np.concatenate(right[1])))

    def _latency(self, names: Collection[str], place: Path) -> dict[str, Any]:
        """Seconds of the quantized artifact and of one in float: measured here, or predicted for another machine."""
        folders = place / "quantized", self._compile((), place, place / "float")
        if self._runs_here:
            with ExitStack() as stack:
                pair = [stack.enter_context(load(each, threads=self.options.threads)) for each in folders]
                with suppress(UsageError):  # inputs that cannot be made up
                    return _seconds("measured", *_in_turn(*pair))
        costs = [read(each, check_host=False).manifest.cost for each in folders]
        if not all("predicted_seconds" in cost for cost in costs):
            return {}
        return _seconds("predicted", *(float(cost["predicted_seconds"]) for cost in costs))

    def _record(
        self, names: Collection[str], quality: Quality | None, met: bool, latency: Mapping[str, Any]
    ) -> dict[str, Any]:
        layers = [
            {
                "name": layer.name,
                "precision": self.scheme if layer.name in names else "float",
                "reason": "" if layer.name in names else self.reasons.get(layer.name, ""),
                "snr_alone_db": self.errors.get(layer.name),
                **self.prices.get(layer.name, {}),
            }
            for layer in self.quantizer.layers
        ]
        return {
            "format": self.scheme,
            "quantized": len(names),
            "layers": layers,
            "bound": self.bound.text,
            "met": met,
            "data": self.bound.data.label,
            "samples": self.bound.data.samples,
            "quality": None if quality is None else quality.to_dict(),
            "latency": dict(latency),
            "constant": list(self.quantizer.calibration.constant),
            "tries": self.tries,
        }


def _seconds(basis: str, integer: float, real: float) -> dict[str, Any]:
    return {"int8_seconds": integer, "float_seconds": real, "basis": basis}


def _in_turn(first: Artifact, second: Artifact) -> tuple[float, float]:
    """The least medians of two artifacts, measured in turn so that the machine's state favours neither."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for artifact, found in zip((first, second), times, strict=True):
            found.append(bench(artifact, seconds=ROUND_SECONDS).median)
    return min(times[0]), min(times[1])


def _check_scores(scores: np.ndarray, classes: np.ndarray, labels: np.ndarray) -> None:
    if scores.ndim != 2:
        raise UsageError("accuracy needs scores of classes", why=f"the first output has {scores.ndim} dimensions")
    if len(classes) < len(scores):
        raise UsageError("there are fewer labels than samples", why=f"{len(labels)} labels")


def compile_quantized(
    model: str,
    calib: Any,
    options: CompileOptions,
    folder: Path,
    *,
    evaluate: Any = None,
    labels: np.ndarray | None = None,
    snr: float | None = None,
    drop: float | None = None,
    keep_float: Sequence[str] = (),
    limit: int | None = None,
    method: str = "mse",
    preprocessing: Any = None,
) -> dict[str, Any]:
    """Compile a float model into an artifact that computes in int8 where that pays and keeps a bound.

    Args:
        model: its path.
        calib: calibration data, as for `Data`.
        options: of the compile.
        folder: where the artifact goes.
        evaluate: data to judge on; None for those of the calibration.
        labels: the right classes of what is judged on.
        snr: decibels that every output must keep.
        drop: the share of accuracy that may be lost.
        keep_float: layers that stay in float.
        limit: calibration samples at most.
        method: how ranges are chosen.
        preprocessing: of images.

    Returns:
        the record that the plan of the artifact holds under `precision`.

    Raises:
        OptcError: as for `optc.compile` and the quantizer.
    """
    _require_float(model)
    quantizer = Quantizer.of(
        model,
        calib,
        shapes=options.shapes or None,
        dims=options.dims or None,
        method=method,
        limit=limit,
        preprocessing=preprocessing,
        progress=options.progress,
    )
    data = quantizer.data
    if evaluate is not None:
        data = Data(evaluate, quantizer.module.main.inputs, preprocessing=preprocessing)
    plan = quantizer.plan("int8", keep_float=keep_float)
    probes = None
    if isinstance(calib, str | Path):
        few = min(limit or PROBES, PROBES)
        probes = Data(calib, quantizer.module.main.inputs, limit=few, preprocessing=preprocessing)
    return Deployment(quantizer, plan, options, Bound(data, snr, drop, labels), model, probes=probes).run(folder)


def _require_float(model: str) -> None:
    path = Path(model)
    if path.is_file() and path.suffix == ".onnx" and is_quantized(path):
        raise ModelError(
            "the model is quantized already",
            where=model,
            hint="leave out --calib: optc compile runs quantized models in integers by itself",
        )
