"""What is validated and kept, and what the next phase and a resumed run begin from."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from test_training import Killed, Pictures, TunedPictures, options, training
from torch import Tensor, nn

from distilcap.models.captioner import Captioner
from distilcap.models.weights import load_captioner
from distilcap.training import loop
from distilcap.training.loop import Training
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase


def all_weights(*modules: nn.Module) -> Tensor:
    return torch.cat([one.detach().flatten() for module in modules for one in module.parameters()])


def test_the_average_is_what_is_validated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moves: list[tuple[float, int]] = []
    validated: list[Tensor] = []

    def move(average: nn.Module, current: nn.Module, decay: float, step: int) -> None:
        assert current is run._captioner
        moves.append((decay, step))
        for one in average.parameters():
            one.data.fill_(0.25)

    def validate(run: Training, captioner: Captioner) -> tuple[float, list[float]]:
        validated.append(all_weights(captioner))
        return 1.0, []

    monkeypatch.setattr(loop, "move_average", move)
    monkeypatch.setattr(Training, "_validate", validate)
    averaged = CrossEntropyPhase(epochs=1, weight_averaging=0.7)
    run = training(
        tmp_path, Pictures(), options(cross_entropy=averaged, self_critical=SelfCriticalPhase(epochs=0))
    )
    run.run()
    assert moves == [(0.7, 0), (0.7, 1), (0.7, 2)]
    for found in (*validated, all_weights(load_captioner(tmp_path).captioner)):
        assert found.eq(0.25).all()
    assert len(validated) == 1


def test_the_second_phase_begins_from_the_best_weights_of_captioner_average_and_encoder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source, scores = TunedPictures(), iter([2.0, 1.0, 0.5])  # the first epoch is the best
    validated: list[Tensor] = []

    def validate(run: Training, captioner: Captioner) -> tuple[float, list[float]]:
        validated.append(all_weights(captioner, source))
        return next(scores), []

    monkeypatch.setattr(Training, "_validate", validate)
    monkeypatch.setattr(loop, "move_average", lambda *given: None)
    still = SelfCriticalPhase(
        epochs=1, learning_rate=1e-12, encoder_learning_rate=1e-12, samples=2, weight_averaging=0.5
    )
    crossed = CrossEntropyPhase(epochs=2, learning_rate=1e-2)
    run = training(tmp_path, source, options(cross_entropy=crossed, self_critical=still))
    run.run()
    best, last, average = validated
    assert (best - last)[-6:].abs().min() > 1e-5  # the encoder's learnt on too
    torch.testing.assert_close(average, best, atol=1e-8, rtol=0)
    torch.testing.assert_close(all_weights(run._captioner, source), best, atol=1e-8, rtol=0)


def test_an_encoder_that_learns_along_is_resumed_to_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Training, "_validate", lambda run, captioner: (1.0, []))
    phases = options(cross_entropy=CrossEntropyPhase(epochs=1), self_critical=SelfCriticalPhase(epochs=0))

    def begun(folder: str, dies_at: int | None = None) -> Training:
        source = TunedPictures()
        source.pictures.dies_at = dies_at
        return training(tmp_path / folder, source, phases, checkpoint_seconds=0.0)

    whole, resumed = begun("whole"), begun("killed")
    whole.run()
    with pytest.raises(Killed):
        begun("killed", dies_at=3).run()
    resumed.run()
    for run in (whole, resumed):
        assert isinstance(run.source, nn.Module)
    found, expected = (all_weights(run._captioner, run.source) for run in (resumed, whole))  # type: ignore[arg-type]
    assert torch.equal(found, expected)
