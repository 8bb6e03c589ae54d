"""Flickr8k on a CPU: a teacher, an undistilled small student, a distilled one, and controls.

Command: `distilcap reproduce flickr8k --data flickr8k/ --to docs/results/flickr8k-line`
Schedule: shorter than the paper's 30 + 10 epochs, so that two cores suffice; the same for all students.
Features: EfficientNet-Lite0, 7 x 7 grid of 1280 channels at 224 px.
Run time and result: see docs/log.md.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.plan import Distillation, Role, plan_distillation
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

__all__ = ["flickr8k_plan"]

CROSS_ENTROPY = CrossEntropyPhase(
    epochs=9,
    learning_rate=1e-3,
    schedule="cosine",
    warmup_steps=300,
    label_smoothing=0.1,
    weight_averaging=0.998,
)
SELF_CRITICAL = SelfCriticalPhase(
    epochs=5, learning_rate=2e-4, schedule="cosine", warmup_steps=100, weight_averaging=0.99
)
TRAINING = TrainingOptions(cross_entropy=CROSS_ENTROPY, self_critical=SELF_CRITICAL, batch_images=16)

TEACHER = Role(
    "updown",
    "384 wide",
    UpDownOptions(hidden=384, embedding=256, attention=192, dropout=0.3, output_states="both"),
    TRAINING,
)
# The teacher then learns on, together with the last two stages of its encoder.
TUNING = TrainingOptions(
    cross_entropy=dataclasses.replace(
        CROSS_ENTROPY, epochs=2, learning_rate=4e-4, warmup_steps=50, weight_averaging=0.0
    ),
    self_critical=dataclasses.replace(
        SELF_CRITICAL, epochs=3, learning_rate=1e-4, warmup_steps=50, weight_averaging=0.0
    ),
    batch_images=16,
    encoder_learning_rate=2e-4,
)
STUDENT = Role(
    "updown",
    "small",
    UpDownOptions(hidden=256, embedding=256, attention=128, dropout=0.3, output_states="both"),
    dataclasses.replace(
        TRAINING,
        cross_entropy=dataclasses.replace(CROSS_ENTROPY, epochs=6),
        self_critical=SelfCriticalPhase(epochs=0),
    ),
)


def flickr8k_plan(data: Path, images: Path | None, seeds: int = 1, tuned: bool = False) -> Distillation:
    """The stages of the measurement.

    The control has half as many epochs again as the student, about what labelling costs.

    Args:
        tuned: the teacher learns on together with its encoder's last stages before it labels.
    """
    source = ImportData.of(data, images)
    features = ExtractFeatures.of(source, "efficientnet-lite0")
    return plan_distillation(
        source,
        features,
        TEACHER,
        STUDENT,
        beam=5,
        n_best=5,
        control_epochs=9,
        tuning=TUNING if tuned else None,
        seeds=tuple(range(seeds)),
    )
