"""`optc verify`: an artifact's numbers against those of the source model."""

from __future__ import annotations

from typing import Any

import click

from optc.cli.arrays import input_option, read_inputs
from optc.cli.devices import device_options
from optc.cli.failures import render
from optc.cli.output import Progress, emit_json, emit_table
from optc.cli.parameters import common, threads_option
from optc.errors import VerificationFailed


@click.command("verify")
@click.argument("artifact")
@click.option("--reference", required=True, help="The source model (.onnx), run by onnxruntime.")
@input_option
@click.option("--runs", type=click.IntRange(min=1), default=3, show_default=True, help="Sets of random inputs.")
@click.option("--tolerance", default=1e-3, show_default=True, help="Largest error, relative to an output's range.")
@threads_option
@device_options
@common
def command(
    artifact: str,
    reference: str,
    inputs: tuple[str, ...],
    runs: int,
    tolerance: float,
    threads: int | None,
    device: str | None,
    timeout: float,
    retries: int,
    as_json: bool,
) -> None:
    """Run ARTIFACT and its source model on the same inputs and compare; exit code 4 beyond the tolerance."""
    from optc.runtime.verify import verify

    given = read_inputs(inputs) or None
    with Progress() as progress, _loaded(artifact, threads, device, timeout, retries) as loaded:
        progress("verifying")
        result = verify(loaded, reference, given, tolerance=tolerance, runs=runs)
    if as_json:
        emit_json(result.to_dict())
    else:
        rows = [
            [
                item.name,
                "ok" if item.within(tolerance) else "DIFFERS",
                f"{item.max_abs:.2e}",
                f"{item.relative:.2e}",
                f"{item.snr_db:.1f} dB",
            ]
            for item in result.outputs
        ]
        emit_table(["output", "result", "max abs error", "relative", "SNR"], rows, right=(2, 3, 4))
    if not result.passed:
        # The result is already on standard output; the error goes to standard error only.
        worst = result.worst
        error = VerificationFailed(
            f"output '{worst.name}' differs from the reference",
            where=artifact,
            why=f"relative error {worst.relative:.2e}, tolerance {tolerance:g}",
        )
        click.echo(render(error), err=True)
        raise SystemExit(error.exit_code)


def _loaded(artifact: str, threads: int | None, device: str | None, timeout: float, retries: int) -> Any:
    """The artifact, on this machine or on a device; a context manager."""
    if device is None:
        from optc.runtime import load

        return load(artifact, threads=threads)
    from optc.driver.device import on_device
    from optc.runtime.device import registry

    return on_device(artifact, registry.find(device), threads, timeout, retries)
