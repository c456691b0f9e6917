"""`optc faults`: what flipped bits do to a classifier's answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from optc.cli.images import image_options, preprocessing
from optc.cli.output import Progress, emit_facts, emit_json
from optc.cli.parameters import Number, common, dim_option, shape_option, unique

SHOWN = 5


@click.command("faults")
@click.argument("model", type=click.Path(path_type=Path))
@click.option("--data", required=True, help="Samples to classify: a folder, an .npz, or an .npy.")
@click.option("--rate", type=Number(0), default=1e-6, show_default=True, help="Probability that a bit is flipped.")
@click.option("--trials", type=click.IntRange(1), default=100, show_default=True, help="How often bits are flipped.")
@click.option("--seed", type=int, default=0, show_default=True, help="Of the bits.")
@click.option("--guard-weights", is_flag=True, help="Compile the model with a guard of its weights.")
@shape_option
@dim_option
@image_options
@common
def command(
    model: Path,
    data: str,
    rate: float,
    trials: int,
    seed: int,
    guard_weights: bool,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dims: tuple[tuple[str, int], ...],
    samples: int | None,
    as_json: bool,
    **pixels: Any,
) -> None:
    """Flip bits of the weights and of the activations of MODEL (.onnx), and count the answers that change.

    Weights are flipped in the compiled model's memory, activations in onnxruntime, one layer at a time. A wrong answer
    is another class than without faults of which nothing tells; `refused` are those that the guard withheld.
    """
    from optc.driver.resilience.faults import inject

    with Progress() as progress:
        found = inject(
            model,
            data,
            rate=rate,
            trials=trials,
            seed=seed,
            guard_weights=guard_weights,
            shapes=unique(shapes, "--shape"),
            dims=unique(dims, "--dim"),
            limit=samples or 50,
            preprocessing=preprocessing(pixels),
            progress=progress,
        )
    if as_json:
        emit_json(
            {
                "rate": rate,
                "trials": trials,
                "samples": found.samples,
                "weight_bits": found.weight_bits,
                "weights": vars(found.weights),
                "activations": vars(found.activations),
                "kernels": found.kernels,
                "layers": found.layers,
            }
        )
        return
    weights, activations = found.weights, found.activations
    facts = [
        ("trials", f"{trials} with {found.samples} samples each; each bit flips with probability {rate:g}"),
        (
            "weights",
            f"{weights.wrong_share:.3%} of answers silently wrong, {weights.refused / weights.answers:.1%} refused; "
            f"{found.weight_bits / 1e6:.1f} million bits",
        ),
        ("activations", f"{activations.wrong_share:.3%} silently wrong, faults in one layer at a time"),
    ]
    for title, shares in (("one weight bit", found.kernels), ("critical layers", found.layers)):
        worst = sorted(shares.items(), key=lambda item: -item[1])[:SHOWN]
        facts.append((title, "\n".join(f"{share:.2%}  {name}" for name, share in worst)))
    emit_facts(facts)
