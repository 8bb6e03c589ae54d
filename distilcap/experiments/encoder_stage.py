"""Encoder distillation as a stage: a small encoder learns the features of a large one."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.experiments.stage import Stage, Store, not_in_key
from distilcap.experiments.steps import TUNED, ExtractFeatures, ImportData
from distilcap.progress import Progress

__all__ = ["DistillEncoder"]


@dataclass(frozen=True)
class DistillEncoder(Stage):
    """An encoder that was trained towards another's features of the training images.

    Attributes:
        teacher: the features to learn; the student's grid is brought to the teacher's.
        recipe_json: of the student before (see `ExtractFeatures`).
        epochs, batch_images, learning_rate, seed: see `encoders.distill.EncoderDistillation`.
        encoder, size, weights, form: what `create_encoder` takes for the student.
    """

    on_gpu: ClassVar[bool] = True
    data: ImportData
    teacher: ExtractFeatures
    recipe_json: str
    epochs: int
    batch_images: int
    learning_rate: float
    seed: int
    encoder: str = not_in_key()
    size: int | None = not_in_key()
    weights: str | None = not_in_key()
    form: str | None = not_in_key()

    @staticmethod
    def of(
        teacher: ExtractFeatures,
        student: ExtractFeatures,
        epochs: int = 10,
        batch_images: int = 32,
        learning_rate: float = 1e-3,
        seed: int = 0,
    ) -> DistillEncoder:
        """The stage that teaches `student`'s encoder what `teacher`'s sees."""
        return DistillEncoder(
            teacher.data,
            teacher,
            student.recipe_json,
            epochs,
            batch_images,
            learning_rate,
            seed,
            student.encoder,
            student.size,
            student.weights,
            student.form,
        )

    def features(self) -> ExtractFeatures:
        """What the trained student sees in the images of the same data."""
        return ExtractFeatures(
            self.data, self.recipe_json, self, self.encoder, self.size, self.weights, self.form
        )

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write the encoder, for `create_encoder`, and its log; a killed build goes on."""
        from distilcap.encoders.distill import EncoderDistillation, distill_encoder
        from distilcap.encoders.registry import create_encoder

        seen, dataset = self.teacher.load(store), self.data.load(store)
        student = create_encoder(
            self.encoder, size=self.size, weights=self.weights, form=self.form, regions=seen.regions
        )
        options = EncoderDistillation(self.epochs, self.batch_images, self.learning_rate, self.seed)
        training, validation = dataset.split("train"), dataset.split("val")
        distill_encoder(student, seen, training, validation, folder / TUNED, options, progress)
