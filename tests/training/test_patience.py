"""A phase ends early where validation has not become better for so many times."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_training import Killed, Notes, Pictures, options, training, weights

from distilcap.models.weights import load_captioner
from distilcap.training.loop import Training
from distilcap.training.options import LEARNT_NOTHING, CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

EPOCHS = 12
NO_REWARDS = SelfCriticalPhase(epochs=0)


def learning(patience: int, **changes: object) -> TrainingOptions:
    phase = CrossEntropyPhase(epochs=EPOCHS, learning_rate=2e-2)
    return options(cross_entropy=phase, self_critical=NO_REWARDS, patience=patience, **changes)


def scores_of(folder: Path, phases: TrainingOptions) -> list[float]:
    history = training(folder, Pictures(), phases, width=24).run().history
    return [record["validation_cider"] for record in history if "validation_cider" in record]


@pytest.mark.parametrize("every", [1, 2])
def test_a_run_ends_where_the_whole_run_had_long_been_better(tmp_path: Path, every: int) -> None:
    whole = scores_of(tmp_path / "whole", learning(0, validation_every=every))
    stops = []
    for patience in (1, EPOCHS):
        scores = scores_of(tmp_path / str(patience), learning(patience, validation_every=every))
        ends = next(
            (
                end
                for end in range(1, len(whole) + 1)
                if max(whole[:end]) >= LEARNT_NOTHING and end - 1 - whole.index(max(whole[:end])) >= patience
            ),
            len(whole),
        )
        assert scores == whole[:ends], patience
        assert load_captioner(tmp_path / str(patience)).captioner is not None
        stops.append(ends)
    assert stops == sorted(stops)
    assert stops[0] < len(whole) == stops[-1]


def test_nothing_is_counted_before_anything_is_learnt(tmp_path: Path) -> None:
    slow = CrossEntropyPhase(epochs=4, learning_rate=1e-9)
    phases = options(cross_entropy=slow, self_critical=NO_REWARDS, patience=1)
    assert scores_of(tmp_path / "run", phases) == 4 * [pytest.approx(0, abs=LEARNT_NOTHING)]


def test_a_run_that_ends_early_is_resumed_to_the_same_weights(tmp_path: Path) -> None:
    learnt = training(tmp_path / "learnt", Pictures(), learning(0), width=24)
    assert learnt.run().best_score > LEARNT_NOTHING
    start = load_captioner(tmp_path / "learnt").captioner.state_dict()

    def spoilt(folder: Path, source: Pictures, scst_epochs: int = 1, **changes: object) -> Training:
        phases = options(
            cross_entropy=CrossEntropyPhase(epochs=EPOCHS, learning_rate=0.3),
            self_critical=SelfCriticalPhase(epochs=scst_epochs, learning_rate=1e-9, samples=2),
            validate_start=True,
            patience=2,
        )
        run = training(folder, source, phases, width=24, **changes)
        run.trained.captioner.load_state_dict(start)
        return run

    first_phase, notes = Pictures(), Notes()
    assert len(spoilt(tmp_path / "first", first_phase, scst_epochs=0, progress=notes).run().history) == 3
    assert "stopped after epoch 3: no better weights in 2 validations" in notes.said
    history = spoilt(tmp_path / "whole", Pictures()).run().history
    assert len(history) == 4  # self-critical training is given its own patience
    best = weights(load_captioner(tmp_path / "whole").captioner)
    for dies_at in range(first_phase.calls - 1, first_phase.calls + 3):  # before, at and after that end
        folder = tmp_path / f"killed{dies_at}"
        with pytest.raises(Killed):
            spoilt(folder, Pictures(dies_at), checkpoint_seconds=0.0).run()
        resumed = spoilt(folder, Pictures()).run()
        assert [record["loss"] for record in resumed.history] == [record["loss"] for record in history]
        again = weights(load_captioner(folder).captioner)
        assert all(torch.equal(again[name], best[name]) for name in best), dies_at
