"""`distilcap train`: a captioner on a data set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from distilcap.cli.box import say_terms
from distilcap.cli.common import CONSOLE, PROGRESS, open_store, precision_here, store_option
from distilcap.cli.options import flags
from distilcap.pipeline.train import RunOptions, run_to_train, train_run
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions
from distilcap.training.options import TrainingOptions

__all__ = ["train"]

EXAMPLE = """\b
Example:
  distilcap train --data photos/ --captioner updown-small --epochs 15 --scst-epochs 5
"""


@click.command(epilog=EXAMPLE)
@flags(DataOptions, "data")
@flags(EncoderOptions, "encoder")
@flags(RunOptions, "run")
@flags(TrainingOptions, "training", given=True)
@store_option
def train(
    data: DataOptions, encoder: EncoderOptions, run: RunOptions, training: dict[str, Any], store: Path
) -> None:
    """Train a captioner: cross-entropy, then self-critical. A killed run goes on where it stopped.

    Options of training that are not given are decided by --recipe.
    """
    from distilcap.models.presets import size_of
    from distilcap.study.announce import announce

    kept = open_store(store)
    device = kept.processes.device
    if "precision" in training:
        training["precision"] = precision_here(training["precision"], device)
    stage = run_to_train(data, encoder, run, training, store, device)
    if stage.licence is not None:
        say_terms()
    announce([stage], kept, PROGRESS)
    trained = train_run(stage, kept, PROGRESS)
    name = f"{stage.architecture}-{size_of(stage.options)}"
    CONSOLE.print(
        f"{trained.folder}: {name}, {trained.parameters / 1e6:.2f} M parameters, validation CIDEr "
        f"{100 * trained.best_validation_cider:.1f}, trained {trained.train_seconds:.0f} s",
        soft_wrap=True,
    )
