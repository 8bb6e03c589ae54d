"""A trained run as something that captions photographs."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.encoders.base import Encoder
from distilcap.encoders.pixels import load_pixels, normalise
from distilcap.errors import ConfigError
from distilcap.experiments.stage import Store
from distilcap.experiments.steps import run_of
from distilcap.models.weights import TrainedCaptioner, load_captioner

__all__ = ["RunCaptioner"]


@dataclass(frozen=True)
class RunCaptioner:
    """Encoder and captioner of a run, together."""

    encoder: Encoder
    trained: TrainedCaptioner
    max_words: int

    @staticmethod
    def load(folder: Path) -> RunCaptioner:
        """Load a run's captioner and the encoder that it was trained with.

        Raises:
            DataError: no trained run is there.
            ConfigError: the encoder's weights are others than those of the training.
        """
        run = run_of(folder)
        encoder = run.seen.create(Store(folder.resolve().parent))
        trained = load_captioner(folder)
        if encoder.recipe() != trained.features:
            raise ConfigError(f"{folder}: was trained on features of another encoder or other weights.")
        return RunCaptioner(encoder, trained, run.training.max_words + 4)

    def caption(self, photo: Path, beam: int = 3, n_best: int = 1) -> list[str]:
        """Caption one photograph; best first.

        Raises:
            DataError: the photograph cannot be read.
        """
        preprocessing = self.encoder.preprocessing
        pixels = torch.from_numpy(normalise(load_pixels(photo, preprocessing)[None], preprocessing))
        with torch.inference_mode():
            hypotheses = beam_search(
                self.trained.captioner, self.encoder(pixels), BeamSearch(beam, self.max_words)
            )
        return hypotheses.texts(self.trained.vocabulary)[0][:n_best]
