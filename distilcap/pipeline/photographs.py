"""A trained run as something that captions photographs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from distilcap.data.captions import Caption
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.encoders.base import Encoder
from distilcap.errors import ConfigError
from distilcap.models.weights import TrainedCaptioner, load_captioner
from distilcap.runtime.manifest import DecodeChoice, DecodeOptions
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.stages.folders import run_of
from distilcap.stages.label import decode_options
from distilcap.store.stage import Store

__all__ = ["RunCaptioner"]


@dataclass(frozen=True)
class RunCaptioner:
    """Encoder and captioner of a run, together.

    Attributes:
        decode: how captions are searched for.
        name: of the run in its store, and what its captions depend on beside it.
        device: where both compute.
    """

    encoder: Encoder
    trained: TrainedCaptioner
    decode: DecodeOptions
    name: str = ""
    device: str = "cpu"

    @staticmethod
    def load(folder: Path, decode: DecodeChoice = DecodeChoice(), device: str = "cpu") -> RunCaptioner:  # noqa: B008
        """Load a run's captioner and the encoder that it was trained with.

        Args:
            decode: what is not chosen is as for the run, see `stages.label.decode_options`.

        Raises:
            DataError: no trained run is there.
            ConfigError: the encoder's weights are others than those of the training.
        """
        run = run_of(folder, whole=True)
        store = Store(folder.resolve().parent)
        encoder = run.encoder_in(folder)
        trained = load_captioner(folder)
        if encoder.recipe() != trained.features:
            raise ConfigError(f"{folder}: was trained on features of another encoder or other weights.")
        assert isinstance(encoder, nn.Module)
        encoder.to(device).eval()
        trained.captioner.to(device)
        options = decode.over(decode_options(run, store, decode.beam_size))
        name = f"{run.key}, length penalty {options.length_penalty:g}"
        return RunCaptioner(encoder, trained, options, name, device)

    def read(self, photo: Path) -> Bytes:
        """See `teachers.shards.PhotoCaptioner`: (S, S, 3)."""
        return load_pixels(photo, self.encoder.preprocessing)

    def label(
        self, photos: Sequence[Bytes], beam: int, n_best: int, ids: Sequence[str] = ()
    ) -> list[tuple[Caption, ...]]:
        """See `teachers.shards.PhotoCaptioner`: the captions of each, best first; `ids` are for errors."""
        pixels = normalise(np.stack(photos), self.encoder.preprocessing)
        search = BeamSearch(**asdict(self.decode) | {"beam_size": beam, "keep": n_best})
        with torch.inference_mode():
            regions = self.encoder(torch.from_numpy(pixels).to(self.device))
            hypotheses = beam_search(self.trained.captioner, regions, search, ids)
        texts = hypotheses.texts(self.trained.vocabulary)
        return [
            tuple(Caption(text, log_prob) for text, log_prob in zip(*both, strict=True))
            for both in zip(texts, hypotheses.log_probs.tolist(), strict=True)
        ]
