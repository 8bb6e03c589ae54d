"""Captioners whose teacher-forced pass is one recurrence over packed captions."""

from __future__ import annotations

import abc

import torch
from torch import Tensor

from distilcap.models.captioner import Captioner, Memory
from distilcap.models.likelihood import Odds
from distilcap.models.packing import Packing
from distilcap.models.words import WordPredictor
from distilcap.shapes import Regions
from distilcap.text.vocabulary import PAD

__all__ = ["PackedCaptioner"]


class PackedCaptioner(Captioner):
    """A captioner that reads all words of given captions at once; captions leave the batch as they end."""

    output: WordPredictor

    @abc.abstractmethod
    def read(self, memory: Memory, tokens: Tensor, packing: Packing) -> Tensor:
        """Read packed tokens (P,) and give what predicts the words that follow them (P, H)."""

    def forward(self, regions: Regions, tokens: Tensor) -> Tensor:
        """See `Captioner.forward`."""
        packing = Packing.of(torch.full(tokens.shape[:2], tokens.shape[2]), tokens.shape[2]).to(tokens.device)
        return packing.unpack(self.output(self.read(self.encode(regions), packing.pack(tokens), packing)))

    def negative_log_likelihood(
        self,
        memory: Memory,
        inputs: Tensor,
        targets: Tensor,
        label_smoothing: float = 0.0,
        odds: Odds | None = None,
    ) -> Tensor:
        """See `Captioner.negative_log_likelihood`."""
        device = memory[0].device
        packing = Packing.of_targets(targets, device)
        hidden = self.read(memory, packing.pack(inputs.to(device)), packing)
        if odds:
            places = odds.places
            hidden, wanted = (
                packing.unpack(hidden).flatten(0, 2)[places],
                targets.to(device).flatten()[places],
            )
            losses = self.output.negative_log_likelihood(hidden, wanted, odds=odds)
            return losses.new_zeros(targets.numel()).index_copy(0, places, losses).view(targets.shape)
        wanted = packing.pack(targets.to(device))
        losses = self.output.negative_log_likelihood(hidden, wanted, label_smoothing)
        return packing.unpack(losses.masked_fill(wanted == PAD, 0.0))
