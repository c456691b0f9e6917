"""The compile: front end → passes → kernels → program → artifact → verification."""

from __future__ import annotations

import tempfile
import time
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from optc.backends.interface import Progress, silent
from optc.driver.options import CompileOptions, check_threads, parse_budget
from optc.errors import ModelError
from optc.frontends import load_model

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
    verify: bool = True,
    passes: str | None = None,
    backend: str | None = None,
    verify_each: bool = False,
    dump_ir: str | Path | None = None,
    command: str | None = None,
    progress: Progress = silent,
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
        verify: run the artifact against the source model in onnxruntime, and fail if they differ.
        passes: a pipeline text that replaces the standard one.
        backend: `"onnx"` to run everything in onnxruntime; default: native code where there is some.
        verify_each: check the IR after every pass.
        dump_ir: a folder that gets the IR after every pass.
        command: what the user typed, for the manifest.
        progress: called with (what, done, total).

    Returns:
        the loaded artifact: `artifact.run({name: array}) -> {name: array}`.

    Raises:
        ModelError: the model is invalid or cannot be compiled.
        UsageError: an option is wrong.
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
        verify=verify,
        passes=passes,
        backend=backend,
        verify_each=verify_each,
        dump_ir=Path(dump_ir) if dump_ir is not None else None,
        command=command,
        progress=progress,
    )
    if options.output is not None:
        write_artifact(model, options, options.output, example_inputs)
        return load(options.output, threads=options.threads)
    holder = tempfile.TemporaryDirectory(prefix="optc-")
    folder = Path(holder.name) / "artifact"
    write_artifact(model, options, folder, example_inputs)
    artifact = load(folder, threads=options.threads)
    weakref.finalize(artifact, holder.cleanup)
    return artifact


def write_artifact(model: Any, options: CompileOptions, folder: Path, example_inputs: Any = None) -> None:
    """Compile a model into `folder`; nothing is left there when it fails."""
