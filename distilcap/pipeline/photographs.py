"""A trained run as something that captions photographs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from distilcap.data.captions import Caption
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.encoders.base import Encoder
from distilcap.encoders.engines import run_by
from distilcap.encoders.recipes import TORCH, without_engine
from distilcap.errors import ConfigError
from distilcap.models.weights import TrainedCaptioner, load_captioner
from distilcap.progress import SILENT, Progress
from distilcap.runtime.manifest import DecodeOptions
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.shapes import Regions
from distilcap.stages.folders import run_of
from distilcap.stages.label import decode_options
from distilcap.store.stage import Store

__all__ = ["RunCaptioner"]

SEEN_AT_ONCE = 8  # pictures


@dataclass(frozen=True)
class RunCaptioner:
    """Encoder and captioner of a run, together.

    Attributes:
        decode: how captions are searched for.
        name: of the run in its store, and what its captions depend on beside it.
        device: where both compute.
        precision: of the captioner's products.
    """

    encoder: Encoder
    trained: TrainedCaptioner
    decode: DecodeOptions
    name: str = ""
    device: str = "cpu"
    precision: str = "float32"

    @staticmethod
    def load(
        folder: Path,
        device: str = "cpu",
        beam: int = 3,
        length_penalty: float | None = None,
        engine: str = TORCH,
        precision: str = "float32",
        progress: Progress = SILENT,
    ) -> RunCaptioner:
        """Load a run's captioner and the encoder that it was trained with.

        Args:
            length_penalty: None takes what was chosen for the run, see `stages.label.decode_options`.
            engine: what runs the encoder, one of `recipes.ENGINES`.
            precision: of the captioner's products, "float32" or "bfloat16".
            progress: hears where PyTorch runs it instead.

        Raises:
            DataError: no trained run is there.
            ConfigError: the encoder's weights are others than those of the training.
            MissingError: the engine is not installed.
        """
        run = run_of(folder, whole=True)
        store = Store(folder.resolve().parent)
        encoder = run.encoder_in(folder)
        trained = load_captioner(folder)
        if encoder.recipe() != without_engine(trained.features):
            raise ConfigError(f"{folder}: was trained on features of another encoder or other weights.")
        encoder = run_by(engine, encoder, progress)
        if isinstance(encoder, nn.Module):
            encoder.to(device).eval()
        trained.captioner.to(device)
        decode = decode_options(run, store, beam)
        if length_penalty is not None:
            decode = dataclasses.replace(decode, length_penalty=length_penalty)
        name = f"{run.key}, length penalty {decode.length_penalty:g}"
        if ran_by := getattr(encoder, "engine", ""):
            name += f", {ran_by}"
        if precision != "float32":
            name += f", {precision}"
        return RunCaptioner(encoder, trained, decode, name, device, precision)

    def caption(self, photo: Path, beam: int | None = None, n_best: int = 1) -> list[str]:
        """Caption one photograph; best first.

        Raises:
            DataError: the photograph cannot be read.
        """
        regions = self.see([load_pixels(photo, self.encoder.preprocessing)])
        options = self._search(beam or self.decode.beam_size, n_best)
        (captions,) = self.describe(regions, options, [str(photo)])
        return [caption.text for caption in captions]

    def read(self, photo: Path) -> Bytes:
        """See `shards.PhotoCaptioner`: (S, S, 3)."""
        return load_pixels(photo, self.encoder.preprocessing)

    @torch.inference_mode()
    def see(self, photos: Sequence[Bytes]) -> Regions:
        """See `shards.PhotoCaptioner`; a few at a time, whose activations fit into a processor's cache."""
        parts = []
        for first in range(0, len(photos), SEEN_AT_ONCE):
            pixels = normalise(np.stack(photos[first : first + SEEN_AT_ONCE]), self.encoder.preprocessing)
            parts.append(self.encoder(torch.from_numpy(pixels).to(self.device)).to(self.device))
        return Regions(torch.cat([part.features for part in parts]), torch.cat([part.mask for part in parts]))

    def label(self, seen: Regions, beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        """See `shards.PhotoCaptioner`."""
        return self.describe(seen, self._search(beam, n_best))

    def _search(self, beam: int, n_best: int) -> BeamSearch:
        asked = {"beam_size": beam, "keep": n_best, "precision": self.precision}
        return BeamSearch(**asdict(self.decode) | asked)

    def describe(
        self, regions: Regions, options: BeamSearch, ids: Sequence[str] = ()
    ) -> list[tuple[Caption, ...]]:
        """Caption what the encoder saw; each picture's captions are sorted best first."""
        hypotheses = beam_search(self.trained.captioner, regions, options, ids)
        texts = hypotheses.texts(self.trained.vocabulary)
        return [
            tuple(Caption(text, log_prob) for text, log_prob in zip(*both, strict=True))
            for both in zip(texts, hypotheses.log_probs.tolist(), strict=True)
        ]
