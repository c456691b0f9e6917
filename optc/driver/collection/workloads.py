"""The kernels to measure: fused groups of models and random networks, under several ways of fusing and laying out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.backends.interface import KernelBackend
from optc.backends.tvm.group import Group
from optc.costmodel.kernels.schema import digest
from optc.driver.collection.networks import random_network
from optc.driver.compile import plan
from optc.driver.lowering import FUSED, group_of
from optc.driver.options import CompileOptions
from optc.driver.pipeline import PIPELINE
from optc.errors import OptcError
from optc.frontends import load_model
from optc.ir.core import CONSTANT, Graph, Module
from optc.ir.parser import parse_module
from optc.ir.printer import canonical_text
from optc.ops.declaration import Kind, declaration_of
from optc.targets.target import Target

_UNBLOCKED = PIPELINE.replace(",layout,", ",")
_APART = PIPELINE.replace(",fuse-blocks", "")
PIPELINES = (
    PIPELINE,
    _APART.replace(",fuse,", ",fuse{max-operations=1},"),
    _UNBLOCKED,
    _APART,
    _APART.replace(",fuse,", ",fuse{max-operations=2},"),
    _UNBLOCKED.replace(",fuse-blocks", "").replace(",fuse,", ",fuse{max-operations=1},"),
    _APART.replace(",fuse,", ",fuse{max-operations=3},"),
)
"""The standard pipeline first; the others make the groups that passes compare with its own."""


@dataclass(frozen=True)
class KernelWorkload:
    """A group as plain data.

    Attributes:
        ir: its canonical text.
        constants: positions of its constant inputs.
        source: the model it comes from, or `random`.
    """

    ir: str
    constants: tuple[int, ...]
    source: str

    @property
    def key(self) -> str:
        """Equal for equal kernels."""
        return workload_digest(self.ir, self.constants)

    def group(self) -> Group:
        """The group itself. Raises OptcError where the text holds arrays by reference only."""
        return parsed_group(self.ir, self.constants)


def workload_digest(ir: str, constants: Sequence[int]) -> str:
    """See `KernelWorkload.key`."""
    return digest(ir, sorted(constants))[:32]


def parsed_group(ir: str, constants: Sequence[int]) -> Group:
    """The group that a canonical text describes."""
    return Group(parse_module(f"module @workload {{\n{ir}}}\n").main, frozenset(constants))


def workload_class(graph: Graph) -> str:
    """Equal for groups whose largest operations have the same kind, logical shapes and attributes.

    Layouts, element-wise neighbours and scalars make no difference: kernels of one class take similar times, so a
    predictor must not be tested on classes that it was trained on.
    """
    operations = [operation for operation in graph if operation.name != CONSTANT]
    heavy = [each for each in operations if declaration_of(each.name).kind in _HEAVY] or operations
    described = []
    for operation in heavy:
        shapes = [value.tensor_type.shape for value in (*operation.present_operands, *operation.results)]
        described.append((operation.name, shapes, sorted(operation.attributes.items(), key=str)))
    return digest(described)[:16]


_HEAVY = (Kind.CONTRACTION, Kind.WINDOW, Kind.REDUCTION)


def workloads_of(module: Module, source: str) -> list[KernelWorkload]:
    """The fused groups of a planned module, in order, repeated where the module repeats them."""
    found = []
    for operation in module.walk():
        if operation.name == FUSED:
            group = group_of(operation)
            found.append(KernelWorkload(canonical_text(group.body), tuple(sorted(group.constants)), source))
    return found


def planned(
    model: Any, backend: KernelBackend, target: Target, pipeline: str, shapes: Mapping[str, Sequence[int]] | None = None
) -> Module:
    """A model after the passes. Raises OptcError where it cannot be read or planned."""
    module = load_model(model, dict(shapes) if shapes else None, None, None).module
    plan(module, backend, target, CompileOptions(passes=pipeline, threads=1, budget=0.0))
    return module


@dataclass(frozen=True)
class NamedModel:
    """A model file with the shapes to bind."""

    name: str
    path: str
    shapes: Mapping[str, Sequence[int]]


def sample(
    models: Sequence[NamedModel], backend: KernelBackend, target: Target, seed: int, *, random_networks: bool = True
) -> Iterator[KernelWorkload]:
    """Distinct workloads: those of the models, then random ones without end if wanted.

    Each model's standard groups come first; afterwards its other groups alternate with those of random networks.
    """
    seen: set[str] = set()

    def new(workloads: Sequence[KernelWorkload]) -> Iterator[KernelWorkload]:
        for workload in workloads:
            if workload.key not in seen:
                seen.add(workload.key)
                yield workload

    def of(model: NamedModel, pipeline: str) -> list[KernelWorkload]:
        try:
            return workloads_of(planned(model.path, backend, target, pipeline, model.shapes), model.name)
        except OptcError:
            return []

    for model in models:
        yield from new(of(model, PIPELINES[0]))
    others = [(model, pipeline) for pipeline in PIPELINES[1:] for model in models]
    random.Random(seed).shuffle(others)
    if not random_networks:
        for model, pipeline in others:
            yield from new(of(model, pipeline))
        return
    following = iter(others)
    for number in itertools.count():
        pair = next(following, None) if number % 4 == 3 else None
        if pair is not None:
            yield from new(of(*pair))
            continue
        generator = random.Random(f"{seed}/{number}")
        pipeline = generator.choices(PIPELINES, (6, 3, 2, 3, 1, 2, 1))[0]
        try:
            module = planned(random_network(generator.randrange(1 << 40)), backend, target, pipeline)
        except OptcError:
            continue
        yield from new(workloads_of(module, "random"))
