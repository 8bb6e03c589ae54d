"""Encoder distillation as a stage: a small encoder learns the features of a large one."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.progress import Progress
from distilcap.stages.features import TUNED, ExtractFeatures
from distilcap.store.stage import Stage, Store

__all__ = ["DistillEncoder"]


@dataclass(frozen=True)
class DistillEncoder(Stage):
    """An encoder that was trained towards another's features of the training images.

    Attributes:
        teacher: the features to learn; the student's grid is brought to the teacher's.
        student: names the encoder that learns; its own features are not extracted.
        epochs, batch_images, learning_rate, seed: see `encoders.distill.EncoderDistillation`.
    """

    on_gpu: ClassVar[bool] = True
    teacher: ExtractFeatures
    student: ExtractFeatures
    epochs: int = 10
    batch_images: int = 32
    learning_rate: float = 1e-3
    seed: int = 0

    def inputs(self) -> tuple[Stage, ...]:
        """The teacher's features and the data."""
        return self.teacher, self.teacher.data

    def features(self) -> ExtractFeatures:
        """What the trained student sees in the images of the same data."""
        return dataclasses.replace(self.student, tuned_by=self)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write the encoder, for `create_encoder`, and its log; a killed build goes on."""
        from distilcap.encoders.distill import EncoderDistillation, distill_encoder
        from distilcap.encoders.registry import create_encoder

        seen, dataset = self.teacher.load(store), self.teacher.data.load(store)
        wanted = self.student
        student = create_encoder(
            wanted.encoder, size=wanted.size, weights=wanted.weights, form=wanted.form, regions=seen.regions
        )
        options = EncoderDistillation(self.epochs, self.batch_images, self.learning_rate, self.seed)
        training, validation = dataset.split("train"), dataset.split("val")
        distill_encoder(student, seen, training, validation, folder / TUNED, options, progress)
