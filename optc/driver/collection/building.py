"""Build a workload's points into one shared library; runs in a worker process, which may crash or hang."""

from __future__ import annotations

import json
import random
import tempfile
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

from optc.backends.tvm import templates as _templates  # noqa: F401  (registers the templates)
from optc.backends.tvm.codegen import compile_kernels
from optc.backends.tvm.group import Group
from optc.backends.tvm.template import Choice, KernelDefinition, templates_for
from optc.backends.tvm.tuning.candidates import ranked
from optc.backends.tvm.tuning.measure import LAUNCH
from optc.costmodel.interface import Candidate
from optc.costmodel.kernels.features import WorkloadFeatures
from optc.costmodel.kernels.schema import row_key
from optc.driver.collection import timing
from optc.driver.collection.code_version import code_of
from optc.driver.collection.workloads import KernelWorkload, workload_class
from optc.ops.declaration import declaration_of
from optc.targets.target import Target
from optc.toolchain import find_compiler

MOST_BYTES = 1 << 29  # of a workload's buffers

Buffers = list[tuple[list[int], str, bool]]
"""(stored shape, element type, constant) of each argument of a kernel."""

Link = Callable[[Mapping[str, bytes], Mapping[str, Buffers], Path], None]
"""Makes a file that times kernels, from the object files and the buffers of each symbol."""


@dataclass(frozen=True)
class Point:
    """One built kernel.

    Attributes:
        key: of its row.
        template: its template.
        schedule: as JSON.
        code: see `Row.code`.
        estimate: the template's own seconds.
        best: the least of them in the template's space.
        symbol: of its function in the library; empty where it could not be built.
        buffers: of its arguments.
    """

    key: str
    template: str
    schedule: str
    code: str
    estimate: float
    best: float
    symbol: str
    buffers: Buffers


@dataclass(frozen=True)
class Prepared:
    """A workload with its facts and its built points; `library` is the file that a `Link` made."""

    workload: KernelWorkload
    workload_class: str
    features: list[float]
    roofline: float
    flops: int
    bytes: int
    library: str
    points: list[Point]


def choose_points(group: Group, target: Target, count: int, seed: str) -> list[tuple[float, Choice]]:
    """Of all points that compete for a group those with the least estimates, half of `count`, and random ones."""
    found = templates_for(group, target)
    if isinstance(found, str):
        return []
    points = ranked(found, group, target)
    if len(points) <= count:
        return points
    first = points[: count // 2]
    for template in found:
        first += [next(each for each in points if each[1].template is template)]
    chosen = list(dict.fromkeys(first))
    rest = [each for each in points if each not in set(chosen)]
    return chosen + random.Random(seed).sample(rest, max(0, min(len(rest), count - len(chosen))))


def prepare(
    workload: KernelWorkload, target: Target, fingerprint: str, known: Set[str], count: int, folder: Path, link: Link
) -> Prepared | None:
    """Build the points of a workload that are not known yet; None where there are none.

    Args:
        workload: the group.
        target: the machine.
        fingerprint: of the machine.
        known: keys of rows that exist.
        count: points to choose.
        folder: gets the library.
        link: makes it.
    """
    group = workload.group()
    candidate = Candidate.of_graph(group.body, group.constants)
    features = WorkloadFeatures(target)
    (vector,), (roofline,) = features.vectors([candidate]), features.rooflines([candidate])
    values = (*candidate.inputs, *candidate.outputs)
    moved = sum(value.tensor_type.bytes for value in values)
    if moved > MOST_BYTES:
        return None
    points: list[Point] = []
    objects: dict[str, bytes] = {}
    chosen = choose_points(group, target, count, workload.key)
    best: dict[str, float] = {}
    for seconds, choice in chosen:
        best[choice.template.name] = min(seconds, best.get(choice.template.name, seconds))
    for seconds, choice in chosen:
        schedule = json.dumps(dict(choice.schedule), sort_keys=True)
        code = code_of(choice.template)
        key = row_key(fingerprint, workload.key, choice.template.name, schedule, code)
        if key in known:
            continue
        symbol, buffers = f"kernel{len(points)}", []
        try:
            definition = choice.template.build(group, choice.schedule, target)
            buffers = _buffers(definition, group)
            objects[symbol] = compile_kernels({symbol: definition.function}, target)
        except Exception:  # a point that cannot be built is a fact worth a row, and costs no other one
            symbol = ""
        template = choice.template.name
        points.append(Point(key, template, schedule, code, seconds, best[template], symbol, buffers))
    if not points:
        return None
    library = str(folder / workload.key)
    if objects:
        link(objects, {point.symbol: point.buffers for point in points if point.symbol}, Path(library))
    flops = sum(declaration_of(operation.name).flops(operation) for operation in candidate.operations)
    return Prepared(workload, workload_class(group.body), vector, roofline, flops, moved, library, points)


def build_choices(
    group: Group, target: Target, choices: Sequence[Choice], folder: Path
) -> tuple[str, dict[int, Buffers]] | None:
    """A library of some schedules: its path, and the buffers of `kernel{number}` for those that build."""
    objects: dict[str, bytes] = {}
    buffers = {}
    for number, choice in enumerate(choices):
        try:
            definition = choice.template.build(group, choice.schedule, target)
            objects[f"kernel{number}"] = compile_kernels({f"kernel{number}": definition.function}, target)
        except Exception:  # another point may do
            continue
        buffers[number] = _buffers(definition, group)
    if not objects:
        return None
    library = folder / "kernels.so"
    link_library(objects, {f"kernel{number}": each for number, each in buffers.items()}, library)
    return str(library), buffers


def _buffers(definition: KernelDefinition, group: Group) -> Buffers:
    return [
        ([int(extent) for extent in each.shape], str(each.dtype), position in group.constants)
        for position, each in enumerate(definition.function.params)
    ]


def link_library(objects: Mapping[str, bytes], buffers: Mapping[str, Buffers], library: Path) -> None:
    """A shared library for `timing.time_library` on this machine; a `Link`."""
    with tempfile.TemporaryDirectory(prefix="optc-collect-") as temporary:
        folder = Path(temporary)
        names = []
        for symbol, code in objects.items():
            (folder / f"{symbol}.o").write_bytes(code)
            names.append(f"{symbol}.o")
        (folder / "timing.o").write_bytes(timing_object())
        find_compiler().run(["-shared", "-o", "all.so", *names, "timing.o", "-lm"], folder)
        library.write_bytes((folder / "all.so").read_bytes())


@lru_cache(maxsize=1)
def timing_object() -> bytes:
    """The compiled timing loop. Call it once before workers are forked."""
    with tempfile.TemporaryDirectory(prefix="optc-collect-") as temporary:
        folder = Path(temporary)
        (folder / "timing.c").write_text(timing_text(), encoding="utf-8")
        find_compiler().run(["-std=gnu11", "-O2", "-fPIC", "-c", "timing.c", "-o", "timing.o"], folder)
        return (folder / "timing.o").read_bytes()


def timing_text() -> str:
    """The C source of the timing loop."""
    return LAUNCH + filled(resources.files("optc.driver.collection").joinpath("timing.c").read_text(encoding="utf-8"))


def filled(text: str) -> str:
    """A C source with what `timing` says in the places that it leaves open."""
    for name in timing.IN_C:
        text = text.replace(f"@{name}@", str(getattr(timing, name)))
    text = text.replace("@PARAMETERS@", ", ".join(["void*"] * timing.MOST_ARGUMENTS))
    return text.replace("@ARGUMENTS@", ", ".join(f"a[{i}]" for i in range(timing.MOST_ARGUMENTS)))
