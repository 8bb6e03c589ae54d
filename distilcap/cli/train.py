"""`distilcap train`: one captioner on one data set."""

from __future__ import annotations

from pathlib import Path

import click

from distilcap.cli.bounds import BATCH, COUNT, EPOCHS, LEARNING_RATE, MAX_WORDS, SEED, Real
from distilcap.cli.common import (
    CONSOLE,
    PROGRESS,
    captioner_name,
    data_options,
    encoder_options,
    open_store,
    store_option,
)

__all__ = ["train"]

EXAMPLE = """\b
Example:
  distilcap train --data photos/ --captioner updown-small --epochs 15 --scst-epochs 5
"""


@click.command(epilog=EXAMPLE)
@data_options
@encoder_options
@store_option
@click.option("--captioner", default="updown-small", show_default=True, help="See `distilcap models`.")
@click.option("--labels", type=click.Path(path_type=Path), help="Captions file to learn from.")
@click.option("--keep-originals", is_flag=True, help="Learn from the labels and the data's own captions.")
@click.option(
    "--scst-references",
    type=click.Choice(["original", "pseudo"]),
    default="original",
    show_default=True,
    help="What the self-critical reward compares with.",
)
@click.option("--epochs", type=EPOCHS, default=30, show_default=True, help="Of cross-entropy.")
@click.option("--scst-epochs", type=EPOCHS, default=10, show_default=True, help="Of self-critical training.")
@click.option(
    "--learning-rate", type=LEARNING_RATE, default=5e-4, show_default=True, help="Of cross-entropy."
)
@click.option("--scst-learning-rate", type=LEARNING_RATE, default=5e-5, show_default=True)
@click.option("--schedule", type=click.Choice(["step", "cosine"]), default="step", show_default=True)
@click.option("--batch-images", type=BATCH, default=10, show_default=True)
@click.option("--label-smoothing", type=Real(0, 1, max_open=True), default=0.0, show_default=True)
@click.option("--scheduled-sampling", type=Real(0, 1), default=0.0, show_default=True)
@click.option("--tune-encoder", is_flag=True, help="Train the encoder along, from images.")
@click.option(
    "--tune-stages",
    type=click.IntRange(0, 100),
    default=0,
    show_default=True,
    help="Tune only its last so many stages.",
)
@click.option(
    "--encoder-learning-rate",
    type=LEARNING_RATE,
    default=1e-4,
    show_default=True,
    help="With --tune-encoder.",
)
@click.option("--start", type=click.Path(path_type=Path), help="A run of the same captioner to begin from.")
@click.option(
    "--min-count", type=COUNT, default=5, show_default=True, help="Words seen less often become <unk>."
)
@click.option("--max-words", type=MAX_WORDS, default=16, show_default=True, help="Captions are cut there.")
@click.option("--seed", type=SEED, default=0, show_default=True)
def train(
    data: Path,
    images: Path | None,
    encoder: str,
    image_size: int | None,
    encoder_form: str,
    encoder_weights: Path | None,
    store: Path,
    captioner: str,
    labels: Path | None,
    keep_originals: bool,
    scst_references: str,
    epochs: int,
    scst_epochs: int,
    learning_rate: float,
    scst_learning_rate: float,
    schedule: str,
    batch_images: int,
    label_smoothing: float,
    scheduled_sampling: float,
    tune_encoder: bool,
    tune_stages: int,
    encoder_learning_rate: float,
    start: Path | None,
    min_count: int,
    max_words: int,
    seed: int,
) -> None:
    """Train a captioner: cross-entropy, then self-critical. A killed run goes on where it stopped."""
    architecture, size = captioner_name(captioner)
    from distilcap.models.presets import preset
    from distilcap.stages.captions import ImportCaptions
    from distilcap.stages.data import BuildVocabulary, ImportData
    from distilcap.stages.features import ExtractFeatures
    from distilcap.stages.folders import run_of
    from distilcap.stages.train import Train
    from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions

    source = ImportData.of(data, images)
    weights = str(encoder_weights) if encoder_weights else None
    run = Train(
        source,
        BuildVocabulary(source, min_count, max_words),
        ExtractFeatures.of(source, encoder, image_size, weights, encoder_form),
        architecture,
        preset(architecture, size),
        TrainingOptions(
            cross_entropy=CrossEntropyPhase(
                epochs=epochs,
                learning_rate=learning_rate,
                schedule=schedule,
                label_smoothing=label_smoothing,
                scheduled_sampling=scheduled_sampling,
            ),
            self_critical=SelfCriticalPhase(
                epochs=scst_epochs, learning_rate=scst_learning_rate, schedule=schedule
            ),
            batch_images=batch_images,
            max_words=max_words,
            encoder_learning_rate=encoder_learning_rate,
            seed=seed,
        ),
        labels=ImportCaptions.of(labels) if labels else None,
        keep_originals=keep_originals,
        scst_references=scst_references,
        tune_encoder=tune_encoder or tune_stages > 0,
        tune_stages=tune_stages,
        start=run_of(start) if start else None,
    )
    kept = open_store(store)
    folder = kept.build(run, PROGRESS)
    summary = run.summary(kept)
    CONSOLE.print(
        f"{folder}: {captioner}, {summary['parameters'] / 1e6:.2f} M parameters, validation CIDEr "
        f"{100 * summary['best_validation_cider']:.1f}, trained {summary['train_seconds']:.0f} s",
        soft_wrap=True,
    )
