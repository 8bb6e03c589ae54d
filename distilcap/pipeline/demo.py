"""The demo: the whole line on the drawn `scenes` data set.

Command: `make demo`, or `distilcap demo`.
Run time: under 6 minutes on 2 cores without a GPU; a second run takes seconds.
Expected: the teacher is clearly better than the student without it; the table and the sentence below it say
whether the distilled student gained.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from distilcap.models.updown import UpDownOptions
from distilcap.pipeline.plan import Distillation, Role, plan_distillation
from distilcap.stages.data import ImportData
from distilcap.stages.features import EncoderOptions
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

__all__ = ["IMAGES", "demo_plan"]

IMAGES = {"train": 1000, "val": 150, "test": 300}
IMAGE_SIZE = 160


def demo_plan(data_folder: Path, store: Path | None = None) -> Distillation:
    """The stages of the demo, on scenes that were drawn into `data_folder`; see `EncoderOptions.stage`."""
    data = ImportData.of(data_folder)
    # By PyTorch, as its published results: 1,450 small pictures take seconds either way.
    features = EncoderOptions(image_size=IMAGE_SIZE, encoder_engine="torch").stage(data, store)
    shared = TrainingOptions(batch_images=20, validation_every=2, seed=0)
    phase = CrossEntropyPhase(
        learning_rate=2e-3, schedule="cosine", warmup_steps=60, label_smoothing=0.1, weight_averaging=0.98
    )
    teacher = Role(
        "updown",
        "192 wide",
        UpDownOptions(hidden=192, embedding=128, attention=96, dropout=0.2, output_states="both"),
        dataclasses.replace(
            shared,
            cross_entropy=dataclasses.replace(phase, epochs=10),
            self_critical=SelfCriticalPhase(
                epochs=2, learning_rate=2e-4, schedule="cosine", weight_averaging=0.98
            ),
        ),
    )
    student = Role(
        "updown",
        "tiny",
        UpDownOptions(hidden=128, embedding=128, attention=64, dropout=0.1, output_states="both"),
        dataclasses.replace(
            shared,
            cross_entropy=dataclasses.replace(phase, epochs=8),
            self_critical=SelfCriticalPhase(epochs=0),
        ),
    )
    return plan_distillation(data, features, teacher, student, beam=5, n_best=5)
