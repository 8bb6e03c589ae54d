"""What an encoder is worth: the same small captioner on encoders of several sizes, frozen and tuned.

Command: `distilcap reproduce encoders --data flickr8k/ --to docs/results/encoders`
Schedule: short, for two CPU cores, at `SIZE` pixels. `FROZEN` epochs of cross-entropy on the published
features; `TUNED` more, either on the same features ("longer": the control) or with its last two stages
learning too.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distilcap.models.updown import UpDownOptions
from distilcap.reports.results import Member
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

__all__ = ["ENCODERS", "encoder_members"]

ENCODERS = ("efficientnet-lite0", "efficientnet-lite1", "efficientnet-lite2")
SIZE = 160
FROZEN, TUNED = 4, 1
CAPTIONER = UpDownOptions(hidden=128, embedding=128, attention=64, dropout=0.2, output_states="both")
TRAINING = TrainingOptions(
    cross_entropy=CrossEntropyPhase(
        epochs=FROZEN,
        learning_rate=2e-3,
        schedule="cosine",
        warmup_steps=60,
        label_smoothing=0.1,
        weight_averaging=0.98,
    ),
    self_critical=SelfCriticalPhase(epochs=0),
    batch_images=32,
    validation_every=2,
)
LEARN_ON = dataclasses.replace(
    TRAINING,
    cross_entropy=dataclasses.replace(
        TRAINING.cross_entropy, epochs=TUNED, learning_rate=5e-4, warmup_steps=20
    ),
    encoder_learning_rate=2e-4,
)


def encoder_members(
    data: Path,
    images: Path | None = None,
    encoders: tuple[str, ...] = ENCODERS,
    seeds: tuple[int, ...] = (0,),
) -> tuple[Member, ...]:
    """Three rows an encoder: frozen, frozen for longer, tuned."""
    source = ImportData.of(data, images)
    vocabulary = BuildVocabulary(source)

    def train(features: ExtractFeatures, seed: int) -> Train:
        first = dataclasses.replace(TRAINING, seed=seed)
        return Train(source, vocabulary, features, "updown", CAPTIONER, first)

    def learn_on(run: Train) -> Train:
        more = dataclasses.replace(LEARN_ON, seed=run.training.seed)
        return dataclasses.replace(run, training=more, start=run)

    def member(name: str, role: str, runs: tuple[Train, ...]) -> Member:
        return Member(name, role, "128 wide", runs)

    members = []
    for name in encoders:
        features = ExtractFeatures.of(source, name, SIZE)
        frozen = tuple(train(features, seed) for seed in seeds)
        longer = tuple(map(learn_on, frozen))
        tuned = tuple(dataclasses.replace(run, tune_encoder=True, tune_stages=2) for run in longer)
        members += [
            member(f"{name}, frozen", "student", frozen),
            member(f"{name}, frozen, longer", "control", longer),
            member(f"{name}, tuned", "student", tuned),
        ]
    return tuple(members)
