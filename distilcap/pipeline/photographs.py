"""A trained run as something that captions photographs."""

from __future__ import annotations

import re
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
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.runtime.pixels import Bytes, load_pixels, normalise
from distilcap.shapes import Regions
from distilcap.stages.folders import run_of
from distilcap.stages.label import decode_options
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.training.processes import Processes

__all__ = ["RunCaptioner", "penalty_in"]

SEEN_AT_ONCE = 8  # photographs, whose activations fit into a processor's cache


def penalty_in(name: str, run: Train) -> float | None:
    """The length penalty in a captioner's name; None where it names another than this run."""
    known = re.match(rf"{re.escape(run.key)}, length penalty ([-+.\de]+)", name)
    return float(known[1]) if known else None


@dataclass(frozen=True)
class RunCaptioner:
    """Encoder and captioner of a run, together.

    Attributes:
        decode: how captions are searched for.
        name: of the run in its store, and what its captions depend on beside it.
        device: where both compute.
        precision: of the captioner's products, "float32" or "bfloat16".
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
        decode: DecodeChoice = DecodeChoice(),  # noqa: B008
        device: str = "cpu",
        engine: str = TORCH,
        precision: str = "float32",
        progress: Progress = SILENT,
    ) -> RunCaptioner:
        """Load a run's captioner and the encoder that it was trained with.

        Args:
            decode: what is not chosen is as for the run, see `stages.label.decode_options`.
            engine: what runs the encoder, see `encoders.engines`.
            precision: of the captioner's products.
            progress: hears where PyTorch runs the encoder instead of the engine, of unknown words, and of the
                length penalty where none can be chosen.

        Raises:
            DataError: no trained run is there.
            ConfigError: the encoder's weights are others than those of the training.
            MissingError: the engine is not installed.
        """
        run = run_of(folder, whole=True)
        store = Store(folder.resolve().parent, Processes(device=device))
        encoder = run.encoder_in(folder)
        trained = load_captioner(folder)
        if encoder.recipe() != without_engine(trained.features):
            raise ConfigError(f"{folder}: was trained on features of another encoder or other weights.")
        encoder = run_by(engine, encoder, progress)
        if isinstance(encoder, nn.Module):
            encoder.to(device).eval()
        trained.captioner.to(device)
        of_run = decode_options(run, store, decode.beam_of_run, decode.length_penalty, progress)
        options = decode.over(of_run, trained.vocabulary, progress)
        name = f"{run.key}, length penalty {options.length_penalty:g}"  # `penalty_in` reads it
        name += f", never {options.blocked}" if options.blocked else ""
        others = [getattr(encoder, "engine", TORCH), precision]  # than what runs were captioned by once
        name += "".join(f", {other}" for other in others if other not in (TORCH, "float32"))
        return RunCaptioner(encoder, trained, options, name, device, precision)

    def read(self, photo: Path) -> Bytes:
        """See `teachers.shards.PhotoCaptioner`: (S, S, 3)."""
        return load_pixels(photo, self.encoder.preprocessing)

    def label(
        self, photos: Sequence[Bytes], beam: int, n_best: int, ids: Sequence[str] = ()
    ) -> list[tuple[Caption, ...]]:
        """See `teachers.shards.PhotoCaptioner`: the captions of each, best first; `ids` are for errors."""
        return self.describe(self.see(photos), beam, n_best, ids)

    @torch.inference_mode()
    def see(self, photos: Sequence[Bytes]) -> Regions:
        """See `teachers.shards.SeeingCaptioner`."""
        parts = []
        for first in range(0, len(photos), SEEN_AT_ONCE):
            pixels = normalise(np.stack(photos[first : first + SEEN_AT_ONCE]), self.encoder.preprocessing)
            parts.append(self.encoder(torch.from_numpy(pixels).to(self.device)).to(self.device))
        return Regions(torch.cat([part.features for part in parts]), torch.cat([part.mask for part in parts]))

    def describe(
        self, seen: Regions, beam: int, n_best: int, ids: Sequence[str] = ()
    ) -> list[tuple[Caption, ...]]:
        """See `teachers.shards.SeeingCaptioner`."""
        asked = {"beam_size": beam, "keep": n_best, "precision": self.precision}
        hypotheses = beam_search(self.trained.captioner, seen, BeamSearch(**asdict(self.decode) | asked), ids)
        texts = hypotheses.texts(self.trained.vocabulary)
        return [
            tuple(Caption(text, log_prob) for text, log_prob in zip(*both, strict=True))
            for both in zip(texts, hypotheses.log_probs.tolist(), strict=True)
        ]
