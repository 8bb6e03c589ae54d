"""Captions of different lengths without their pads: longest first, so that a step reads a leading block.

Of B x K captions of T words, step t concerns those with more than t words. Sorted by length these are always
the first n_t, so that their states are a view of the states at the step before, and the P = sum n_t tokens of
all steps lie one after another in one tensor. A caption's states do not depend on the others, so leaving the
pads out changes nothing that is read.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor

from distilcap.text.vocabulary import PAD

__all__ = ["Packing"]


@dataclass(frozen=True)
class Packing:
    """Where the P real tokens of B x K captions go when they lie step by step, without pads.

    The packed order is that of the recurrence: the first tokens of all captions, longest caption first, then
    the second tokens of those that have a second, and so on. What is left of the captions at a step is always
    a leading block of the captions at the step before.

    Attributes:
        shape: (B, K, T) of the padded captions.
        counts: captions that reach each step; they fall, and their sum is P.
        rows: (N,) the N captions that have any token, longest first, as indices in B x K.
        positions: (P,) each token's position in B x K x T.
    """

    shape: tuple[int, int, int]
    counts: tuple[int, ...]
    rows: Tensor
    positions: Tensor

    @staticmethod
    def of(lengths: Tensor, steps: int) -> Packing:
        """Pack captions of given lengths.

        Args:
            lengths: (B, K) tokens of each caption, on the CPU; 0 leaves it out.
            steps: T, the length of the padded captions.
        """
        images, captions = lengths.shape
        flat = lengths.flatten()
        ordered, rows = flat.sort(descending=True, stable=True)
        reached = ordered[:, None] > torch.arange(int(ordered[0]) if len(ordered) else 0)  # (N, T)
        counts = reached.sum(dim=0)
        step, row = reached.t().nonzero(as_tuple=True)
        return Packing(
            (images, captions, steps),
            tuple(counts.tolist()),
            rows[: int(counts[0]) if len(counts) else 0],
            rows[row] * steps + step,
        )

    @staticmethod
    def of_targets(targets: Tensor, device: torch.device) -> Packing:
        """Pack captions (B, K, T) that end with their last token that is no pad."""
        positions = torch.arange(1, targets.shape[2] + 1)
        lengths = ((targets.cpu() != PAD) * positions).amax(dim=2)
        return Packing.of(lengths, targets.shape[2]).to(device)

    @staticmethod
    def full(shape: tuple[int, ...], device: torch.device) -> Packing:
        """Pack B x K captions of T tokens each."""
        return Packing.of(torch.full(shape[:2], shape[2]), shape[2]).to(device)

    def to(self, device: torch.device) -> Packing:
        """Move to a device."""
        return Packing(self.shape, self.counts, self.rows.to(device), self.positions.to(device))

    @property
    def images(self) -> Tensor:
        """(P,) the image of each token."""
        return self.positions // (self.shape[1] * self.shape[2])

    def steps(self, *packed: Tensor) -> list[tuple[Tensor, ...]]:
        """Views of packed tensors (P, …), step by step."""
        return list(zip(*(torch.split(tensor, [*self.counts]) for tensor in packed), strict=True))

    def before(self, packed: Tensor) -> list[Tensor]:
        """Views of a packed tensor (P, …): for each step but the first, its captions' rows a step earlier."""
        if len(self.counts) < 2:
            return []
        sizes = [size for now, later in pairwise(self.counts) for size in (later, now - later)]
        return list(torch.split(packed, [*sizes, self.counts[-1]])[:-1:2])

    def heads(self, captions: Tensor) -> list[Tensor]:
        """Views of a tensor (N, …), longest caption first: for each step the captions that reach it."""
        return [captions[:count] for count in self.counts]

    def pack(self, padded: Tensor) -> Tensor:
        """(B, K, T) to (P,)."""
        return padded.flatten()[self.positions]

    def unpack(self, packed: Tensor) -> Tensor:
        """(P, …) to (B, K, T, …), with zeros at the pads."""
        images, captions, steps = self.shape
        padded = packed.new_zeros(images * captions * steps, *packed.shape[1:])
        return padded.index_copy(0, self.positions, packed).view(*self.shape, *packed.shape[1:])
