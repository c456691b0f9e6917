"""From a model to the folder of its split: both whole models, the halves of each cut, and split.json."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from optc import targets
from optc.artifact.split_reading import read_record
from optc.artifact.split_record import (
    LOCAL,
    MODEL,
    REMOTE,
    CutTensor,
    Half,
    Predicted,
    SplitRecord,
    Way,
    half_digest,
    write_record,
)
from optc.backends.interface import Progress, silent
from optc.driver.compile import require_static_inputs, write_artifact
from optc.driver.options import CompileOptions, check_threads, parse_budget, parse_size
from optc.driver.quantization.data import FEWEST, Data
from optc.driver.quantization.running import Runner
from optc.driver.split.bottlenecks import bottleneck
from optc.driver.split.fitting import Fitted, Sides, check_private, fit, judged
from optc.driver.split.halves import Cut, cut
from optc.driver.split.interface import info_of, interface, typed
from optc.driver.split.plan import (
    INPUTS,
    PlannedWay,
    SplitPlan,
    coding_seconds_per_byte,
    plan_split,
    with_trained,
)
from optc.driver.split.quality import noise_of
from optc.driver.split.sizes import RAW, Feeds, cut_tensor, encoding_of
from optc.driver.split.staging import staged
from optc.driver.split.trained import TrainedWay
from optc.errors import LimitError
from optc.frontends import load_model
from optc.frontends.loading import LoadedModel
from optc.ir.core import Module
from optc.ops.onnx_export import to_onnx_model
from optc.runtime.random_inputs import random_inputs
from optc.targets.link import Link

_SIZED, _JUDGED = 16, 512  # batches that the bytes, and the noise, of coded values are measured on


@dataclass(frozen=True)
class SplitOptions:
    """The options of a split; see `plan_split` for those of the plan and `optc.compile` for those of the compile.

    Attributes:
        calib: samples that the bytes and the noise of coded values are measured on; None for a random input.
        max_drop: share of the samples of `calib` whose answer may change by the coding; what changes more is not built.
        preprocessing: of pictures among the samples.
        bottlenecks: ways with trained halves: each a `TrainedWay`, or what `bottleneck` reads.
        beyond: a next tier's target: the server's halves are split themselves, between the server and it.
        beyond_link: between the server and the next tier.
    """

    device: str
    server: str = "cpu"
    link: Link = field(default_factory=lambda: Link("link"))
    objective: str = "latency"
    encodings: tuple[str, ...] = ("q8",)
    private: tuple[str, ...] = ()
    memory_limit: str | int | None = None
    cuts: int = 3
    calib: Any = None
    preprocessing: Any = None
    max_drop: float | None = None
    bottlenecks: tuple[Any, ...] = ()
    beyond: str | None = None
    beyond_link: Link | None = None
    shapes: Mapping[str, Sequence[int]] = field(default_factory=dict)
    dims: Mapping[str, int] = field(default_factory=dict)
    device_threads: int | None = None
    server_threads: int | None = None
    tune: str | float = "auto"
    cost_model: str = "auto"
    verify: bool = True
    command: str = ""
    progress: Progress = silent

    @property
    def sides(self) -> Sides:
        """Where halves run, and what prices them."""
        return Sides(self.device, self.server, self.device_threads, self.server_threads, self.cost_model)


Train = Callable[[SplitPlan, LoadedModel], Sequence[TrainedWay]]
"""Makes trained halves for the cuts of a plan."""


@dataclass(frozen=True)
class Prepared:
    """A model with its plan, and the samples to judge it on."""

    loaded: LoadedModel
    plan: SplitPlan
    batches: tuple[Feeds, ...]
    basis: str


def prepare_split(model: Any, options: SplitOptions) -> Prepared:
    """Load a model and plan its split; nothing is compiled.

    Raises:
        ModelError, UsageError, LimitError: see `load_model` and `plan_split`.
    """
    check_threads(options.device_threads)
    loaded = load_model(model, dict(options.shapes) or None, dict(options.dims) or None)
    require_static_inputs(loaded.module)
    graph = loaded.module.main
    if options.calib is None:
        infos = [info_of(value.name, value.tensor_type) for value in graph.inputs]
        batches: tuple[Feeds, ...] = (random_inputs(infos),)
        basis = "a random input"
    else:
        data = Data(options.calib, graph.inputs, limit=None, preprocessing=options.preprocessing)
        batches = tuple(feeds for _, feeds in zip(range(_JUDGED), data.batches(), strict=False))
        basis = f"{len(batches)} batches of {data.label}"
    options.progress("planning", 0, 1)
    plan = plan_split(
        loaded.module,
        device=options.device,
        server=options.server,
        link=options.link,
        batches=batches[:_SIZED],
        objective=options.objective,
        encodings=options.encodings,
        private=options.private,
        memory_limit=parse_size(options.memory_limit),
        cuts=options.cuts,
        device_threads=options.device_threads,
        server_threads=options.server_threads,
        cost_model=options.cost_model,
    )
    return Prepared(loaded, _with_bottlenecks(plan, options, batches, basis), batches, basis)


def _with_bottlenecks(plan: SplitPlan, options: SplitOptions, batches: Sequence[Feeds], basis: str) -> SplitPlan:
    """The plan with the trained ways that the options name."""
    fitted: list[Fitted] = []
    inputs, outputs = interface(plan.module.main)
    slowness = coding_seconds_per_byte(targets.load(plan.device).memory_bandwidth)
    hidden = [info.name for info in inputs if INPUTS in options.private]
    samples = options.calib is not None
    for number, each in enumerate(options.bottlenecks):
        options.progress("fitting trained ways", number, len(options.bottlenecks))
        given = bottleneck(each, plan.module.main.inputs, batches, options.encodings[0], samples)
        if given.name in {other.name for other in fitted}:
            given = replace(given, name=f"{given.name}-{number + 1}")
        way = fit(given, inputs, outputs, options.sides, slowness)
        check_private(way, (*hidden, *options.private))
        fitted.append(judged(way, plan.module, batches, basis) if samples else way)
    return with_trained(plan, fitted)


def build_split(prepared: Prepared, options: SplitOptions, output: Path, train: Train | None = None) -> SplitRecord:
    """Compile the ways of a plan into a folder; nothing is left there when it fails.

    Args:
        prepared: by `prepare_split` with the same options.
        options: of the split.
        output: the folder.
        train: makes further ways, with trained halves.

    Raises:
        OptcError: a half cannot be compiled, or the folder holds something else.
        LimitError: no way keeps `max_drop`.
    """
    plan, module = prepared.plan, prepared.plan.module
    trained = train(plan, prepared.loaded) if train is not None else ()
    with staged(output) as folder:
        builder = _Builder(folder, options, len(plan.ways) + len(trained), prepared.batches)
        ways: list[Way] = []
        for placement in dict.fromkeys(way.placement for way in plan.plain):
            same = [way for way in plan.plain if way.placement == placement]
            parts = cut(module, plan.operations(same[0]))
            ways += _ways(builder, prepared, parts, same, options)
        ways += [builder.trained(way.fitted) for way in plan.ways if way.fitted is not None]
        inputs, outputs = interface(module.main)
        ways += [builder.trained(fit(each, inputs, outputs, options.sides)) for each in trained]
        kept = [way for way in ways if options.max_drop is None or not (way.drop or 0.0) > options.max_drop]
        if not kept:
            least = min(way.drop or 0.0 for way in ways)
            raise LimitError(
                "no way keeps the accuracy that was asked for",
                why=f"at most {100 * options.max_drop:g}% may change, and {100 * least:.2f}% do"  # type: ignore[operator]
                f" on {prepared.basis}",
                hint="--encoding lossless, or a larger --max-drop",
            )
        names = [way.name for way in kept]
        best = plan.chosen.name
        if best not in names or builder.server_seconds:
            best = _cheapest(plan, kept)
        record = SplitRecord(
            model=prepared.loaded.name,
            source=_source_digest(prepared.loaded),
            device=targets.load(plan.device).name,
            server=targets.load(plan.server).name,
            idle_watts=plan.conditions.idle_watts,
            link=plan.link.to_dict(),
            objective=plan.objective,
            inputs=inputs,
            outputs=outputs,
            ways=tuple(kept),
            chosen=best,
            command=options.command,
        )
        write_record(folder, record)
    return record


def add_ways(folder: Path, trained: Sequence[TrainedWay], options: SplitOptions) -> SplitRecord:
    """Compile trained halves into a folder that `build_split` made; both sides need the new split.json then.

    Raises:
        OptcError: the folder holds no split model, or a half cannot be compiled.
    """
    record = read_record(folder)
    builder = _Builder(folder, options, len(trained))
    ways = [builder.trained(fit(each, record.inputs, record.outputs, options.sides)) for each in trained]
    names = {way.name for way in ways}
    record = replace(record, ways=(*(way for way in record.ways if way.name not in names), *ways))
    write_record(folder, record)
    return record


class _Builder:
    """Compiles halves into their places."""

    def __init__(self, folder: Path, options: SplitOptions, count: int, batches: Sequence[Feeds] = ()) -> None:
        self.folder = folder
        self.batches = batches
        self.options = options
        self.count = count
        self.done = 0
        self.server_seconds: dict[str, float] = {}  # of halves that are split themselves, by folder

    def half(self, module: Module, place: str, target: str, threads: int | None) -> Half:
        """Compile a module, or write it as ONNX where optc makes no code for the target."""
        self.options.progress(f"compiling {place}", self.done, self.count)
        proto = to_onnx_model(module)
        inputs, outputs = interface(module.main)
        path = self.folder / place
        known = targets.load(target)
        if not known.backends:
            path.mkdir(parents=True)
            (path / MODEL).write_bytes(proto.SerializeToString())
            return Half(place, "onnx", known.name, inputs, outputs, half_digest(path, "onnx"))
        options = CompileOptions(
            target=target,
            threads=threads,
            budget=parse_budget(self.options.tune),
            cost_model=self.options.cost_model,
            verify=self.options.verify,
            command=self.options.command or None,
            progress=self.options.progress,
        )
        write_artifact(proto, options, path)
        return Half(place, "native", known.name, inputs, outputs, half_digest(path, "native"))

    def halves(self, name: str, parts: Cut) -> tuple[Half | None, Half | None]:
        """Both halves of a cut in the folders of the way called `name`."""
        near, far = (name, name) if name in (LOCAL, REMOTE) else (f"cuts/{name}/device", f"cuts/{name}/server")
        options = self.options
        device = server = None
        if parts.device is not None and name != REMOTE:
            device = self.half(parts.device, near, options.device, options.device_threads)
        if parts.server is not None and options.beyond is not None:
            server = self.tiers(parts, far)
        elif parts.server is not None:
            server = self.half(parts.server, far, options.server, options.server_threads)
        self.done += 1
        return device, server

    def tiers(self, parts: Cut, place: str) -> Half:
        """The server's half of a cut as a split model between the server and the next tier."""
        assert parts.server is not None and self.options.beyond is not None
        options = replace(
            self.options,
            device=self.options.server,
            server=self.options.beyond,
            link=self.options.beyond_link or Link("link"),
            device_threads=self.options.server_threads,
            server_threads=None,
            objective="latency",
            calib=self._sent_values(parts),
            private=(),
            memory_limit=None,
            max_drop=None,
            bottlenecks=(),
            beyond=None,
            shapes={},
            dims={},
        )
        prepared = prepare_split(to_onnx_model(parts.server), options)
        path = self.folder / place
        path.parent.mkdir(parents=True, exist_ok=True)
        record = build_split(prepared, options, path)
        planned = next(way for way in prepared.plan.ways if way.name == record.chosen)
        self.server_seconds[place] = planned.cost.seconds
        return Half(place, "split", record.device, record.inputs, record.outputs, half_digest(path, "split"))

    def _sent_values(self, parts: Cut) -> list[Feeds] | None:
        """What the server's half reads for the samples; None where there are no samples."""
        if self.options.calib is None or len(self.batches) < FEWEST:
            return None
        names = [name for name, _ in parts.sent]
        runner = None if parts.device is None else Runner(parts.device)
        found: list[Feeds] = []
        for feeds in self.batches[:_SIZED]:
            values = dict(feeds)
            if runner is not None and parts.device is not None:
                values |= dict(zip(parts.device.main.output_names, runner.run(feeds), strict=True))
            found.append({name: values[name] for name in names})
        return found

    def trained(self, fitted: Fitted) -> Way:
        """A way with trained halves."""
        device, server = self.halves(fitted.name, fitted.parts)
        for name, content in fitted.given.files.items():
            (self.folder / "cuts" / fitted.name / name).write_bytes(content)
        way = fitted.way(device, server)
        seconds = self.far_seconds(server, way.predicted.server_seconds)
        return replace(way, predicted=replace(way.predicted, server_seconds=seconds))

    def far_seconds(self, server: Half | None, alone: float) -> float:
        """What the server's half takes, which may be split itself; `alone` where it is not."""
        return alone if server is None else self.server_seconds.get(server.folder, alone)


def _ways(
    builder: _Builder, prepared: Prepared, parts: Cut, planned: Sequence[PlannedWay], options: SplitOptions
) -> list[Way]:
    """The ways with one placement: the same halves, and a way for each encoding."""
    device, server = builder.halves(planned[0].name, parts)
    sizes = prepared.plan.sizes
    sent = [
        tuple(
            cut_tensor(value, name, encoding_of(value, way.encoding), sizes[way.encoding][value])
            for name, value in (parts.sent if server is not None else ())
        )
        for way in planned
    ]
    noises = noise_of(prepared.plan.module, parts, sent, prepared.batches) if server is not None else []
    returned = tuple(
        CutTensor(name, *typed(value.tensor_type), RAW, value.tensor_type.bytes) for name, value in parts.returned
    )
    ways = []
    for position, way in enumerate(planned):
        drop, details = None, {}
        if server is not None:
            noise = noises[position]
            details = {"encoding": way.encoding, "snr_db": noise.snr_db, "samples": prepared.basis}
            drop = noise.changed if options.calib is not None else None
        problem = prepared.plan.problems[way.encoding]
        joules = sum(task.joules for task, tier in zip(problem.tasks, way.placement, strict=True) if tier == 0)
        known = bool(targets.load(options.device).energy)
        far = builder.far_seconds(server, way.cost.computing[1])
        predicted = Predicted(way.cost.computing[0], far, joules if known else None, way.device_bytes)
        ways.append(Way(way.name, device, server, sent[position], returned, predicted, drop, details))
    return ways


def _cheapest(plan: SplitPlan, ways: Sequence[Way]) -> str:
    """The name of the best planned way among those that were kept."""
    from optc.driver.split.plan import OBJECTIVES

    known = {way.name: way for way in ways}
    planned = [way for way in plan.candidates if way.name in known] or [way for way in plan.ways if way.name in known]
    goal = OBJECTIVES[plan.objective]

    def cost(way: PlannedWay) -> float:
        # A server that is itself split takes another time than it was planned with.
        far = known[way.name].predicted
        seconds = way.cost.seconds - way.cost.computing[1] + (1 - far.leaves) * far.server_seconds
        return replace(way.cost, seconds=seconds).under(goal)

    return min(planned, key=cost).name if planned else ways[0].name


def _source_digest(loaded: LoadedModel) -> str:
    if isinstance(loaded.reference, bytes):
        return hashlib.sha256(loaded.reference).hexdigest()
    with loaded.reference.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
