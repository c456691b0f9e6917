"""The text predictor: the time of a kernel over its roofline's from the tokens of its IR and its schedule.

After "ML-driven Hardware Cost Model for MLIR" (Das and Mishra, 2023). It sees no feature that a person thought of, so
its error beside the kernel predictor's, on the same split, says what those features are worth.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kernels.table import Floats, KernelTable, folds
from optc.costmodel.kernels.tokens import TokenVocabulary, token_vocabulary
from optc.costmodel.kernels.units import Unit, computed
from optc.costmodel.training.team import team

LENGTH, WIDTH, KERNEL, BATCH = 192, 48, 7, 64

Progress = Callable[[str, int, int], None]


def cross_validate_text(
    table: KernelTable, seed: int, count: int, epochs: int, progress: Progress, unit: Unit = computed
) -> Floats:
    """log(seconds) of every row by networks that saw no row of its class: the same folds as the kernel predictor's."""
    fold = folds(table.classes, count, seed)
    vocabulary = token_vocabulary(table.texts.tolist(), table.schedules.tolist())
    codes = encoded(table, vocabulary)
    # What is learned is the time over the roofline's: of sizes that no text of the training set has, digits say little.
    roofline = np.log(table.roofline)
    truth = np.log(table.seconds) - roofline
    predicted = np.zeros(len(table))
    for number in range(count):
        progress("cross-validating on text", number, count)
        train, test = fold != number, fold == number

        def compute(train: Any = train, test: Any = test) -> dict[str, Any]:
            model = fit_text(codes[train], truth[train], vocabulary.size, seed, epochs)
            return {"predicted": predict_text(model, codes[test])}

        predicted[test] = unit(f"text{number}", compute)["predicted"] + roofline[test]
    return predicted


def encoded(table: KernelTable, vocabulary: TokenVocabulary) -> npt.NDArray[np.int64]:
    """Shape (n, LENGTH)."""
    texts = [f"{template} {schedule}" for template, schedule in zip(table.templates, table.schedules, strict=True)]
    return np.stack([vocabulary.encode(text, head, LENGTH) for text, head in zip(table.texts, texts, strict=True)])


def fit_text(codes: npt.NDArray[np.int64], values: Floats, size: int, seed: int, epochs: int) -> Any:
    """Train a network: embedding, three strided convolutions, mean and maximum over the text, two dense layers.

    Args:
        codes: shape (n, length).
        values: shape (n,), log(seconds over the roofline's).
        size: of the vocabulary.
        seed: equal seeds give equal networks on one thread; a team of processes the same up to rounding.
        epochs: passes over the rows.
    """
    import torch

    torch.manual_seed(seed)
    center, spread = float(values.mean()), float(values.std())
    model = _network(size, center, spread)
    inputs, truth = torch.tensor(codes), torch.tensor(values, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-2)
    steps = epochs * -(-len(values) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=steps)
    generator = np.random.default_rng(seed)
    for _ in range(epochs):
        order = generator.permutation(len(values))
        for first in range(0, len(values), BATCH):
            chosen = order[first : first + BATCH]
            index = torch.tensor(team().share(chosen))
            optimizer.zero_grad()
            if len(index):
                loss = torch.nn.functional.huber_loss(model(inputs[index]), truth[index], delta=0.2, reduction="sum")
                (loss / len(chosen)).backward()
            team().add_gradients(model.parameters())
            optimizer.step()
            schedule.step()
    return model.eval()


def predict_text(model: Any, codes: npt.NDArray[np.int64]) -> Floats:
    """The values that were learned, shape (n,)."""
    import torch

    with torch.no_grad():
        parts = [model(torch.tensor(codes[first : first + 256])).numpy() for first in range(0, len(codes), 256)]
    return np.concatenate(parts).astype(np.float64) if parts else np.zeros(0)


def _network(size: int, center: float, spread: float) -> Any:
    import torch
    from torch import nn

    class TextNetwork(nn.Module):
        """Tokens, shape (n, length), to values, shape (n,)."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding = nn.Embedding(size, WIDTH // 2, padding_idx=0)
            channels = (WIDTH // 2, WIDTH, WIDTH, WIDTH)
            self.layers = nn.ModuleList(
                nn.Conv1d(before, after, KERNEL, stride=2, padding=KERNEL // 2)
                for before, after in itertools.pairwise(channels)
            )
            self.norms = nn.ModuleList(nn.GroupNorm(1, WIDTH) for _ in self.layers)
            self.dense = nn.Sequential(nn.Linear(2 * WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, 1))

        def forward(self, codes: torch.Tensor) -> torch.Tensor:
            values = self.embedding(codes).transpose(1, 2)
            for layer, norm in zip(self.layers, self.norms, strict=True):
                values = nn.functional.gelu(norm(layer(values)))
            pooled = torch.cat([values.mean(dim=2), values.amax(dim=2)], dim=1)
            return self.dense(pooled)[:, 0] * spread + center

    return TextNetwork()
