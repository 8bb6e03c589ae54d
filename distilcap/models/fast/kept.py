"""What the gradient reads of captions that were drawn, so that their recurrence need not run a second time.

Which caption is longest shows at the end only, so a step's activations stay as they are, with rows that no
gradient reads, until they are packed. Till then they take 62 bytes x H a word of Up-Down's and 44 of AoANet's
in float32 (big: 63 MB of a batch of 60 x 17 words), about what the recurrence keeps for its gradient anyway;
each step's are let go as they are packed. From one batch to the next only the odds' memory stays.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distilcap.models.fast.likelihood import Odds
from distilcap.models.fast.packing import Packing

__all__ = ["Kept"]


class Kept:
    """Odds and activations of captions that are drawn, step by step.

    Attributes:
        odds: of all words.
    """

    def __init__(self) -> None:
        self.odds = Odds()
        self._steps: list[tuple[tuple[Tensor, ...], Tensor, Tensor]] = []

    def clear(self) -> None:
        """Forget all but the memory of the odds."""
        self.odds.clear()
        self._steps.clear()

    def keep(self, recorded: tuple[Tensor, ...], rows: Tensor, captions: Tensor) -> None:
        """Keep a step's activations (B, K, …), whose rows (m,) of B x K belong to these captions (m,)."""
        self._steps.append((recorded, rows, captions))

    def activations(self, packing: Packing) -> tuple[Tensor, ...]:
        """Give activations as (P, …), and forget them; none, if steps gave none."""
        total = sum(packing.counts)
        packed = [recorded.new_empty(total, *recorded.shape[2:]) for recorded in self._steps[0][0]]
        row_of_caption = packing.rows.new_empty(packing.shape[0] * packing.shape[1])
        self._steps.reverse()
        for blocks, captions in zip(packing.steps(*packed), packing.heads(packing.rows), strict=bool(packed)):
            recorded, rows, drawn = self._steps.pop()
            wanted = row_of_caption.index_copy_(0, drawn, rows)[captions]
            for tensor, block in zip(recorded, blocks, strict=True):
                torch.index_select(tensor.flatten(0, 1), 0, wanted, out=block)
        self._steps.clear()
        return tuple(packed)
