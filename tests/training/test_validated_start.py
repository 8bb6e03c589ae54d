"""What training begins from stays, unless epochs are better on validation on the whole."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch
from test_training import Killed, Notes, Pictures, TunedPictures, options, training, weights

from distilcap.models.weights import load_captioner
from distilcap.tensors import load_tensors
from distilcap.training.best import ENCODER
from distilcap.training.loop import Training
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase
from distilcap.training.schedule import better_on_the_whole

NO_REWARDS = SelfCriticalPhase(epochs=0)


@pytest.mark.parametrize(
    "scores, better",
    [
        ([9.0, 1.0, 1.0, 1.0], False),  # a peak of chance
        ([1.0, 1.0, 3.0, 2.0], True),
        ([9.0, 9.0, 1.0, 1.0, 1.0], False),
        ([1.0, 2.0, 2.0], False),  # as good is not better
        ([2.1], True),
    ],
)
def test_the_second_half_of_validations_decides(scores: list[float], better: bool) -> None:
    assert better_on_the_whole(scores, 2.0) == better


def test_as_good_as_the_start_is_not_better(tmp_path: Path) -> None:
    """The log's scores are rounded, which decides nothing."""
    for seed in range(4):
        idle = CrossEntropyPhase(epochs=2, learning_rate=1e-12)
        phases = options(cross_entropy=idle, self_critical=NO_REWARDS, validate_start=True, seed=seed)
        run = training(tmp_path / str(seed), Pictures(), phases, width=24)
        torch.manual_seed(seed)
        for parameter in run.trained.captioner.parameters():
            torch.nn.init.normal_(parameter, std=0.5)
        position = run.run()
        assert position.validations == [round(position.start_score, 6)] * 2
        assert position.best_score == position.start_score


def test_a_start_that_training_spoils_stays(tmp_path: Path) -> None:
    learnt = training(
        tmp_path / "first",
        Pictures(),
        options(cross_entropy=CrossEntropyPhase(epochs=40, learning_rate=2e-2), self_critical=NO_REWARDS),
        width=24,
    )
    assert learnt.run().best_score > 1
    start = load_captioner(tmp_path / "first").captioner.state_dict()
    spoiling = CrossEntropyPhase(epochs=2, learning_rate=0.1, warmup_steps=2)
    for validated in (True, False):
        notes = Notes()
        phases = options(cross_entropy=spoiling, self_critical=NO_REWARDS, validate_start=validated)
        run = training(tmp_path / str(validated), Pictures(), phases, width=24, progress=notes)
        run.trained.captioner.load_state_dict(start)
        position = run.run()
        kept = weights(load_captioner(tmp_path / str(validated)).captioner)
        assert all(torch.equal(kept[name], start[name]) for name in kept) == validated
        assert any("than what training began from: that stays" in note for note in notes.said) == validated
        assert len(position.history) == 2


@pytest.mark.parametrize("tuned", [False, True])
def test_a_share_of_the_start_is_in_what_is_validated_and_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tuned: bool
) -> None:
    """Of the encoder too, where that learns along; training itself goes on from what was learnt."""
    scores = itertools.count(1.0)  # each epoch is the best so far
    monkeypatch.setattr(Training, "_validate", lambda run, captioner: (next(scores), []))
    crossed = CrossEntropyPhase(epochs=2, learning_rate=1e-2)
    begun = weights(training(tmp_path, Pictures(), options()).trained.captioner)
    found = []
    for share in (0.0, 0.25):
        folder, source = tmp_path / str(share), TunedPictures() if tuned else Pictures()
        phases = options(cross_entropy=crossed, self_critical=NO_REWARDS, start_share=share)
        history = training(folder, source, phases).run().history
        kept = weights(load_captioner(folder).captioner)
        if tuned:
            kept |= load_tensors(folder / ENCODER, "")[0]
        found.append((kept, [epoch["loss"] for epoch in history]))
    (learnt, losses), (mixed, same_losses) = found
    assert losses == same_losses
    assert not tuned or not torch.equal(learnt["scale"], torch.ones(6))
    for name, weight in learnt.items():
        start = begun.get(name, torch.ones(6))
        torch.testing.assert_close(mixed[name], torch.lerp(weight, start, 0.25))


def test_a_second_phase_keeps_the_share_that_the_first_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scores = itertools.count(1.0)
    monkeypatch.setattr(Training, "_validate", lambda run, captioner: (next(scores), [next(scores)]))
    crossed = CrossEntropyPhase(epochs=2, learning_rate=1e-2)
    kept = []
    for rewards in (NO_REWARDS, SelfCriticalPhase(epochs=1, learning_rate=1e-12, samples=2)):
        folder = tmp_path / str(rewards.epochs)
        phases = options(cross_entropy=crossed, self_critical=rewards, start_share=0.25, validate_start=True)
        run = training(folder, Pictures(), phases)
        assert run.run().best_phase == (1 if rewards.epochs else 0)
        kept.append(weights(load_captioner(folder).captioner))
    for name, weight in kept[0].items():
        torch.testing.assert_close(kept[1][name], weight)


@pytest.mark.parametrize("rate", [1e-2, 0.5])
def test_a_validated_start_is_resumed_to_the_same_weights(tmp_path: Path, rate: float) -> None:
    phases = options(
        cross_entropy=CrossEntropyPhase(epochs=2, learning_rate=rate),
        self_critical=SelfCriticalPhase(epochs=1, learning_rate=1e-3, samples=2),
        validate_start=True,
    )
    whole = training(tmp_path / "whole", Pictures(), phases)
    position = whole.run()
    assert isinstance(whole.source, Pictures)
    best = weights(load_captioner(tmp_path / "whole").captioner)
    for dies_at in range(1, whole.source.calls + 1):
        folder = tmp_path / f"killed{dies_at}"
        with pytest.raises(Killed):
            training(folder, Pictures(dies_at), phases, checkpoint_seconds=0.0).run()
        resumed = training(folder, Pictures(), phases)
        assert resumed.run().start_scores == position.start_scores
        again = weights(load_captioner(folder).captioner)
        assert all(torch.equal(again[name], best[name]) for name in best), dies_at
