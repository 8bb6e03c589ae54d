"""Training on a device that is not the CPU: all objectives, all families, plain and accelerated; resuming."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from pretend_device import waiting
from small_captioners import small_captioner, small_options

from distilcap.data.captions import CaptionSet
from distilcap.metrics.reward import CiderReward
from distilcap.models.families import families
from distilcap.models.presets import build_captioner
from distilcap.models.weights import TrainedCaptioner
from distilcap.shapes import Regions
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import Vocabulary
from distilcap.training.batches import encode_captions
from distilcap.training.imitation import TokenTeacher
from distilcap.training.loop import Training
from distilcap.training.options import (
    CrossEntropyPhase,
    SelfCriticalPhase,
    TokenDistillation,
    TrainingOptions,
)
from distilcap.training.processes import Processes

COLOURS, THINGS = ("red", "blue"), ("dog", "cat", "car")
CAPTIONS = CaptionSet.of_texts(
    {
        f"{colour} {thing}": [f"a {colour} {thing} runs", f"the {thing} is {colour}"]
        for colour in COLOURS
        for thing in THINGS
    }
)
VOCABULARY = Vocabulary.build((tokenize(t) for id in CAPTIONS for t in CAPTIONS.texts(id)), 1)
DIM = 6


class Killed(Exception):
    """Stands for SIGKILL."""


class Pictures:
    """Regions that tell the images apart; dies at the call numbered `dies_at`."""

    def __init__(self, dies_at: int = 0) -> None:
        self.calls, self.dies_at = 0, dies_at
        generator = torch.Generator().manual_seed(0)
        features = torch.randn(len(CAPTIONS), 4, DIM, generator=generator)
        self.features = dict(zip(CAPTIONS, features, strict=True))

    def regions_of(self, ids: Sequence[str]) -> Regions:
        self.calls += 1
        if self.calls == self.dies_at:
            raise Killed
        return Regions.full(torch.stack([self.features[id] for id in ids]))


def training(
    folder: Path, device: str, family: str, dropout: float, dies_at: int = 0, **phases: object
) -> Training:
    options = TrainingOptions(batch_images=4, captions_per_image=2, seed=3, max_words=3, **phases)  # type: ignore[arg-type]
    small = small_options(family, dropout=dropout)
    captioner = build_captioner(family, small, len(VOCABULARY), DIM, options.seed)
    run = Training(
        TrainedCaptioner(captioner.to(device), family, small, VOCABULARY, {}),
        Pictures(dies_at),
        CAPTIONS,
        CAPTIONS,
        lambda: CiderReward(encode_captions(CAPTIONS, VOCABULARY, None)),
        options,
        folder,
        checkpoint_seconds=0.0,
        processes=Processes(device=device),
    )
    if isinstance(options.cross_entropy.scheduled_sampling, float):
        names = list(families())
        teacher = small_captioner(names[names.index(family) - 1], len(VOCABULARY), DIM)
        run.token_teacher = TokenTeacher(teacher, Pictures(), TokenDistillation(0.5))
    return run


@pytest.mark.parametrize("path", ["plain", "accelerated"])
@pytest.mark.parametrize("family", families())
def test_all(family: str, path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTILCAP_PLAIN", str(int(path == "plain")))
    crossed = CrossEntropyPhase(epochs=1, learning_rate=2e-2, label_smoothing=0.1, weight_averaging=0.9)
    critical = SelfCriticalPhase(epochs=1, samples=3, baseline="greedy")
    for device in ("cpu", "pretend"):
        with waiting() as waits:
            run = training(tmp_path / device, device, family, 0.0, cross_entropy=crossed, self_critical=critical)
            run.run()
        print(family,path,device,run.position.history)
        for k in sorted(waits): print("   ", k, waits[k])
