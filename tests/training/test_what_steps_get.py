"""A step and a validation get what the options say."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from small_captioners import small_captioner
from test_training import CAPTIONS, VOCABULARY, Pictures, TunedPictures, options, training

from distilcap.data.captions import CaptionSet
from distilcap.decode.beam import BeamSearch
from distilcap.errors import TrainingError
from distilcap.shapes import Regions
from distilcap.training import loop, validation
from distilcap.training.batches import Batches, EncodedCaptions, encode_captions
from distilcap.training.checkpoint import Position
from distilcap.training.divergence import check_loss
from distilcap.training.loop import Training
from distilcap.training.objectives import SelfCritical
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase
from distilcap.training.processes import ALONE
from distilcap.training.validation import validate

NO_WORDS, NO_REWARDS = CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=0)


@pytest.fixture
def unvalidated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Training, "_validate", lambda run, captioner: (1.0, [1.0]))


@pytest.mark.usefixtures("unvalidated")
def test_captioner_and_encoder_have_rates_of_their_own_and_gradients_are_clipped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rates: list[list[float]] = []
    largest: list[float] = []

    class Noted(torch.optim.Adam):
        def step(self, closure: Callable[[], float] | None = None) -> None:  # type: ignore[override]
            rates.append([group["lr"] for group in self.param_groups])
            largest.extend(
                max(float(one.grad.abs().max()) for one in group["params"]) for group in self.param_groups
            )
            super().step(closure)

    monkeypatch.setattr(torch.optim, "Adam", Noted)
    phases = options(
        cross_entropy=CrossEntropyPhase(epochs=1, learning_rate=1e-2, warmup_steps=2),
        self_critical=SelfCriticalPhase(epochs=1, learning_rate=1e-3, encoder_learning_rate=7e-5, samples=2),
        encoder_learning_rate=3e-3,
        gradient_clip=1e-4,
    )
    training(tmp_path, TunedPictures(), phases).run()
    crossed = [[5e-3, 1.5e-3], [1e-2, 3e-3], [1e-2, 3e-3]]
    assert rates == [pytest.approx(pair) for pair in crossed + 3 * [[1e-3, 7e-5]]]
    assert largest[:6] == pytest.approx(6 * [1e-4])
    assert max(largest) == pytest.approx(1e-4)


@pytest.mark.usefixtures("unvalidated")
@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_step_of_cross_entropy_has_dropout_on_and_is_of_the_run_s_precision(
    tmp_path: Path, precision: str
) -> None:
    modes = []

    class Watching(Pictures):
        def regions_of(self, ids: Sequence[str]) -> Regions:
            modes.append((run._captioner.training, torch.is_autocast_enabled("cpu")))
            return super().regions_of(ids)

    phases = options(cross_entropy=CrossEntropyPhase(epochs=1), self_critical=NO_REWARDS, precision=precision)
    run = training(tmp_path, Watching(), phases)
    run.trained.captioner.eval()
    run.run()
    assert modes == 3 * [(True, precision == "bfloat16")]


def test_the_reward_s_step_is_of_the_phase_s_options(tmp_path: Path) -> None:
    phase = SelfCriticalPhase(samples=4, baseline="greedy", dropout=True)
    objective = training(tmp_path, Pictures(), options(max_words=7))._self_critical(phase)
    assert isinstance(objective, SelfCritical)
    found = (objective.samples, objective.baseline, objective.max_words, objective.dropout)
    assert found == (4, "greedy", 7, True)


def test_batches_are_of_the_run_s_options(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Any, ...]] = []

    def noted(encoded: EncodedCaptions, *rest: int) -> Batches:
        made.append((encoded, *rest))
        return Batches(encoded, *rest)

    monkeypatch.setattr(loop, "Batches", noted)
    idle = options(cross_entropy=NO_WORDS, self_critical=NO_REWARDS, captions_per_image=3, max_words=2)
    training(tmp_path, Pictures(), idle).run()
    assert made == [(encode_captions(CAPTIONS, VOCABULARY, 2), 4, 3, 11)]


def test_validation_searches_by_the_options_while_the_encoder_shows_images_as_they_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[tuple[Any, ...]] = []
    source = TunedPictures()

    def together(*given: Any) -> CaptionSet:
        asked.append((*given[-2:], source.training))
        return CAPTIONS.only(given[-2]).top(1)

    monkeypatch.setattr(validation, "caption_together", together)
    phases = options(validation_beam=3, max_words=7, precision="bfloat16", validation_images=2)
    captioner = small_captioner("updown", len(VOCABULARY), 6)
    validate(captioner, VOCABULARY, source, CAPTIONS, phases, ALONE)
    assert asked == [(("image0", "image1"), BeamSearch(3, 11, precision="bfloat16"), False)]
    assert source.training


def test_cross_entropy_above_three_times_a_uniform_guess_has_diverged(tmp_path: Path) -> None:
    captioner, guess = small_captioner("updown", len(VOCABULARY), 6), math.log(len(VOCABULARY))

    def check(loss: float, phase: CrossEntropyPhase | SelfCriticalPhase) -> None:
        ids = tuple(CAPTIONS)
        regions = Pictures().regions_of(ids)
        check_loss(loss, phase, Position(), captioner, None, regions, ids, tmp_path)

    check(2.99 * guess, CrossEntropyPhase())
    check(3.01 * guess, SelfCriticalPhase())
    with pytest.raises(TrainingError, match=r"diverged at epoch 1, batch 1: the loss is \d.*`learning_rate`"):
        check(3.01 * guess, CrossEntropyPhase())
