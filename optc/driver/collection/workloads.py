"""The kernels to measure: fused groups of models and random networks, under several ways of fusing and laying out."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optc.backends.interface import KernelBackend
from optc.backends.tvm.group import Group
from optc.costmodel.kernels.schema import digest
from optc.driver.collection.exploration import Exploring
from optc.driver.collection.networks import random_network
from optc.driver.context import pass_context
from optc.driver.pipeline import PIPELINE
from optc.driver.program.lowering import FUSED, group_of
from optc.errors import OptcError
from optc.frontends import load_model
from optc.ir.core import CONSTANT, Graph, Module
from optc.ir.parser import parse_module
from optc.ir.printer import canonical_text
from optc.ops.declaration import Kind, declaration_of
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline
from optc.targets.target import Target

_UNBLOCKED = PIPELINE.replace(",layout,", ",")
_APART = PIPELINE.replace(",fuse-blocks", "")
VARIANTS: tuple[tuple[str, float], ...] = (
    (PIPELINE, 0.0),
    (PIPELINE, 0.6),
    (_APART, 1.2),
    (_APART.replace(",fuse,", ",fuse{max-operations=1},"), 0.0),
    (PIPELINE, 1.0),
    (_UNBLOCKED, 0.6),
    (_APART, 0.0),
    (_APART, 0.8),
    (_UNBLOCKED.replace(",fuse-blocks", "").replace(",fuse,", ",fuse{max-operations=1},"), 0.0),
)
"""Pipelines, the standard one first, with the spread of the errors that their cost model makes (see `Exploring`).

The others make the groups that passes compare with the standard one's.
"""


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
    model: Any,
    backend: KernelBackend,
    target: Target,
    pipeline: str,
    shapes: Mapping[str, Sequence[int]] | None = None,
    exploration: tuple[float, int] = (0.0, 0),
) -> Module:
    """A model after the passes; `exploration` is the spread and the seed of the errors of the cost model they ask.

    Raises:
        OptcError: the model cannot be read or planned.
    """
    module = load_model(model, dict(shapes) if shapes else None, None, None).module
    context = pass_context(target, backend, 1, "analytical")
    if exploration[0] and context.cost_model is not None:
        context.cost_model = Exploring(context.cost_model, *exploration)
    run_pipeline(module, parse_pipeline(pipeline), context)
    return module


Note = Callable[[str, int, Sequence[KernelWorkload]], None]


@dataclass(frozen=True)
class NamedModel:
    """A model file with the shapes to bind."""

    name: str
    path: str
    shapes: Mapping[str, Sequence[int]]


def sample(
    models: Sequence[NamedModel],
    backend: KernelBackend,
    target: Target,
    seed: int,
    *,
    random_networks: bool = True,
    note: Note | None = None,
) -> Iterator[KernelWorkload]:
    """Distinct workloads: those of the models, then random ones without end if wanted.

    Each model's standard groups come first; afterwards its other groups alternate with those of random networks.
    `note` is told each model's name, the number of the variant, and the groups in the order of the model.
    """
    seen: set[str] = set()

    def new(workloads: Sequence[KernelWorkload]) -> Iterator[KernelWorkload]:
        for workload in workloads:
            if workload.key not in seen:
                seen.add(workload.key)
                yield workload

    def of(model: NamedModel, number: int) -> list[KernelWorkload]:
        pipeline, exploration = VARIANTS[number]
        try:
            module = planned(model.path, backend, target, pipeline, model.shapes, (exploration, seed + number))
        except OptcError:
            return []
        found = workloads_of(module, model.name)
        if note is not None:
            note(model.name, number, found)
        return found

    for model in models:
        yield from new(of(model, 0))
    others = [(model, number) for number in range(1, len(VARIANTS)) for model in models]
    random.Random(seed).shuffle(others)
    if not random_networks:
        for model, number in others:
            yield from new(of(model, number))
        return
    following = iter(others)
    for number in itertools.count():
        pair = next(following, None) if number % 4 == 3 else None
        if pair is not None:
            yield from new(of(*pair))
            continue
        generator = random.Random(f"{seed}/{number}")
        pipeline, exploration = generator.choice(VARIANTS)
        network = random_network(generator.randrange(1 << 40))
        try:
            module = planned(network, backend, target, pipeline, None, (exploration, number))
        except OptcError:
            continue
        yield from new(workloads_of(module, "random"))
