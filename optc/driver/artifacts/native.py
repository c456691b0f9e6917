"""The artifact of native code: kernels, entry point and runtime linked into one library, and the weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from optc import artifact
from optc.backends.host.entry import emit_entry
from optc.backends.host.guard import Guard, guard_of
from optc.backends.host.link import HEADER, link
from optc.backends.host.platform import CUDA, POSIX, Platform, platform_of
from optc.costmodel.interface import Estimate
from optc.driver.artifacts.packages import package_files
from optc.driver.artifacts.product import Job, Product
from optc.driver.options import CompileOptions
from optc.driver.program.assembly import Assembly
from optc.driver.program.fallbacks import emit_regions
from optc.driver.program.fit import fitted
from optc.driver.program.lowering import Lowered, lower
from optc.driver.program.weight_compression import stored_weights
from optc.driver.program.weight_stream import plan_weights
from optc.driver.records.decisions import cost, decisions
from optc.driver.records.levels import levels_record
from optc.driver.records.memory import check_limit
from optc.driver.records.precision import precision_record, precision_summary
from optc.driver.records.step_facts import kernel_candidates, kernel_estimates, kernel_weights
from optc.driver.verification.emulation import Linkable
from optc.errors import UsageError
from optc.ir.core import Module
from optc.ir.printer import print_module
from optc.passes.base import PassContext
from optc.targets.foreign import compiler_for
from optc.targets.target import Target


def native_product(job: Job) -> Product:
    """Plan, lower and link a model.

    Raises:
        LimitError: the arena exceeds the limit.
    """
    backend, target, options = job.backend, job.target, job.options
    packages = package_files(job.module, target)
    found = fitted(job.module, job.pipeline, options, job.plan, lambda each: lower(each, backend, target, options))
    check_limit(found.lowered.assembly, options.memory_limit)
    options.progress("linking", 0, 1)
    return linked(job.name, found.module, found.lowered, found.context, target, options, packages)


def linked(
    name: str,
    module: Module,
    lowered: Lowered,
    context: PassContext,
    target: Target,
    options: CompileOptions,
    packages: Mapping[str, bytes],
) -> Product:
    """The library of a lowered module, and all that the artifact says about it; `packages` go with it as they are."""
    assembly = lowered.assembly
    platform = platform_of(target)
    candidates = kernel_candidates(assembly)
    estimates = kernel_estimates(assembly, context, target, candidates)
    guard = _guard(assembly, estimates, target, options)
    streamed = plan_weights(assembly, estimates, target, options)
    stream = streamed.stream if streamed else None
    stored = stored_weights(assembly, options)
    program = assembly.program if stored is None else replace(assembly.program, weights_stored=stored.bytes)
    entry = emit_entry(program, name, options.threads or platform.threads, guard, stream)
    linkable = _linkable(entry, platform, lowered, target, options)
    planned = decisions(context, lowered, estimates, options.threads or target.cores) | precision_record(options)
    stated = cost(lowered, estimates) | precision_summary(options)
    if context.cost_model is not None:
        weights, arena = kernel_weights(assembly), assembly.plan.arena_bytes
        stated |= levels_record(context.cost_model, candidates, estimates, target, weights, arena)
    if streamed is not None:
        planned |= {"weight_stream": streamed.plan}
        stated |= {"weight_stream": streamed.cost}
    if stored is not None:
        stated |= {"weights_stored": stored.bytes}
    extra = {**platform.shipped(), **packages}
    if platform is CUDA:
        from optc.driver.artifacts.cuda import kernel_sources
        from optc.driver.records.gpu import gpu_cost, launch_record

        extra |= kernel_sources(lowered)
        planned |= launch_record(lowered)
        stated |= gpu_cost(lowered, estimates, target, options, context)
    contents = artifact.Contents(
        program=program,
        target=target.name,
        host=artifact.requirements_of(target),
        library=link(linkable.entry, linkable.objects, compiler_for(target), platform),
        library_name=platform.library,
        header=platform.sources()[HEADER].encode(),
        weights=assembly.weights.chunks if stored is None else stored.pieces,
        module=print_module(module),
        decisions=planned,
        fallbacks=emit_regions(assembly),
        cost=stated,
        extra=extra,
        command=options.command or "",
    )
    return Product(contents, linkable)


def _guard(assembly: Assembly, estimates: Sequence[Estimate], target: Target, options: CompileOptions) -> Guard | None:
    """Sums of the weights, where the options ask for them."""
    if not options.guard_weights:
        return None
    if platform_of(target) is not POSIX:
        raise UsageError(
            "weights are guarded only on processors under Linux or macOS",
            where=f"--guard-weights with --target {target.name}",
        )
    seconds = sum(estimate.seconds for estimate in estimates)
    return guard_of(assembly.weights.chunks, seconds, target.memory_bandwidth)


def _linkable(entry: str, platform: Platform, lowered: Lowered, target: Target, options: CompileOptions) -> Linkable:
    """The entry point with the kernels' object files; those of a GPU are launched by one that holds them all."""
    if platform is CUDA:
        from optc.driver.artifacts.cuda import gpu_linkable

        return gpu_linkable(entry, lowered, target, options)
    return Linkable(entry, [kernel.object_code for kernel in lowered.kernels])
