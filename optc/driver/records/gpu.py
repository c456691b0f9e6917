"""What the artifact of a GPU states of its kernels, and what a run is predicted to cost in each power mode."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from optc.artifact.host import gpu_code_of
from optc.backends.cuda.kernel import CudaKernel, Facts, Launch
from optc.backends.cuda.toolkit import find_toolkit
from optc.costmodel.interface import Estimate
from optc.driver.cost_models import cost_model
from optc.driver.options import CompileOptions
from optc.driver.program.assembly import Assembly
from optc.driver.program.lowering import Lowered
from optc.driver.records.step_facts import kernel_candidates, kernel_estimates
from optc.passes.base import PassContext
from optc.program import tensor_bytes
from optc.targets.target import Target


def launch_record(lowered: Lowered) -> dict[str, Any]:
    """By the kernel's symbol, how each of its functions is launched, and what ptxas says that it takes."""
    return {
        "launches": {
            kernel.symbol: [_function(launch, kernel.facts) for launch in kernel.launches]
            for kernel in lowered.kernels
            if isinstance(kernel, CudaKernel)
        }
    }


def _function(launch: Launch, facts: Sequence[Facts]) -> dict[str, Any]:
    record: dict[str, Any] = {
        "function": launch.function,
        "grid": list(launch.grid),
        "block": list(launch.block),
        "dynamic_shared_bytes": launch.dynamic_shared_bytes,
    }
    for each in facts:
        if each.function == launch.function:
            record |= {key: value for key, value in vars(each).items() if key != "function"}
    return record


def gpu_cost(
    lowered: Lowered, estimates: Sequence[Estimate], target: Target, options: CompileOptions, context: PassContext
) -> dict[str, Any]:
    """For the manifest: the code that there is, the kernels' resources in short, energy, and each power mode."""
    facts = [each for kernel in lowered.kernels if isinstance(kernel, CudaKernel) for each in kernel.facts]
    program = lowered.assembly.program
    interface = sum(tensor_bytes(info) or 0 for info in (*program.inputs, *program.outputs))
    return {
        "predicted_joules": energy(estimates),
        "gpu": {
            "code": list(gpu_code_of(target)),
            "toolkit": find_toolkit().version,
            "functions": len(facts),
            "most_registers": max((each.registers for each in facts), default=0),
            "most_shared_bytes": max((each.shared_bytes for each in facts), default=0),
            "spill_bytes": sum(each.spill_bytes for each in facts),
            "occupancy": sum(each.occupancy for each in facts) / len(facts) if facts else 0.0,
            "memory_bytes": program.arena_bytes + program.weights_bytes + interface,
        },
        "modes": {
            name: _in_mode(lowered.assembly, target.in_mode(name), options, context) | {"watts": mode.watts}
            for name, mode in target.modes.items()
        },
    }


def _in_mode(assembly: Assembly, target: Target, options: CompileOptions, context: PassContext) -> dict[str, Any]:
    """What the same kernels take in another mode."""
    previous = context.cost_model
    context.cost_model = cost_model(options.cost_model, target, None, target.cores, decides=False)
    estimates = kernel_estimates(assembly, context, target, kernel_candidates(assembly))
    context.cost_model = previous
    seconds = sum(estimate.seconds for estimate in estimates)
    return {"predicted_seconds": seconds, "predicted_joules": energy(estimates)}


def energy(estimates: Sequence[Estimate]) -> float | None:
    """Joules of a run; None if those of a kernel are not known."""
    known = [estimate.joules for estimate in estimates if estimate.joules is not None]
    return sum(known) if len(known) == len(estimates) else None
