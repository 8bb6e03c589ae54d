"""Accelerated captioners: given captions are read by one recurrence over their real tokens.

The plain pass steps through B x K captions of T words, pads included, and predicts from every state. Here the
P real tokens are packed (`packing`); what their words contribute is one product before the recurrence, a
family's `read` runs the recurrence with a gradient written out, and one product over the words follows it
(`likelihood`). Equal, because a step reads nothing of other captions, and a caption nothing after its end.
"""

from __future__ import annotations

import abc
from collections.abc import Mapping
from typing import ClassVar

from torch import Tensor, nn

from distilcap.models.captioner import Captioner, Memory, State
from distilcap.models.fast.kept import Kept
from distilcap.models.fast.layers import FastWordPredictor
from distilcap.models.fast.packing import Packing
from distilcap.text.vocabulary import PAD

__all__ = ["FastCaptioner"]


class FastCaptioner(Captioner):
    """A captioner that reads all words of given captions at once; captions leave the batch as they end.

    Class attributes:
        plain: the captioner that it is an accelerated form of.
        parts: classes of that captioner's own parts, and what takes their place.
    """

    plain: ClassVar[type[Captioner]]
    parts: ClassVar[Mapping[type[nn.Module], type[nn.Module]]] = {}
    accelerated = True
    output: FastWordPredictor

    @abc.abstractmethod
    def read(self, memory: Memory, tokens: Tensor, packing: Packing) -> Tensor:
        """Read packed tokens (P,) and give what predicts the words that follow them (P, H).

        A family that records its steps also takes `recorded`: its activations at these tokens, each (P, …),
        which it then need not compute.
        """

    def recorded_step(
        self, tokens: Tensor, state: State, memory: Memory
    ) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        """`step`, and the activations, each (B, K, …), that a later `read` need not compute; none, as here,
        if it takes none."""
        return *self.step(tokens, state, memory), ()

    def predict(self, memory: Memory, tokens: Tensor) -> Tensor:
        """See `Captioner.predict`."""
        packing = Packing.full(tokens.shape, tokens.device)
        return packing.unpack(self.output(self.read(memory, packing.pack(tokens), packing)))

    def negative_log_likelihood(
        self, memory: Memory, inputs: Tensor, targets: Tensor, label_smoothing: float = 0.0
    ) -> Tensor:
        """See `Captioner.negative_log_likelihood`; inputs and targets may be on the CPU."""
        packing, hidden = self._read(memory, inputs, targets)
        wanted = packing.pack(targets.to(hidden.device))
        losses = self.output.negative_log_likelihood(hidden, wanted, label_smoothing)
        return packing.unpack(losses.masked_fill(wanted == PAD, 0.0))

    def drawn_negative_log_likelihood(
        self, memory: Memory, inputs: Tensor, targets: Tensor, kept: Kept
    ) -> Tensor:
        """`negative_log_likelihood` of captions that were just drawn, without their logits.

        Args:
            kept: while they were drawn, with the same weights and without dropout; it is overwritten.
        """
        packing, hidden = self._read(memory, inputs, targets, kept)
        odds, positions = kept.odds, kept.odds.positions
        hidden = packing.unpack(hidden).flatten(0, 2)[positions]
        wanted = targets.to(hidden.device).flatten()[positions]
        losses = self.output.negative_log_likelihood(hidden, wanted, odds=odds)
        return losses.new_zeros(targets.numel()).index_copy(0, positions, losses).view(targets.shape)

    def _read(
        self, memory: Memory, inputs: Tensor, targets: Tensor, kept: Kept | None = None
    ) -> tuple[Packing, Tensor]:
        device = memory[0].device
        packing = Packing.of_targets(targets, device)
        recorded = kept.activations(packing) if kept else ()
        known = {"recorded": recorded} if recorded else {}
        return packing, self.read(memory, packing.pack(inputs.to(device)), packing, **known)
