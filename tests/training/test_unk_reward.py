"""Whether `<unk>`, which no caption is written with, is rewarded where references have rare words."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from distilcap.data.scenes import draw_scenes
from distilcap.metrics.reward import CiderReward
from distilcap.models.updown import UpDownOptions
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.store import Store
from distilcap.text.vocabulary import EOS, UNK
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

RARE = 10
"""Times that a word must occur, so that some are `<unk>`."""


def test_unk_is_rewarded_unless_it_is_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple[Mapping[str, Sequence[Sequence[int]]], CiderReward]] = []

    class Noted(CiderReward):
        def __init__(self, references: Mapping[str, Sequence[Sequence[int]]]) -> None:
            super().__init__(references)
            made.append((references, self))

    monkeypatch.setattr("distilcap.metrics.reward.CiderReward", Noted)
    draw_scenes(tmp_path / "scenes", (12, 4, 4), size=64)
    data, store = ImportData.of(tmp_path / "scenes"), Store(tmp_path / "store")
    features = ExtractFeatures.of(data, "efficientnet-lite0", 64, "random")
    training = TrainingOptions(CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=1), batch_images=8)
    captioner = UpDownOptions(hidden=8, embedding=8, attention=4)
    run = Train(data, BuildVocabulary(data, RARE), features, "updown", captioner, training)
    strict = dataclasses.replace(training.self_critical, unk_is_wrong=True)
    other = dataclasses.replace(run, training=dataclasses.replace(training, self_critical=strict))
    assert other.key != run.key
    for stage in (run, other):
        store.build(stage)
    (usual, rewards), (_, of_other) = made
    image, caption = next(
        (id, caption) for id, of_image in usual.items() for caption in of_image if UNK in caption
    )
    without = [UNK + 1 if id == UNK else id for id in caption]  # some word that there is
    drawn = np.array([[[*caption, EOS], [*without, EOS]]])
    (unk, word), (other_unk, other_word) = rewards([image], drawn)[0], of_other([image], drawn)[0]
    assert unk > other_unk + 0.1
    assert word == pytest.approx(other_word)
