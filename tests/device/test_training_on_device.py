"""Training on a device that is not the CPU: all objectives, all families, plain and accelerated; resuming.

It must compute what the CPU computes, and wait for the device only where `device_waits` says.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path

import pytest
import torch
from device_waits import check, draws_as_the_cpu, waiting
from small_captioners import small_captioner, small_options, sure_captioner
from torch import Tensor

from distilcap.data.captions import CaptionSet
from distilcap.decode.captions import RegionSource
from distilcap.metrics.reward import CiderReward
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import PLAIN, accelerate
from distilcap.models.presets import build_captioner
from distilcap.models.weights import TrainedCaptioner
from distilcap.shapes import Regions
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import Vocabulary
from distilcap.training import loop
from distilcap.training.batches import Batches, encode_captions
from distilcap.training.graphs import Compute, Recordings
from distilcap.training.imitation import Imitation, TokenTeacher
from distilcap.training.loop import Training
from distilcap.training.objectives import CrossEntropy, Objective, SelfCritical
from distilcap.training.options import (
    CrossEntropyPhase,
    SelfCriticalPhase,
    TokenDistillation,
    TrainingOptions,
)
from distilcap.training.processes import Processes
from distilcap.training.shares import share_of_batch


def described(*things: tuple[str, str]) -> CaptionSet:
    return CaptionSet.of_texts(
        {
            f"{colour} {thing}": [f"a {colour} {thing} runs", f"{thing} is {colour}"]
            for colour, thing in things
        }
    )


CAPTIONS = described(("red", "dog"), ("blue", "dog"), ("red", "cat"))
LEARNT = CaptionSet({**CAPTIONS, **described(("blue", "cat"), ("dog", "cat"))})
VOCABULARY = Vocabulary.build((tokenize(t) for id in CAPTIONS for t in CAPTIONS.texts(id)), 1)
DIM, WORDS = 6, 4
NO_DROPOUT = {"dropout": 0.0, "refiner_dropout": 0.0, "aoa_dropout": 0.0}
FEATURES = torch.cat(
    [torch.randn(count, 4, DIM, generator=torch.Generator().manual_seed(n)) for n, count in enumerate((3, 2))]
)


class Killed(Exception):
    """Stands for SIGKILL."""


class Pictures:
    """Regions that tell the images apart, on the CPU as a feature store's; dies at the call `dies_at`."""

    def __init__(self, dies_at: int = 0) -> None:
        self.calls, self.dies_at = 0, dies_at

    def regions_of(self, ids: Sequence[str]) -> Regions:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        rows = [list(LEARNT).index(id) for id in ids]
        mask = torch.arange(4) < torch.tensor(rows)[:, None] % 3 + 2
        return Regions(FEATURES[rows], mask)


def reward() -> CiderReward:
    return CiderReward(encode_captions(LEARNT, VOCABULARY, None))


def teacher() -> TokenTeacher:
    return TokenTeacher(small_captioner("updown", len(VOCABULARY), DIM), Pictures(), TokenDistillation())


OBJECTIVES: dict[str, Callable[[], Objective]] = {
    "cross-entropy": lambda: CrossEntropy(),
    "label smoothing": lambda: CrossEntropy(label_smoothing=0.1),
    "scheduled sampling": lambda: CrossEntropy(sampling=0.5),
    "imitation": lambda: Imitation(CrossEntropy(), teacher()),
    "self-critical": lambda: SelfCritical(reward(), 3, max_words=WORDS),
    "self-critical, greedy": lambda: SelfCritical(reward(), 3, "greedy", max_words=WORDS),
    "self-critical, dropout": lambda: SelfCritical(reward(), 3, max_words=WORDS, dropout=True),
}


def one_step(
    captioner: Captioner, objective: Objective, device: str | torch.device
) -> tuple[dict[str, float], dict[str, Tensor]]:
    """Figures of a step, and gradients."""
    torch.manual_seed(1)
    (batch,) = Batches(encode_captions(CAPTIONS, VOCABULARY, WORDS), 3, 2, seed=0).epoch(0)
    loss, figures = objective(captioner.train(), Pictures().regions_of(batch.ids).to(device), batch)
    figures.pop("words", None)
    share = share_of_batch(Processes(device=str(device)), loss, figures, 1.0, 3)
    share.loss.backward()  # type: ignore[no-untyped-call]
    return share.figures, {
        name: parameter.grad.cpu()
        for name, parameter in captioner.named_parameters()
        if parameter.grad is not None
    }


@pytest.mark.parametrize("path", ["plain", "accelerated"])
@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_objectives_compute_what_the_cpu_computes_and_wait_once(
    objective: str, family: str, path: str, device: torch.device
) -> None:
    captioner = sure_captioner(family, len(VOCABULARY), DIM, **NO_DROPOUT)
    captioner = captioner if path == "plain" else accelerate(captioner)
    figures, gradients = one_step(copy.deepcopy(captioner), OBJECTIVES[objective](), "cpu")
    with waiting() as waits:
        on_device = one_step(captioner.to(device), OBJECTIVES[objective](), device)
    if objective.startswith(("self-critical", "scheduled")) and not draws_as_the_cpu(device):
        pytest.skip("a GPU draws other words")
    assert on_device[0] == pytest.approx(figures, rel=1e-4)
    torch.testing.assert_close(on_device[1], gradients, atol=1e-4, rtol=1e-3)
    critical = objective.startswith("self-critical")
    # Greedy captions are searched for by plain code, and told from samples by accelerated code.
    check(waits, step=1, word=(WORDS + 1) * (3 if "greedy" in objective else 1) if critical else 0)


def training(
    folder: Path,
    device: str | torch.device,
    family: str = "updown",
    dies_at: int = 0,
    source: RegionSource | None = None,
    imitates: bool = True,
    **wanted: float,
) -> Training:
    """Of two epochs, one a phase, of three steps, the last smaller; without a teacher two can be recorded."""
    options = TrainingOptions(
        CrossEntropyPhase(epochs=1, learning_rate=1e-2, weight_averaging=0.9),
        SelfCriticalPhase(epochs=1, samples=2),
        batch_images=2,
        captions_per_image=2,
        max_words=WORDS,
        seed=3,
    )
    small = small_options(family, **wanted)
    captioner = build_captioner(family, small, len(VOCABULARY), DIM, options.seed).to(device)
    return Training(
        TrainedCaptioner(captioner, family, small, VOCABULARY, {}),
        source or Pictures(dies_at),
        LEARNT,
        LEARNT,
        reward,
        options,
        folder,
        checkpoint_seconds=0.0,
        token_teacher=teacher() if imitates else None,
        processes=Processes(device=str(device)),
    )


def take_recorded_steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Let trainings take the steps that are recorded on a GPU, whatever the device is; what they record."""
    names: list[str] = []

    class Noted(dict[Hashable, Compute]):
        def __setitem__(self, key: Hashable, compute: Compute) -> None:
            names.append(key if isinstance(key, str) else key[0])  # type: ignore[index]
            super().__setitem__(key, compute)

    def recordings(options: TrainingOptions, *_: object) -> Recordings:
        made = Recordings(options.batch_images, options.max_words)
        made._recorded = Noted()
        return made

    monkeypatch.setattr(loop, "recordings_for", recordings)
    return names


@pytest.mark.parametrize("path", ["plain", "accelerated", "recorded"])
@pytest.mark.parametrize("family", families())
def test_runs_are_those_of_the_cpu(
    family: str, path: str, tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both phases with validation, moving averages, checkpoints and the best weights between them."""
    monkeypatch.setenv(PLAIN, str(int(path == "plain")))
    imitates = path != "recorded"
    expected = training(tmp_path / "cpu", "cpu", family, imitates=imitates, **NO_DROPOUT)
    expected.run()
    if path == "recorded":
        recorded = take_recorded_steps(monkeypatch)
    run = training(tmp_path / "device", device, family, imitates=imitates, **NO_DROPOUT)
    with waiting() as waits:
        run.run()
    assert path != "recorded" or recorded == ["loss", "drawn", "loss"]
    steps, validations = 6, 2
    check(
        waits,
        step=steps,
        word=steps / 2 * (WORDS + 1) + validations * (WORDS + 4),
        image=validations * len(LEARNT),
        batch=validations,
        validation=validations,
        save=1,
    )
    assert run._captioner.accelerated == (path != "plain")
    for record, wanted in zip(run.position.history, expected.position.history, strict=True):
        if record["phase"] == "self_critical" and (path == "recorded" or not draws_as_the_cpu(device)):
            break  # recorded steps draw every sample to its last word, and so take other random numbers
        for name in wanted.keys() - {"phase", "seconds"}:
            assert record[name] == pytest.approx(wanted[name], rel=1e-3), (record, name)


@pytest.mark.parametrize("path", ["plain", "accelerated", "recorded"])
def test_a_run_killed_and_resumed_gives_the_same_weights(
    path: str, tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dropout and samples are drawn from the device's own generator, whose state a checkpoint keeps."""
    monkeypatch.setenv(PLAIN, str(int(path == "plain")))
    recorded = take_recorded_steps(monkeypatch) if path == "recorded" else []
    imitates = path != "recorded"
    whole = training(tmp_path / "whole", device, imitates=imitates, dropout=0.3)
    whole.run()
    assert isinstance(whole.source, Pictures)
    # Before the second step of each phase, which can be recorded.
    for dies_at, records in ((2, ["loss", "drawn", "loss"]), (whole.source.calls - 2, ["drawn", "loss"])):
        folder = tmp_path / str(dies_at)
        with pytest.raises(Killed):
            training(folder, device, dies_at=dies_at, imitates=imitates, dropout=0.3).run()
        torch.manual_seed(999)  # another process would have another random state
        recorded.clear()
        resumed = training(folder, device, imitates=imitates, dropout=0.3)
        resumed.run()
        assert path != "recorded" or recorded == records
        expected, got = (
            torch.cat([weight.cpu().flatten() for weight in run._captioner.state_dict().values()])
            for run in (whole, resumed)
        )
        if draws_as_the_cpu(device):
            assert torch.equal(got, expected), dies_at
        else:  # a GPU sums some gradients in any order; other dropout alone moves weights by 4e-3
            assert (got - expected).abs().mean() < 5e-4, dies_at


def test_building_a_captioner_leaves_the_device_s_random_numbers_alone(device: torch.device) -> None:
    """Else all processes of a launch would go on with the same dropout after the best weights are read."""
    torch.manual_seed(4)
    expected = torch.rand(3, device=device).cpu()
    torch.manual_seed(4)
    small_captioner("updown", 9, DIM)
    assert torch.equal(torch.rand(3, device=device).cpu(), expected)


def test_bfloat16_trains_on_the_device(tmp_path: Path, device: torch.device) -> None:
    run = training(tmp_path, device)
    run.options = TrainingOptions(
        CrossEntropyPhase(epochs=1), SelfCriticalPhase(epochs=1), batch_images=3, precision="bfloat16"
    )
    losses = [record["loss"] for record in run.run().history]
    assert len(losses) == 2
    assert all(parameter.dtype == torch.float32 for parameter in run._captioner.parameters())
