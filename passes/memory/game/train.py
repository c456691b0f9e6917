"""Teach the network of the mapping game by self-play, as AlphaZero does: search, learn the visits and the outcome.

A run writes everything into one folder and goes on from there when it is started again: `checkpoint.pt` (network,
optimizer, recent samples, games so far), `agent.npz` (the network as the search takes it) and `log.jsonl`. The same
seed and the same number of rounds give the same network, however often the run was stopped.
"""

from __future__ import annotations

import json
import os
import pickle
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from optc.errors import OptcError
from optc.passes.memory.game.engine import HIDDEN, SHAPES, VALUE_SCALE, Samples, Settings, Weights, search
from optc.passes.memory.game.problem import Problem
from optc.passes.memory.game.random_problems import random_problem

CHECKPOINT, AGENT, LOG = "checkpoint.pt", "agent.npz", "log.jsonl"
_KEPT_ROUNDS = 24
_TESTED = 24  # random games that no round trains on


@dataclass(frozen=True)
class Training:
    """What a run does.

    Attributes:
        rounds: of self-play and learning.
        games: in a round.
        given: share of them that are played on given problems, where there are some; the rest are random ones.
        updates: of the network after each round.
        batch: decisions in an update.
        rate: of learning.
        simulations: for each decision in self-play.
        seed: of everything random.
    """

    rounds: int = 200
    games: int = 48
    given: float = 0.4
    updates: int = 160
    batch: int = 256
    rate: float = 1e-3
    simulations: int = 48
    seed: int = 0


class Network(nn.Module):
    """The network that `search.c` evaluates; see SHAPES."""

    def __init__(self) -> None:
        super().__init__()
        for name, shape in SHAPES.items():
            spread = (2.0 / shape[-1]) ** 0.5 if len(shape) == 2 else 0.0
            start = torch.randn(shape) * spread
            if name.endswith("_out"):
                start = torch.randn(shape) * (0.1 / HIDDEN**0.5)
            setattr(self, name, nn.Parameter(start))

    def forward(self, state: torch.Tensor, action: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores of actions (rows × actions) and the expected worth in units of VALUE_SCALE (rows)."""
        shared = state @ self.policy_state.T + self.policy_bias
        hidden = torch.relu(action @ self.policy_action.T + shared.unsqueeze(1))
        hidden = torch.relu(hidden @ self.policy_inner.T + self.policy_inner_bias)
        value = torch.relu(state @ self.value_in.T + self.value_bias)
        value = torch.relu(value @ self.value_inner.T + self.value_inner_bias)
        return hidden @ self.policy_out, value @ self.value_out + self.value_out_bias

    def weights(self) -> dict[str, np.ndarray]:
        """As the search takes them."""
        return {name: getattr(self, name).detach().numpy().copy() for name in SHAPES}


@dataclass
class _State:
    network: Network
    optimizer: torch.optim.Optimizer
    rounds: int
    recent: list[tuple[np.ndarray, ...]]


def train(
    folder: Path, given: Sequence[Problem], training: Training, report: Callable[[dict[str, Any]], None]
) -> Path:
    """Play and learn until `training.rounds` rounds are done; returns the path of the network.

    Args:
        folder: of the run; what is there is continued.
        given: games to train on beside random ones.
        training: the rest of what a run does.
        report: called with each line of the log.

    Raises:
        OptcError: the folder's checkpoint is damaged, or of another version.
    """
    torch.set_num_threads(1)
    folder.mkdir(parents=True, exist_ok=True)
    state = _open(folder, training)
    while state.rounds < training.rounds:
        line = _round(state, given, training)
        _save(folder, state)
        with (folder / LOG).open("a", encoding="utf-8") as log:
            log.write(json.dumps(line) + "\n")
        report(line)
    if not (folder / AGENT).exists():
        _save(folder, state)
    return folder / AGENT


def _open(folder: Path, training: Training) -> _State:
    torch.manual_seed(training.seed)
    network = Network()
    optimizer = torch.optim.Adam(network.parameters(), training.rate, weight_decay=1e-5)
    path = folder / CHECKPOINT
    if not path.exists():
        return _State(network, optimizer, 0, [])
    try:
        saved = torch.load(path, weights_only=True)
        network.load_state_dict(saved["network"])
        optimizer.load_state_dict(saved["optimizer"])
        recent = [tuple(each.numpy() for each in kept) for kept in saved["recent"]]
        return _State(network, optimizer, saved["rounds"], recent)
    except (KeyError, ValueError, RuntimeError, EOFError, pickle.UnpicklingError) as fault:
        hint = "remove it to start anew"
        raise OptcError("the checkpoint cannot be read", where=str(path), why=str(fault), hint=hint) from fault


def _save(folder: Path, state: _State) -> None:
    content = {
        "network": state.network.state_dict(),
        "optimizer": state.optimizer.state_dict(),
        "rounds": state.rounds,
        "recent": [tuple(map(torch.from_numpy, kept)) for kept in state.recent],
    }
    temporary = folder / f".{CHECKPOINT}"
    torch.save(content, temporary)
    os.replace(temporary, folder / CHECKPOINT)
    np.savez(folder / f".{AGENT}", allow_pickle=False, **state.network.weights())
    os.replace(folder / f".{AGENT}", folder / AGENT)


def _round(state: _State, given: Sequence[Problem], training: Training) -> dict[str, Any]:
    began = time.monotonic()
    random = np.random.default_rng([training.seed, state.rounds])
    weights = state.network.weights() if state.rounds else None
    settings = Settings(simulations=training.simulations, noise=0.2, sampled=12)
    gains, rows = [], []
    for _ in range(training.games):
        own = given and random.random() < training.given
        problem = given[int(random.integers(len(given)))] if own else random_problem(random)
        played = replace(settings, seed=int(random.integers(1 << 62)))
        samples, worth = _self_play(problem, weights, played)
        rows.append((*samples, np.full(len(samples[0]), worth / VALUE_SCALE, np.float32)))
        gains.append(worth)
    state.recent = [*state.recent, tuple(np.concatenate(part) for part in zip(*rows, strict=True))][-_KEPT_ROUNDS:]
    losses = _learn(state, training, random)
    state.rounds += 1
    line = {
        "round": state.rounds,
        "self_play_gain": float(np.mean(gains)),
        "policy_loss": losses[0],
        "value_loss": losses[1],
        "decisions": sum(len(part[0]) for part in state.recent),
        "seconds": time.monotonic() - began,
    }
    if state.rounds % 10 == 0:
        line |= test(state.network.weights(), training.seed)
    return line


def _self_play(problem: Problem, weights: Weights | None, settings: Settings) -> tuple[tuple[np.ndarray, ...], float]:
    found = search(problem, weights, settings, sampling=True)
    assert isinstance(found.samples, Samples)
    visits = found.samples.visits
    share = np.where(visits < 0, 0, visits)
    share = share / np.maximum(share.sum(1, keepdims=True), 1)
    target = np.where(visits < 0, -1, share).astype(np.float32)
    return (found.samples.state, found.samples.action, target), float(np.log(found.baseline / found.played))


def _learn(state: _State, training: Training, random: np.random.Generator) -> tuple[float, float]:
    """Cross-entropy against the visits and squared error against the outcome; their means over the updates."""
    parts = [torch.from_numpy(np.concatenate(part)) for part in zip(*state.recent, strict=True)]
    total = [0.0, 0.0]
    for _ in range(training.updates):
        chosen = torch.from_numpy(random.integers(len(parts[0]), size=training.batch))
        features, actions, target, worth = (part[chosen] for part in parts)
        scores, value = state.network(features, actions)
        legal = target >= 0
        scores = scores.masked_fill(~legal, -1e9)
        policy = -(target.clamp(min=0) * torch.log_softmax(scores, 1)).sum(1).mean()
        error = nn.functional.smooth_l1_loss(value, worth)
        state.optimizer.zero_grad()
        (policy + error).backward()
        nn.utils.clip_grad_norm_(state.network.parameters(), 1.0)
        state.optimizer.step()
        total[0] += float(policy.detach()) / training.updates
        total[1] += float(error.detach()) / training.updates
    return total[0], total[1]


def test(weights: Weights, seed: int) -> dict[str, float]:
    """Mean gains (logarithms of the greedy baseline's time over the game's) on random games that no round plays.

    With the network and without it at the same number of simulations; by its own moves and by the best mapping met.
    """
    found: dict[str, list[float]] = {"net_best": [], "net_played": [], "plain_best": [], "plain_played": []}
    for number in range(_TESTED):
        problem = random_problem(np.random.default_rng([seed, 1 << 40, number]))
        for name, used in (("net", weights), ("plain", None)):
            result = search(problem, used, Settings())
            found[f"{name}_best"].append(float(np.log(result.baseline / result.best)))
            found[f"{name}_played"].append(float(np.log(result.baseline / result.played)))
    return {name: float(np.mean(values)) for name, values in found.items()}


def describe(training: Training) -> dict[str, Any]:
    """The settings of a run, for its log."""
    return asdict(training)
