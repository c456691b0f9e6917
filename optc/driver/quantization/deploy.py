"""`optc compile --calib`: quantize, compile natively, and keep of it what the native artifact itself shows to hold."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from optc import cache
from optc.artifact import read, requirements_of
from optc.artifact.host import host_refusal
from optc.artifact.writing import LIBRARY, WEIGHTS
from optc.driver.compile import kernel_maker, with_threads, write_artifact
from optc.driver.context import pass_context
from optc.driver.options import CompileOptions
from optc.driver.quantization.bound import Bound, Judge, Quality
from optc.driver.quantization.data import Batch, Data
from optc.driver.quantization.mixed import Mixture, Point, PrecisionSearch
from optc.driver.quantization.native_search import affordable, native_problem, native_search
from optc.driver.quantization.quantize import Quantizer
from optc.driver.quantization.running import Runner
from optc.driver.quantization.sensitivity import decibels, measured
from optc.errors import ModelError, UsageError
from optc.ops.onnx_export import to_onnx_model
from optc.passes.base import PassContext
from optc.passes.quantization.plan import QuantizationPlan
from optc.passes.quantization.prices import Errors
from optc.passes.quantization.search.problem import FLOAT, PrecisionProblem
from optc.runtime import load
from optc.runtime.bench import bench
from optc.runtime.loaded import Artifact
from optc.runtime.verify import is_quantized
from optc.targets import load as load_target
from optc.targets.target import Target

ROUNDS = 3
"""Measurements of each of two artifacts that are compared, in turn."""

ROUND_SECONDS = 0.15


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
    """

    quantizer: Quantizer
    plan: QuantizationPlan
    options: CompileOptions
    bound: Bound
    model: str
    scheme: str = "int8"
    reasons: dict[str, str] = field(default_factory=dict)
    prices: dict[str, dict[str, float]] = field(default_factory=dict)
    errors: dict[str, float] = field(default_factory=dict)
    tries: list[dict[str, Any]] = field(default_factory=list)

    @property
    def _target(self) -> Target:
        return with_threads(load_target(self.options.target), self.options.threads)

    @cached_property
    def _runs_here(self) -> bool:
        """Whether this machine can execute what is compiled."""
        return host_refusal(requirements_of(self._target), self._target.name) is None

    @cached_property
    def _context(self) -> PassContext:
        target = self._target
        backend = kernel_maker(target, self.options)
        return pass_context(target, backend, self.options.threads, self.options.cost_model)

    @cached_property
    def _judge(self) -> Judge:
        return Judge(self.quantizer.module, self.bound)

    def run(self, folder: Path) -> dict[str, Any]:
        """Write the artifact; the record of precisions that its plan holds.

        `met` is False in the record where no artifact with a quantized layer keeps the bound.
        """
        self.prices, slow = affordable(self.quantizer, self.plan, self._context)
        self.reasons = {**self.plan.kept, **slow}
        names = [name for name in self.plan.layers if name not in slow]
        met, quality = True, None
        with tempfile.TemporaryDirectory(prefix="optc-quantized-") as scratch:
            place = Path(scratch)
            if names and self.bound.text is not None:
                names, quality, met = self._within(slow, place)
            elif names:
                quality = self._native(names, place)
                self.reasons |= {name: self._cheaper(name) for name in names}
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

    def _cheaper(self, name: str) -> str:
        """Why a layer is quantized where nothing bounds what is lost."""
        found = self.prices.get(name)
        if found is None:
            return "nothing bounds what is lost"
        integer, real = (1e6 * found[kind] for kind in ("integer_seconds", "float_seconds"))
        return f"{integer:.1f} µs predicted in integers, {real:.1f} µs in float"

    def _within(self, slow: Mapping[str, str], place: Path) -> tuple[list[str], Quality | None, bool]:
        """The layers that the search quantizes, what the artifact showed, and whether that keeps the bound.

        The search verifies the model in QDQ form. Where the native artifact shows a larger error than that, the search
        is asked for so much more.
        """
        progress = self.options.progress
        errors = measured(self.quantizer.module, {self.scheme: self.plan}, self.quantizer.data, progress=progress)
        self.errors = {name: decibels(error) for (name, _), error in errors.items()}
        kept = dict(slow)
        search = native_search(self.quantizer, self.plan, self._problem(kept, errors), self.bound.data, progress)
        asked, factor = self.bound, 1.0
        while True:
            mixture = self._search(search, asked)
            names = list(mixture.quantized)
            _, slower = affordable(self.quantizer, self.plan, self._context, names)
            if slower and mixture.met:  # their neighbours are in float now
                kept |= slower
                search.problem = self._problem(kept, errors)
                continue
            for point, drop in (each for each in mixture.tried if each[0].quantized):
                self._note(search, point, "QDQ form", Quality(point.measured_snr, drop))
            quality = self._native(names, place) if names else None
            met = mixture.met if quality is None else quality.keeps(self.bound)
            if quality is not None:
                self._note(search, mixture.point, "native artifact" if self._runs_here else "QDQ form", quality)
            if met or quality is None or not mixture.met:
                break
            asked, factor = self._stricter(mixture, quality, factor), 2.0 * factor
        self.reasons = {**search.reasons(mixture.point, str(self.bound.text), met), **self.plan.kept, **kept}
        return names, quality, met

    def _problem(self, kept: Mapping[str, str], errors: Errors) -> PrecisionProblem:
        return native_problem(self.quantizer.layers, self.scheme, self.prices, kept, errors)

    def _search(self, search: PrecisionSearch, asked: Bound) -> Mixture:
        if asked.drop is not None:
            assert asked.labels is not None
            return search.within_drop(asked.drop, asked.data, asked.labels)
        assert asked.snr is not None
        return search.within_snr(asked.snr)

    def _stricter(self, mixture: Mixture, quality: Quality, factor: float) -> Bound:
        """What to ask of QDQ form so that an artifact which differs from it as this one does keeps the bound.

        It excludes the assignment that was tried. The difference counts twice as much each time, so this ends.
        """
        if quality.drop is not None and mixture.drop is not None and self.bound.drop is not None:
            more = quality.drop.bound - mixture.drop.bound
            return replace(self.bound, drop=min(self.bound.drop - factor * more, math.nextafter(mixture.drop.bound, 0)))
        assert self.bound.snr is not None
        shown = mixture.point.measured_snr
        more = self.bound.snr + factor * (shown - quality.snr_db)
        return replace(self.bound, snr=max(more, math.nextafter(shown, math.inf)))

    def _note(self, search: PrecisionSearch, point: Point, basis: str, quality: Quality) -> None:
        """Keep what a choice of layers was measured to lose; layers that cannot be faster are in float anyway."""
        offered = {choice.layer for choice in search.problem.choices if len(choice.options) > 1}
        in_float = [name for name, scheme in point.schemes.items() if scheme == FLOAT and name in offered]
        found = {"in_float": in_float, "basis": basis, "keeps": quality.keeps(self.bound), **quality.to_dict()}
        if found not in self.tries:
            self.tries.append(found)

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

    def _latency(self, names: Collection[str], place: Path) -> dict[str, Any]:
        """Seconds of the quantized artifact and of one in float: measured here, where the options allow that.

        Predicted for another machine, and where nothing may be measured: what is decided repeats then.
        """
        folders = place / "quantized", self._compile((), place, place / "float")
        if self._runs_here and self.options.budget != 0.0:
            with suppress(UsageError):  # inputs that cannot be made up
                return _seconds("measured", *self._measured(*folders))
        costs = [read(each, check_host=False).manifest.cost for each in folders]
        if not all("predicted_seconds" in cost for cost in costs):
            return {}
        return _seconds("predicted", *(float(cost["predicted_seconds"]) for cost in costs))

    def _measured(self, first: Path, second: Path) -> tuple[float, float]:
        """The seconds of two artifacts, kept in the cache: the same code is not timed, and judged otherwise, again."""
        key = json.dumps(["latency", _code(first), _code(second), self.options.threads or self._target.cores])

        def measure() -> bytes:
            with ExitStack() as stack:
                pair = [stack.enter_context(load(each, threads=self.options.threads)) for each in (first, second)]
                return json.dumps(_in_turn(*pair)).encode()

        integer, real = json.loads(cache.made("measured", key, measure))
        return integer, real

    def _record(
        self, names: Collection[str], quality: Quality | None, met: bool, latency: Mapping[str, Any]
    ) -> dict[str, Any]:
        layers = [
            {
                "name": layer.name,
                "precision": self.scheme if layer.name in names else "float",
                "reason": self.reasons.get(layer.name, ""),
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
            "data": Path(self.bound.data.label).name,  # wherever it lies
            "samples": self.bound.data.samples,
            "quality": None if quality is None else quality.to_dict(),
            "latency": dict(latency),
            "constant": list(self.quantizer.calibration.constant),
            "tries": self.tries,
        }


def _code(folder: Path) -> dict[str, str]:
    """The hashes of what an artifact's run executes and reads."""
    files = read(folder).manifest.files
    return {name: entry.sha256 for name, entry in files.items() if name in (LIBRARY, WEIGHTS) or name.endswith(".onnx")}


def _seconds(basis: str, integer: float, real: float) -> dict[str, Any]:
    return {"int8_seconds": integer, "float_seconds": real, "basis": basis}


def _in_turn(first: Artifact, second: Artifact) -> tuple[float, float]:
    """The least medians of two artifacts, measured in turn so that the machine's state favours neither."""
    times: tuple[list[float], list[float]] = ([], [])
    for _ in range(ROUNDS):
        for artifact, found in zip((first, second), times, strict=True):
            found.append(bench(artifact, seconds=ROUND_SECONDS).median)
    return min(times[0]), min(times[1])


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
    return Deployment(quantizer, plan, options, Bound(data, snr, drop, labels), model).run(folder)


def _require_float(model: str) -> None:
    path = Path(model)
    if path.is_file() and path.suffix == ".onnx" and is_quantized(path):
        raise ModelError(
            "the model is quantized already",
            where=model,
            hint="leave out --calib: optc compile runs quantized models in integers by itself",
        )
