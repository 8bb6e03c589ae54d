"""Keywords of `distilcap.train` and `distilcap.distill`, for type checkers and editors.

Values and their meaning are those of the options (`distilcap train --help`). Nothing reads these classes at
run time; a test holds them equal to the option classes, and names what differs.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import TypeAlias, TypedDict

__all__ = ["AnyPath", "DistillKeywords", "TrainKeywords"]

AnyPath: TypeAlias = str | os.PathLike[str]


class _Keywords(TypedDict, total=False):
    """Of both: the data's columns, the encoder and the training."""

    image_column: str | None
    caption_column: Sequence[str]
    split_column: str | None
    encoder: str
    image_size: int | None
    encoder_form: str | None
    encoder_weights: AnyPath | None
    encoder_engine: str | None
    epochs: int
    learning_rate: float
    schedule: str
    warmup_steps: int
    scheduled_sampling: float
    weight_averaging: float
    scst_epochs: int
    scst_learning_rate: float
    scst_schedule: str
    scst_warmup_steps: int
    scst_samples: int
    scst_baseline: str
    scst_dropout: bool
    scst_weight_averaging: float
    scst_unk_is_wrong: bool
    batch_images: int
    captions_per_image: int
    max_words: int
    gradient_clip: float
    validation_beam: int
    validation_every: int
    validation_images: int
    validate_start: bool
    start_share: float
    patience: int
    precision: str
    recipe: str
    start: AnyPath | None
    min_count: int | None
    tokenizer: str
    clean_labels: bool
    keep_originals: bool


class TrainKeywords(_Keywords, total=False):
    """See `distilcap train --help`."""

    captioner: str | None
    labels: AnyPath | None
    scst_references: str
    tune_encoder: bool
    tune_stages: int
    encoder_learning_rate: float
    scst_encoder_learning_rate: float | None
    label_smoothing: float
    seed: int


class DistillKeywords(_Keywords, total=False):
    """See `distilcap distill --help`."""

    teacher: str | None
    teacher_model: str | None
    teacher_captions: AnyPath | None
    teacher_run: Sequence[AnyPath]
    teacher_encoder: str | None
    student: str | None
    intermediate: str | None
    beam_size: int
    n_best: int | None
    neutral_people: bool
    control_epochs: int
    unlabelled: AnyPath | None
    seeds: int
