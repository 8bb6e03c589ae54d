"""What training begins from stays, unless epochs are better on validation on the whole."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_training import Killed, Notes, Pictures, options, training, weights

from distilcap.models.weights import load_captioner
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
