"""A graph network over whole architectures, beside the shipped predictors on their own splits (docs/costmodel.md).

python benchmarks/graph_predictor.py --data FOLDER [--set help_nb201] [--target raspi4] …

The graph of a NAS-Bench-201 cell: a node for each operation, edges along the data, one node each for input and output.
The latency is a sum over nodes of what their neighbourhoods say, so that it is additive as execution is. Needs torch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from optc.costmodel import metrics, predictors
from optc.costmodel.architectures import kind, nb201
from optc.costmodel.architectures.space import load_space
from optc.costmodel.datasets import dataset

ROUNDS, WIDTH, EPOCHS, BATCH, RATE, DECAY = 4, 64, 300, 60, 3e-3, 1e-4
TARGETS = {
    "help_nb201": ("raspi4", "titan_rtx_256", "samsung_a50"),
    "eagle_nb201": ("embedded-gpu-jetson-nano-fp16", "embedded-tpu-edge-tpu-int8"),
}
INPUT, OUTPUT = len(nb201.EDGES), len(nb201.EDGES) + 1


def graph() -> Tensor:
    """Which node feeds which, shape (8, 8): the six operations of a cell, its input and its output."""
    feeds = torch.zeros(OUTPUT + 1, OUTPUT + 1)
    for first, (source, target) in enumerate(nb201.EDGES):
        for second, (other, _) in enumerate(nb201.EDGES):
            feeds[first, second] = float(target == other)
        feeds[INPUT, first], feeds[first, OUTPUT] = float(source == 0), float(target == 3)
    return feeds


def nodes(codes: npt.NDArray[np.int64], live: npt.NDArray[np.bool_]) -> Tensor:
    """What each node is, one-hot, and whether the output depends on it; shape (n, 8, kinds + 1)."""
    kinds = len(nb201.OPERATIONS) + 2
    found = np.zeros((len(codes), OUTPUT + 1, kinds + 1), np.float32)
    rows = np.arange(len(codes))
    for edge in range(INPUT):
        found[rows, edge, codes[:, edge]] = 1.0
        found[:, edge, -1] = live[:, edge]
    found[:, INPUT, kinds - 2] = found[:, OUTPUT, kinds - 1] = 1.0
    return torch.from_numpy(found)


class GraphNetwork(nn.Module):
    """Messages along and against the edges, dropped where the sender is `none`; then a sum over nodes."""

    def __init__(self, kinds: int, feeds: Tensor) -> None:
        super().__init__()
        self.feeds: Tensor
        self.register_buffer("feeds", feeds)
        self.first = nn.Linear(kinds, WIDTH)
        self.own = nn.ModuleList(nn.Linear(WIDTH, WIDTH) for _ in range(ROUNDS))
        self.along = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(ROUNDS))
        self.against = nn.ModuleList(nn.Linear(WIDTH, WIDTH, bias=False) for _ in range(ROUNDS))
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(ROUNDS))
        self.cost = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, described: Tensor) -> Tensor:
        """Logarithms of relative latencies, shape (n,)."""
        sends = 1.0 - described[..., :1]
        hidden = torch.relu(self.first(described))
        for own, along, against, norm in zip(self.own, self.along, self.against, self.norms, strict=True):
            message = hidden * sends
            arriving = torch.einsum("st,nsw->ntw", self.feeds, along(message))
            returning = torch.einsum("st,ntw->nsw", self.feeds, against(message))
            hidden = hidden + torch.relu(norm(own(hidden) + arriving + returning))
        return torch.log(nn.functional.softplus(self.cost(hidden)).sum((1, 2)) + 1e-6)


def fit(described: Tensor, latency: npt.NDArray[np.float64], seed: int) -> tuple[GraphNetwork, float]:
    """Train under a robust loss of log errors. Returns the network and the logarithm of its unit."""
    torch.manual_seed(seed)
    unit = float(np.log(np.median(latency)))
    truth = torch.from_numpy((np.log(latency) - unit).astype(np.float32))
    network = GraphNetwork(described.shape[-1], graph())
    optimizer = torch.optim.AdamW(network.parameters(), lr=RATE, weight_decay=DECAY)
    steps = EPOCHS * (len(truth) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, RATE, total_steps=steps)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(EPOCHS):
        order = torch.randperm(len(truth), generator=generator)
        for start in range(0, len(truth) - BATCH + 1, BATCH):
            rows = order[start : start + BATCH]
            errors = network(described[rows]) - truth[rows]
            loss = nn.functional.smooth_l1_loss(errors, torch.zeros_like(errors), beta=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval(), unit


def judge(data_set: str, target: str, data: Path, seed: int) -> list[str]:
    """One row of Markdown for the graph network and one for the shipped predictor, both without drift."""
    measurements, space = dataset.load(data_set).read(data), load_space("nb201")
    card = next(card for card in predictors.cards() if card.data_set == data_set and target in card.targets)
    latency, codes = measurements.latency[target], measurements.codes
    held_out, order = kind.divide(space, codes, 0.25, seed)
    usable = np.isfinite(latency) & space.regular(codes)
    trained = order[usable[order] & ~held_out[order]][: card.rows[target]]
    judged = np.flatnonzero(usable & held_out)
    live = nb201.executed(codes, card.details["styles"][target])
    described = nodes(codes, live)
    network, unit = fit(described[trained], latency[trained], seed)
    with torch.no_grad():
        graphs = np.exp(network(described[judged]).double().numpy() + unit)
    shipped = kind.load(card, target).predict(codes[judged]).value
    rows = []
    for name, guess in (("graph network", graphs), ("shipped", shipped)):
        found = metrics.evaluate(latency[judged], guess)
        cells = [target, name, f"{found.mape:.1f}%", f"{100 * found.within_5:.0f}%", f"{100 * found.within_10:.1f}%"]
        rows.append(f"| {' | '.join([*cells, f'{found.spearman:.3f}'])} |")
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder that holds the sets")
    parser.add_argument("--set", dest="sets", action="append", choices=list(TARGETS), help="repeatable")
    parser.add_argument("--target", dest="targets", action="append", help="repeatable")
    arguments = parser.parse_args()
    print("| target | predictor | MAPE | ±5% | ±10% | Spearman |\n| --- | --- | --: | --: | --: | --: |")
    for data_set in arguments.sets or TARGETS:
        for target in arguments.targets or TARGETS[data_set]:
            print("\n".join(judge(data_set, target, arguments.data, 0)), flush=True)


if __name__ == "__main__":
    main()
