"""The weights that are a run's result so far: the best by validation, or those that it began from."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Iterator, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from distilcap.decode.captions import RegionSource
from distilcap.models.captioner import Captioner
from distilcap.models.weights import TrainedCaptioner, load_captioner, save_captioner
from distilcap.tensors import load_tensors, save_tensors
from distilcap.training.options import TrainingOptions

__all__ = ["ENCODER", "BestWeights"]

ENCODER = "encoder.safetensors"


class BestWeights:
    """The weights in a run's folder: `captioner.*`, and `encoder.safetensors` of an encoder that learns too.

    Args:
        options: those that keep the start, or a share of it, need a copy of it in memory.
        writes: whether this process does; where it does not, nothing is written.
    """

    def __init__(
        self,
        folder: Path,
        trained: TrainedCaptioner,
        source: RegionSource,
        options: TrainingOptions,
        writes: bool,
    ) -> None:
        self._folder, self._trained, self._source, self._writes = folder, trained, source, writes
        self._share = options.start_share
        start = trained.captioner, self._encoder_state()
        self._start = copy.deepcopy(start) if options.validate_start or self._share else None

    def keep(self, captioner: Captioner) -> None:
        """Take these weights, and those that the encoder has now."""
        self._write(captioner, self._encoder_state())

    @contextlib.contextmanager
    def mixed_with_start(self, captioner: Captioner, already: bool = False) -> Iterator[Captioner]:
        """The captioner with `start_share` of the weights that training began from, and so the encoder
        meanwhile (Wortsman et al. 2022, equation 1).

        Args:
            already: they hold that share from an earlier phase.
        """
        if already or not self._share:
            yield captioner
            return
        assert self._start is not None
        began, encoder = self._start
        mixed, learnt = copy.deepcopy((captioner, self._encoder_state()))
        learning = self._source.named_parameters() if isinstance(self._source, nn.Module) else ()
        with torch.no_grad():
            for parameter, start in zip(mixed.parameters(), began.parameters(), strict=True):
                parameter.lerp_(start, self._share)
            for name, parameter in learning:
                parameter.lerp_(encoder[name], self._share)
        try:
            yield mixed
        finally:
            if isinstance(self._source, nn.Module):
                self._source.load_state_dict(learnt)

    def keep_start(self) -> None:
        """Take what training began from."""
        assert self._start is not None
        self._write(*self._start)

    def load_into(self, modules: Mapping[str, nn.Module]) -> None:
        """Give "captioner", "average" and "encoder" the weights, where they are among the modules."""
        best = load_captioner(self._folder).captioner.state_dict()
        for name in modules.keys() & {"captioner", "average"}:
            modules[name].load_state_dict(best)
        if "encoder" in modules:
            encoder, _ = load_tensors(self._folder / ENCODER, f"delete the folder {self._folder}")
            modules["encoder"].load_state_dict(encoder)

    def _encoder_state(self) -> dict[str, Tensor]:
        return self._source.state_dict() if isinstance(self._source, nn.Module) else {}

    def _write(self, captioner: Captioner, encoder: dict[str, Tensor]) -> None:
        if not self._writes:
            return
        save_captioner(self._folder, dataclasses.replace(self._trained, captioner=captioner))
        if encoder:
            save_tensors(self._folder / ENCODER, encoder)
