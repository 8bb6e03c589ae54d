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

__all__ = ["ENCODER", "BestWeights"]

ENCODER = "encoder.safetensors"


class BestWeights:
    """The weights in a run's folder: `captioner.*`, and `encoder.safetensors` of an encoder that learns too.

    Args:
        start: whether a copy of the weights that training begins from stays in memory, for `keep_start` and
            `mixed_with_start`.
        writes: whether this process does; where it does not, nothing is written.
    """

    def __init__(
        self, folder: Path, trained: TrainedCaptioner, source: RegionSource, start: bool, writes: bool
    ) -> None:
        self._folder, self._trained, self._source, self._writes = folder, trained, source, writes
        self._start = copy.deepcopy((trained.captioner, self._encoder_state())) if start else None

    def keep(self, captioner: Captioner) -> None:
        """Take these weights, and those that the encoder has now."""
        self._write(captioner, self._encoder_state())

    @contextlib.contextmanager
    def mixed_with_start(self, captioner: Captioner, share: float) -> Iterator[Captioner]:
        """The captioner with this share of the weights that training began from, and so the encoder
        meanwhile (Wortsman et al. 2022, equation 1)."""
        if not share:
            yield captioner
            return
        assert self._start is not None
        began, encoder = self._start
        mixed = copy.deepcopy(captioner)
        learnt = copy.deepcopy(self._encoder_state())
        with torch.no_grad():
            for parameter, start in zip(mixed.parameters(), began.parameters(), strict=True):
                parameter.lerp_(start, share)
        if encoder is None or learnt is None:
            yield mixed
            return
        assert isinstance(self._source, nn.Module)
        self._source.load_state_dict(
            {
                name: torch.lerp(learnt[name], encoder[name], share)
                if learnt[name].is_floating_point()
                else learnt[name]
                for name in learnt
            }
        )
        try:
            yield mixed
        finally:
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

    def _encoder_state(self) -> dict[str, Tensor] | None:
        return self._source.state_dict() if isinstance(self._source, nn.Module) else None

    def _write(self, captioner: Captioner, encoder: dict[str, Tensor] | None) -> None:
        if not self._writes:
            return
        save_captioner(self._folder, dataclasses.replace(self._trained, captioner=captioner))
        if encoder is not None:
            save_tensors(self._folder / ENCODER, encoder)
