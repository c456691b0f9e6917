"""The training loop repeats what it is told to repeat, and a teacher is asked once for it."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from optc.driver.split.learning.loop import Remembered, Samples, Schedule, train  # noqa: E402


@pytest.mark.parametrize(("distinct", "asked"), [(0, 12), (2, 6), (3, 9)])
def test_epochs_that_repeat_ask_the_teacher_once(distinct: int, asked: int) -> None:
    calls = []

    def teacher(inputs: torch.Tensor) -> torch.Tensor:
        calls.append(inputs)
        return inputs.sum(1, keepdim=True)

    remembered, seen = Remembered(teacher), []
    layer = torch.nn.Linear(4, 1)

    def loss(inputs: torch.Tensor, labels: torch.Tensor | None) -> torch.Tensor:
        wanted = remembered(inputs)
        assert torch.equal(wanted, inputs.sum(1, keepdim=True))
        seen.append(inputs)
        return (layer(inputs) - wanted).square().mean()

    def noisy(inputs: torch.Tensor, random: torch.Generator) -> torch.Tensor:
        return inputs + torch.rand(inputs.shape, generator=random)

    samples = Samples(torch.arange(48.0).view(12, 4), augment=noisy)
    schedule = Schedule(4, batch=4, rate=1e-3, distinct=distinct)
    train(layer, [{"params": list(layer.parameters()), "lr": 1e-3}], loss, samples, schedule)
    assert len(seen) == 12
    assert len(calls) == asked
    assert torch.equal(seen[0], seen[3 * distinct or 0])
