"""Train the learned controller in the simulator, on recorded traces.

The simulator knows what every way would have cost at every request, so that nothing has to be tried out: the expected
cost of a softmax over the scores is minimized itself, by its exact gradient. Contexts come from runs of the policy as
it stands, and are collected anew some times, because what it sees depends on what it does.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from optc.driver.split.simulation import World, answer, base_cost, simulate
from optc.runtime.split.client import Fixed
from optc.runtime.split.control.costs import Preference
from optc.runtime.split.control.learned import FEATURES, HIDDEN, LIMIT, Learned
from optc.runtime.split.observation import Observation

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Recipe:
    """How to train.

    Attributes:
        rounds: of collecting contexts.
        steps: of Adam in each round.
        rate: of Adam.
        temperature: of the softmax over logarithms of costs.
        decay: of the weights.
        energies: shares of energy in the preference.
        requests: of each run.
        period: seconds between requests.
        seed: of the initial weights and of batches.
    """

    rounds: int = 3
    steps: int = 400
    rate: float = 3e-3
    temperature: float = 0.05
    decay: float = 1e-4
    energies: tuple[float, ...] = (0.0, 0.5, 1.0)
    requests: int = 60
    period: float = 1.0
    seed: int = 0


@dataclass(frozen=True)
class Context:
    """A request: the features of its ways (ways, FEATURES), their predicted and their true costs (ways,)."""

    features: np.ndarray
    predicted: np.ndarray
    true: np.ndarray


def initial_weights(seed: int = 0) -> Arrays:
    """A network that adds nothing yet."""
    generator = np.random.default_rng(seed)
    return {
        "first": generator.standard_normal((FEATURES, HIDDEN)) / np.sqrt(FEATURES),
        "bias": np.zeros(HIDDEN),
        "second": np.zeros(HIDDEN),
    }


def train_policy(worlds: Sequence[World], recipe: Recipe = Recipe()) -> Arrays:
    """The weights of a policy that does well in all worlds and for all preferences of the recipe."""
    weights = initial_weights(recipe.seed)
    for _ in range(recipe.rounds):
        contexts = [
            context
            for world, energy in itertools.product(worlds, recipe.energies)
            for context in contexts_of(world, weights, Preference(energy), recipe)
        ]
        weights = _fit(weights, contexts, recipe)
    return weights


def contexts_of(world: World, weights: Arrays, preference: Preference, recipe: Recipe) -> list[Context]:
    """What the policy sees in a world, and what each way would have cost."""
    policy = _Recording(world, weights, preference)
    simulate(world, policy, "training", period=recipe.period, requests=recipe.requests)
    return policy.contexts


class _Recording(Learned):
    """The policy, which keeps what it saw; it takes the time from the observations' order."""

    def __init__(self, world: World, weights: Arrays, preference: Preference) -> None:
        super().__init__(world.ways, world.link, world.idle_watts, weights=weights, preference=preference)
        self.world = world
        self.contexts: list[Context] = []
        self.base = base_cost(world)

    def choose_at(self, time: float, observation: Observation) -> str:
        """As `choose`, at a known time."""
        chosen = self.choose(observation)
        names = list(self.ways)
        features = self.features(observation)
        predicted = super(Learned, self).costs(observation)
        true = []
        for name in names:
            outcome, _ = answer(self.world, Fixed(name), self.ways[name], time, self.world.device_factor, observation)
            true.append(self.preference.of(outcome.seconds, outcome.joules, self.base))
        self.contexts.append(
            Context(np.array([features[n] for n in names]), np.array([predicted[n] for n in names]), np.array(true))
        )
        return chosen


def loss_and_gradient(weights: Arrays, contexts: Sequence[Context], temperature: float) -> tuple[float, Arrays]:
    """The mean over contexts of the expected cost over the least cost, less one, and its gradient."""
    gradient = {name: np.zeros_like(array) for name, array in weights.items()}
    total = 0.0
    for context in contexts:
        hidden = np.tanh(context.features @ weights["first"] + weights["bias"])
        bent = np.tanh(hidden @ weights["second"] / LIMIT)
        scores = np.log(context.predicted) + LIMIT * bent
        shares = np.exp(-(scores - scores.min()) / temperature)
        shares /= shares.sum()
        # An answer that never comes costs no more than a very bad one, or it alone would be learned from.
        costs = np.minimum(context.true / context.true.min(), 20.0)
        expected = float(shares @ costs)
        total += expected - 1.0
        by_score = -shares * (costs - expected) / temperature * (1.0 - bent**2)
        gradient["second"] += hidden.T @ by_score
        inner = np.outer(by_score, weights["second"]) * (1.0 - hidden**2)
        gradient["first"] += context.features.T @ inner
        gradient["bias"] += inner.sum(0)
    count = max(len(contexts), 1)
    return total / count, {name: array / count for name, array in gradient.items()}


def _fit(weights: Arrays, contexts: Sequence[Context], recipe: Recipe, batch: int = 256) -> Arrays:
    """Adam (Kingma and Ba, 2015) with weight decay."""
    generator = np.random.default_rng(recipe.seed)
    weights = {name: array.copy() for name, array in weights.items()}
    first = {name: np.zeros_like(array) for name, array in weights.items()}
    second = {name: np.zeros_like(array) for name, array in weights.items()}
    for step in range(1, recipe.steps + 1):
        picks = generator.choice(len(contexts), min(batch, len(contexts)), replace=False)
        _, gradient = loss_and_gradient(weights, [contexts[pick] for pick in picks], recipe.temperature)
        for name, array in weights.items():
            first[name] = 0.9 * first[name] + 0.1 * gradient[name]
            second[name] = 0.999 * second[name] + 0.001 * gradient[name] ** 2
            mean, square = first[name] / (1 - 0.9**step), second[name] / (1 - 0.999**step)
            weights[name] = array - recipe.rate * (mean / (np.sqrt(square) + 1e-8) + recipe.decay * array)
    return weights
