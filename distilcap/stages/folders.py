"""From a store's folder back to the stage that made it."""

from __future__ import annotations

from pathlib import Path

from distilcap.errors import DataError
from distilcap.stages.captions import ImportCaptions
from distilcap.stages.data import BuildVocabulary, HideCaptions, ImportData
from distilcap.stages.decoding import ChooseDecoding
from distilcap.stages.encoder import DistillEncoder
from distilcap.stages.export import Export
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import DrawCaptions, Generate, GenerateTogether, Interpolate, LabelWithPretrained
from distilcap.stages.measure import Evaluate, MeasureLatency
from distilcap.stages.train import Train
from distilcap.store.stage import Stage, stage_of
from distilcap.training.options import (
    CrossEntropyPhase,
    SelfCriticalPhase,
    TokenDistillation,
    TrainingOptions,
)

__all__ = ["run_of", "stage_at"]


def stage_at(folder: Path) -> Stage:
    """The stage that a store's folder was made by.

    Raises:
        DataError: it is no such folder.
    """
    from distilcap.models.aoanet import AoANetOptions
    from distilcap.models.updown import UpDownOptions

    stages = (ImportData, HideCaptions, BuildVocabulary, ExtractFeatures, ImportCaptions, Train, Export)
    labels = (Generate, GenerateTogether, DrawCaptions, Interpolate, LabelWithPretrained)
    options = (TrainingOptions, CrossEntropyPhase, SelfCriticalPhase, TokenDistillation)
    scores = (DistillEncoder, ChooseDecoding, Evaluate, MeasureLatency)
    stage: Stage = stage_of(folder, (*stages, *labels, *scores, *options, UpDownOptions, AoANetOptions))
    return stage


def run_of(folder: Path) -> Train:
    """The recipe of a trained run, from its folder in a store.

    Raises:
        DataError: it is no such folder.
    """
    run = stage_at(folder)
    if not isinstance(run, Train):
        raise DataError(f"{folder}: holds no trained captioner, but {type(run).__name__}.")
    return run
