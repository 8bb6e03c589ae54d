"""Rates, ramps and averages against numbers worked out by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_training import Pictures, options, training
from torch import nn

from distilcap.training.objectives import CrossEntropy
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase
from distilcap.training.schedule import move_average, never_warm, rate_factor


@pytest.mark.parametrize("kind", [CrossEntropyPhase, SelfCriticalPhase])
def test_the_rate_warms_up_and_falls_by_steps_or_along_a_cosine(
    kind: type[CrossEntropyPhase | SelfCriticalPhase],
) -> None:
    steps = [rate_factor(kind(), 9, epoch, 100) for epoch in (0, 2, 3, 5, 6)]
    assert steps == pytest.approx([1, 1, 0.8, 0.8, 0.64])
    cosine = [rate_factor(kind(schedule="cosine"), step, 0, 60) for step in (0, 20, 30, 60)]
    assert cosine == pytest.approx([1, 0.75, 0.5, 0])
    warming = [rate_factor(kind(warmup_steps=4), step, 0, 100) for step in range(6)]
    assert warming == pytest.approx([0.25, 0.5, 0.75, 1, 1, 1])
    assert rate_factor(kind(warmup_steps=4), 1, 3, 100) == pytest.approx(0.5 * 0.8)
    assert rate_factor(kind(warmup_steps=4, schedule="cosine"), 1, 0, 3) == pytest.approx(0.5 * 0.75)


def test_the_rate_that_a_warm_up_reaches_is_told() -> None:
    assert not never_warm(CrossEntropyPhase(warmup_steps=3), 3)
    told = never_warm(SelfCriticalPhase(warmup_steps=100, learning_rate=1e-3), 3)
    assert "longer (100 steps) than the phase (3): the learning rate reaches 3e-05 of 0.001." in told


def test_the_average_forgets_early_weights_soon_and_keeps_the_decay_later() -> None:
    current = nn.Linear(1, 1, bias=False)
    for step, moved in ((0, 0.9), (1, 9 / 11), (1000, 0.1)):  # decays 1/10, 2/11, and the 0.9 asked for
        average = nn.Linear(1, 1, bias=False)
        nn.init.zeros_(average.weight)
        nn.init.ones_(current.weight)
        move_average(average, current, 0.9, step)
        torch.testing.assert_close(average.weight.detach(), torch.tensor([[moved]]))
        assert current.weight.item() == 1


def test_the_captioner_s_own_words_are_read_more_often_every_five_epochs(tmp_path: Path) -> None:
    run = training(tmp_path, Pictures(), options())
    found = []
    for epoch in (0, 4, 5, 10, 14, 15, 99):
        run.position.epoch = epoch
        objective = run._cross_entropy(CrossEntropyPhase(label_smoothing=0.2, scheduled_sampling=0.15))
        assert isinstance(objective, CrossEntropy)
        assert objective.label_smoothing == 0.2
        found.append(objective.sampling)
    assert found == pytest.approx([0, 0, 0.05, 0.1, 0.1, 0.15, 0.15])
