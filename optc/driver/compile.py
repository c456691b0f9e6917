"""The compile: front end → passes → kernels → program → artifact → verification."""

from __future__ import annotations

import tempfile
import weakref
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc import artifact, targets
from optc.backends import kernel_backend
from optc.backends.interface import KernelBackend, Progress, silent
from optc.driver.artifacts.libraries import with_libraries
from optc.driver.artifacts.product import Job
from optc.driver.context import pass_context
from optc.driver.cost_models import AUTOMATIC, check_cost_model, cost_model, schedule_predictor
from optc.driver.flows import check_target, flow_of
from optc.driver.options import CompileOptions, check_threads, parse_budget, parse_size
from optc.driver.program.weight_compression import check_compression
from optc.driver.program.weight_stream import check_weight_memory
from optc.driver.races import Races
from optc.driver.records.origins import source_record
from optc.driver.records.potential import int8_potential
from optc.driver.verification.verify import compared_constants, verification
from optc.errors import ModelError, UsageError
from optc.frontends import load_model
from optc.ir.core import Module
from optc.ir.types import TensorType
from optc.ops.shapes import describe
from optc.passes.base import PassContext
from optc.passes.manager import run_pipeline
from optc.passes.pipeline import parse_pipeline
from optc.targets.target import Target

if TYPE_CHECKING:
    from optc.runtime import Artifact


def compile(
    model: Any,
    *,
    target: str = "cpu",
    output: str | Path | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    dims: Mapping[str, int] | None = None,
    example_inputs: Any = None,
    threads: int | None = None,
    tune: str | float = "auto",
    cost_model: str = AUTOMATIC,
    memory_limit: str | int | None = None,
    guard_weights: bool = False,
    compress_weights: bool = False,
    weight_memory: str | int | None = None,
    storage: str | int | None = None,
    verify: bool = True,
    inputs: Mapping[str, Any] | None = None,
    passes: str | None = None,
    backend: str | None = None,
    verify_each: bool = False,
    dump_ir: str | Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
    quantization: Mapping[str, Any] | None = None,
    emit: Sequence[str] = (),
    library_name: str | None = None,
) -> Artifact:
    """Compile a model into an artifact that runs natively on a target.

    Args:
        model: a path (`.onnx`, `.pt2`), an `onnx.ModelProto`, its bytes, or a PyTorch module (then `example_inputs`).
        target: a name that `optc targets` lists, or the path of a target file.
        output: the artifact's folder; without it a temporary one that lives as long as the returned object.
        shapes: per input, all its dimensions.
        dims: values for symbolic dimensions, by name.
        example_inputs: a tuple of tensors, for a PyTorch module.
        threads: threads that a run uses unless told otherwise at load; None for all cores of the target.
        tune: seconds for measuring schedules on this host (0: predict only), `"30s"`, or `"auto"`.
        cost_model: what the decisions rest on: `"analytical"`, `"learned"`, `"measured"` (minutes), or `"auto"`:
            analytical for fusion and layout, learned for schedules and for the stated latency where kernels of this
            class of machine were measured.
        memory_limit: the largest arena, in bytes or as `256K`; None for any.
        guard_weights: notice weights that change: all are checked when the model is opened, some of them in each run.
        compress_weights: keep the weights in fewer bytes, every bit as it is; they are decoded when a model is opened.
        weight_memory: the most bytes of weights in memory at once, as for `memory_limit`; the others are read from the
            artifact's folder while the model runs. None: all weights are mapped.
        storage: bytes a second that they are read with, for planning; None: as fast as main memory.
        verify: run the artifact against the source model in onnxruntime, and fail if they differ.
        inputs: what to verify with; default: random numbers.
        passes: a pipeline text that replaces the standard one.
        backend: `"onnx"` to run everything in onnxruntime; default: native code where there is some.
        verify_each: check the IR after every pass.
        dump_ir: a folder that gets the IR after every pass.
        command: what the user typed, for the manifest.
        progress: called with (what, done, total, detail).
        quantization: compute in int8 where that pays: the arguments of
            `optc.driver.quantization.deploy.compile_quantized` from `calib` on. The model must be a path then.
        emit: also write libraries with the weights inside: `"static"` or `"shared"` for the build of a program,
            `"ort-custom-op"` for onnxruntime.
        library_name: what their names begin with, a C identifier; default: the model's name.

    Returns:
        the loaded artifact: `artifact.run({name: array}) -> {name: array}`.

    Raises:
        ModelError: the model is invalid or cannot be compiled.
        UsageError: an option is wrong.
        LimitError: the arena is larger than the limit, or a step needs more weights than may be in memory.
        VerificationFailed: the outputs differ from the source model's.
    """
    from optc.runtime import load

    options = CompileOptions(
        target=target,
        output=Path(output) if output is not None else None,
        shapes=dict(shapes or {}),
        dims=dict(dims or {}),
        threads=check_threads(threads),
        budget=parse_budget(tune),
        cost_model=check_cost_model(cost_model),
        memory_limit=parse_size(memory_limit),
        guard_weights=guard_weights,
        compress_weights=compress_weights,
        weight_memory=parse_size(weight_memory),
        storage=parse_size(storage),
        verify=verify,
        inputs=inputs,
        passes=passes,
        backend=backend,
        verify_each=verify_each,
        dump_ir=Path(dump_ir) if dump_ir is not None else None,
        command=command,
        progress=progress,
        emit=tuple(emit),
        library_name=library_name,
    )

    def write(folder: Path) -> None:
        if quantization is None:
            write_artifact(model, options, folder, example_inputs)
            return
        from optc.driver.quantization.deploy import compile_quantized

        compile_quantized(model, options=options, folder=folder, **quantization)

    if options.output is not None:
        write(options.output)
        return load(options.output, threads=options.threads, runnable=False)
    holder = tempfile.TemporaryDirectory(prefix="optc-")
    folder = Path(holder.name) / "artifact"
    write(folder)
    artifact = load(folder, threads=options.threads, runnable=False)
    weakref.finalize(artifact, holder.cleanup)
    return artifact


def write_artifact(model: Any, options: CompileOptions, folder: Path, example_inputs: Any = None) -> None:
    """Compile a model into `folder`; nothing is left there when it fails. Arguments as for `compile`."""
    options.progress("importing", 0, 1)
    target = targets.load(options.target)
    if target.host:  # threads are a processor's: all of an accelerator runs
        options = replace(options, threads=None)
    target = with_threads(target, options.threads)
    backend = kernel_maker(target, options)
    flow = flow_of(backend)
    check_weight_memory(target, options)
    check_compression(target, options)
    loaded = load_model(model, options.shapes or None, options.dims or None, example_inputs)
    module = loaded.module
    probes = compared_constants(module)
    require_static_inputs(module)
    origins = {"source": source_record(module), "int8_potential": int8_potential(module, target)}

    def planned(each: Module, chosen: CompileOptions) -> PassContext:
        return plan(each, backend, target, chosen)

    with artifact.stage(folder) as staging:
        job = Job(loaded.name, module, backend, target, options, flow.pipeline, planned)
        product = flow.make(job)
        contents = replace(product.contents, decisions={**product.contents.decisions, **origins})
        staging.fill(with_libraries(contents, product.linkable, loaded.name, target, options))
        if options.verify:
            options.progress("verifying", 0, 1)
            if options.inputs is None:
                options = replace(options, inputs=product.probes)
            result = verification(staging.folder, product, target, loaded.reference, options, probes)
            staging.annotate(verification=result)
        staging.commit()


def with_threads(target: Target, threads: int | None) -> Target:
    """The target with at least as many cores as the user wants threads: this process may be pinned to fewer."""
    return replace(target, cores=max(target.cores, threads or 1))


def kernel_maker(target: Target, options: CompileOptions) -> KernelBackend | None:
    """The backend that makes kernels, or None where all runs in onnxruntime.

    Raises:
        UsageError: the backend is unknown or not for such targets, or the target has none yet.
    """
    if not target.backends:
        raise UsageError(
            f"optc cannot emit code for '{target.name}' yet",
            why="the target file holds its hardware figures only",
            hint="`optc targets` says what each target can do today",
        )
    name = options.backend or target.backends[0]
    if name not in target.backends:
        raise UsageError(
            f"'{name}' is no backend of the target '{target.name}'", hint=f"it has: {', '.join(target.backends)}"
        )
    backend = kernel_backend(name)
    check_target(backend, target)
    if backend is not None:
        backend.schedules = schedule_predictor(options.cost_model, target)
    return backend


def plan(module: Module, backend: KernelBackend | None, target: Target, options: CompileOptions) -> PassContext:
    """Run the passes over a module in place; returns the context with their remarks."""
    context = pass_context(target, backend, options.threads, options.cost_model)
    if backend is not None:
        context.race = Races(backend, target, options)
    text = options.passes if options.passes is not None else flow_of(backend).pipeline
    passes = parse_pipeline(text)
    run_pipeline(
        module,
        passes,
        context,
        verify_each=options.verify_each,
        dump=options.dump_ir,
        on_pass=lambda position, item, _module, _run: options.progress(item.name, position + 1, len(passes)),
    )
    context.cost_model = cost_model(options.cost_model, target, backend, options.threads or target.cores, decides=False)
    return context


def require_static_inputs(module: Module) -> None:
    """Check that native code can be sized.

    Raises:
        ModelError: an input still has a dynamic dimension; all of them are listed, with the option that binds them.
    """
    dynamic = [value for value in module.main.inputs if isinstance(value.type, TensorType) and not value.type.is_static]
    if not dynamic:
        return
    listing = "; ".join(f"'{value.name}' is {describe(value.tensor_type.shape)}" for value in dynamic)
    example = dynamic[0]
    shape = example.tensor_type.shape or ()
    dims = ",".join(str(dim) if isinstance(dim, int) else "1" for dim in shape)
    symbols = dict.fromkeys(str(dim) for dim in shape if not isinstance(dim, int))
    by_name = " ".join(f"--dim {symbol}=1" for symbol in symbols)
    raise ModelError(
        "the model has inputs of dynamic shape",
        why=listing,
        hint=f"bind them, for instance with --shape {example.name}={dims}" + (f" or {by_name}" if by_name else ""),
    )
