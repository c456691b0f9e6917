"""Fit the two kinds of regressors to residuals; needs CatBoost and PyTorch, which prediction does not."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from optc.costmodel.kernels.perceptron import CLIP, SLOPE, Perceptrons
from optc.costmodel.kernels.trees import ObliviousTrees
from optc.costmodel.training.team import team

Floats = npt.NDArray[np.float64]

TREES, DEPTH, RATE = 200, 6, 0.12
RANK_TREES = 60
MEMBERS, HIDDEN, EPOCHS, BATCH = 3, (48, 32), 120, 256
CONSTANT = 1e30  # deviation of a column that never changed: nothing was learned of it, so it says nothing
LEAST_MARGIN, MOST_MARGIN = 0.01, 0.5  # differences of logarithms: pairs below are equal, pairs above count alike
RANK_WEIGHT = 0.3  # of the pairwise loss beside the regression's


def fit_trees(
    rows: Floats,
    values: Floats,
    *,
    weights: Floats | None = None,
    seed: int = 0,
    trees: int = TREES,
    loss: str = "RMSE",
) -> ObliviousTrees:
    """Gradient-boosted oblivious trees (Prokhorenkova et al., "CatBoost", 2018) on one thread.

    Args:
        rows: shape (n, columns).
        values: shape (n,).
        weights: shape (n,), of the rows.
        seed: equal seeds give equal trees.
        trees: how many.
        loss: CatBoost's name of it.
    """
    from catboost import CatBoostRegressor

    model = CatBoostRegressor(
        iterations=trees, depth=DEPTH, learning_rate=RATE, loss_function=loss,
        random_seed=seed, thread_count=1, verbose=False, allow_writing_files=False, l2_leaf_reg=3.0,
        random_strength=0.5, bootstrap_type="Bernoulli", subsample=0.8,
    )  # fmt: skip

    def fitted() -> ObliviousTrees:
        model.fit(rows.astype(np.float32), values, sample_weight=weights)
        return _exported(model)

    return team().once(fitted)


def fit_ranking_trees(
    rows: Floats, seconds: Floats, groups: npt.NDArray[np.str_], *, seed: int = 0, trees: int = RANK_TREES
) -> ObliviousTrees:
    """Trees whose sums order the rows of each group: the slower the larger.

    The loss is YetiRank's (Gulin et al., "Winning the transfer learning track of Yahoo!'s learning to rank challenge",
    2011): pairs are weighted by how near the front they stand and by their difference in time.
    """
    from catboost import CatBoost, Pool

    order = np.argsort(groups, kind="stable")
    names, number = np.unique(groups[order], return_inverse=True)
    best = np.full(len(names), np.inf)
    np.minimum.at(best, number, seconds[order])
    quality = best[number] / seconds[order]  # 1 for the fastest
    pool = Pool(rows[order].astype(np.float32), label=quality, group_id=number)
    model = CatBoost({
        "iterations": trees, "depth": DEPTH, "learning_rate": 0.2, "loss_function": "YetiRank", "random_seed": seed,
        "thread_count": 1, "verbose": False, "allow_writing_files": False, "l2_leaf_reg": 3.0,
    })  # fmt: skip

    def fitted() -> ObliviousTrees:
        model.fit(pool)
        return _exported(model)

    ranking = team().once(fitted)
    return ObliviousTrees(ranking.features, ranking.borders, -ranking.leaves, -ranking.bias, ranking.scale)


def _exported(model: Any) -> ObliviousTrees:
    with tempfile.TemporaryDirectory(prefix="optc-train-") as folder:
        path = Path(folder) / "model.json"
        model.save_model(str(path), format="json")
        return ObliviousTrees.of_catboost(json.loads(path.read_text(encoding="utf-8")))


def fit_perceptrons(
    rows: Floats,
    values: Floats,
    groups: npt.NDArray[np.str_],
    *,
    seed: int = 0,
    epochs: int = EPOCHS,
    progress: Callable[[int, float], None] | None = None,
) -> Perceptrons:
    """An ensemble trained with Huber's loss on the values and a pairwise logistic loss within each group.

    The second is RankNet's (Burges et al., "Learning to rank using gradient descent", 2005); it looks at the
    differences alone, which decide what is chosen.

    Args:
        rows: shape (n, columns).
        values: shape (n,).
        groups: shape (n,); rows of one group are compared with each other.
        seed: equal seeds give equal members on one thread; a team of processes gives the same up to rounding.
        epochs: passes over the rows.
        progress: called with (epoch, loss).
    """
    import torch

    torch.manual_seed(seed)
    generator = np.random.default_rng(seed)
    mean, deviation = rows.mean(axis=0), rows.std(axis=0)
    deviation = np.where(deviation < 1e-6, CONSTANT, deviation)
    scaled = torch.tensor(np.clip((rows - mean) / deviation, -CLIP, CLIP), dtype=torch.float32)
    truth = torch.tensor(values, dtype=torch.float32)
    sizes = [rows.shape[1], *HIDDEN, 1]
    weights = [
        torch.nn.Parameter(torch.randn(MEMBERS, before, after) * (2.0 / before) ** 0.5 * (0.1 if after == 1 else 1.0))
        for before, after in itertools.pairwise(sizes)
    ]
    biases = [torch.nn.Parameter(torch.zeros(MEMBERS, 1, after)) for after in sizes[1:]]
    with torch.no_grad():
        biases[-1] += truth.mean()
    optimizer = torch.optim.AdamW([*weights, *biases], lr=3e-3, weight_decay=1e-2)
    order = np.argsort(groups, kind="stable")
    starts = np.concatenate(([0], np.flatnonzero(groups[order][1:] != groups[order][:-1]) + 1, [len(order)]))
    blocks = [torch.tensor(order[a:b]) for a, b in itertools.pairwise(starts)]
    margins = [float(_margins(truth[block]).sum()) for block in blocks]
    mean_size = max(1.0, len(order) / len(blocks))
    per_step = max(1, int(BATCH / mean_size))
    steps = epochs * -(-len(blocks) // per_step)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps)

    def forward(inputs: Any) -> Any:
        hidden = inputs[None]
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            hidden = torch.baddbmm(bias, hidden.expand(MEMBERS, -1, -1), weight)
            if layer < len(weights) - 1:
                hidden = torch.nn.functional.leaky_relu(hidden, SLOPE)
        return hidden[..., 0]

    for epoch in range(epochs):
        shuffled = generator.permutation(len(blocks))
        total = 0.0
        for first in range(0, len(blocks), per_step):
            chosen = shuffled[first : first + per_step]
            count = sum(len(blocks[i]) for i in chosen)
            margin = sum(margins[i] for i in chosen)
            own = [blocks[i] for i in team().share(chosen)]
            optimizer.zero_grad()
            if own:
                index = torch.cat(own)
                number = torch.repeat_interleave(torch.arange(len(own)), torch.tensor([len(each) for each in own]))
                output, wanted = forward(scaled[index]), truth[index]
                loss = _part_of_loss(output, wanted, number[:, None] == number[None], count, margin)
                loss.backward()
                total += loss.item()
            team().add_gradients((*weights, *biases))
            optimizer.step()
            schedule.step()
        if progress is not None:
            progress(epoch, total)
    return Perceptrons(
        mean.astype(np.float32),
        deviation.astype(np.float32),
        tuple(weight.detach().numpy() for weight in weights),
        tuple(bias.detach().numpy() for bias in biases),
    )


def _margins(values: Any) -> Any:
    """For each pair of rows how much slower the first is, where that is worth telling apart: shape (n, n)."""
    slower = values[:, None] - values[None]
    return slower.clamp(max=MOST_MARGIN) * (slower > LEAST_MARGIN)


def _part_of_loss(output: Any, wanted: Any, same: Any, count: int, margin: float) -> Any:
    """What some rows add to the loss of a step.

    Args:
        output: shape (members, n).
        wanted: shape (n,).
        same: shape (n, n), whether two rows are of one group.
        count: rows of the whole step.
        margin: the sum of the margins of all its pairs.
    """
    import torch

    members = len(output)
    loss = torch.nn.functional.huber_loss(output, wanted.expand_as(output), delta=0.1, reduction="sum")
    loss = loss / (0.1 * count * members)
    pairs = _margins(wanted) * same
    if margin > 0:
        difference = output[:, :, None] - output[:, None, :]
        wrong = torch.nn.functional.softplus(-12.0 * difference) * pairs
        loss = loss + RANK_WEIGHT * wrong.sum() / (margin * members)
    return loss
