"""A trained run as something that captions photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from distilcap.data.captions import Caption
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.encoders.base import Encoder
from distilcap.errors import ConfigError
from distilcap.models.weights import TrainedCaptioner, load_captioner
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.stages.folders import run_of

__all__ = ["RunCaptioner"]


@dataclass(frozen=True)
class RunCaptioner:
    """Encoder and captioner of a run, together.

    Attributes:
        name: of the run in its store.
        device: where both compute.
    """

    encoder: Encoder
    trained: TrainedCaptioner
    max_words: int
    name: str = ""
    device: str = "cpu"

    @staticmethod
    def load(folder: Path, device: str = "cpu") -> RunCaptioner:
        """Load a run's captioner and the encoder that it was trained with.

        Raises:
            DataError: no trained run is there.
            ConfigError: the encoder's weights are others than those of the training.
        """
        run = run_of(folder, whole=True)
        encoder = run.encoder_in(folder)
        trained = load_captioner(folder)
        if encoder.recipe() != trained.features:
            raise ConfigError(f"{folder}: was trained on features of another encoder or other weights.")
        assert isinstance(encoder, nn.Module)
        encoder.to(device).eval()
        trained.captioner.to(device)
        return RunCaptioner(encoder, trained, run.training.max_words + 4, run.key, device)

    def caption(self, photo: Path, beam: int = 3, n_best: int = 1) -> list[str]:
        """Caption one photograph; best first.

        Raises:
            DataError: the photograph cannot be read.
        """
        preprocessing = self.encoder.preprocessing
        pixels = torch.from_numpy(normalise(load_pixels(photo, preprocessing)[None], preprocessing))
        (captions,) = self.describe(pixels, BeamSearch(beam, self.max_words))
        return [caption.text for caption in captions[:n_best]]

    def read(self, photo: Path) -> Bytes:
        """See `labelling.PhotoCaptioner`: (S, S, 3)."""
        return load_pixels(photo, self.encoder.preprocessing)

    def label(self, photos: Sequence[Bytes], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        """See `labelling.PhotoCaptioner`."""
        pixels = normalise(np.stack(photos), self.encoder.preprocessing)
        return self.describe(torch.from_numpy(pixels), BeamSearch(beam, self.max_words, keep=n_best))

    def describe(self, pixels: Tensor, options: BeamSearch) -> list[tuple[Caption, ...]]:
        """Caption normalised pixels (B, 3, S, S); each picture's captions are sorted best first."""
        with torch.inference_mode():
            regions = self.encoder(pixels.to(self.device))
            hypotheses = beam_search(self.trained.captioner, regions, options)
        texts = hypotheses.texts(self.trained.vocabulary)
        return [
            tuple(Caption(text, log_prob) for text, log_prob in zip(*both, strict=True))
            for both in zip(texts, hypotheses.log_probs.tolist(), strict=True)
        ]
