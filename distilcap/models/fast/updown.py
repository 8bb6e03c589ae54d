"""Up-Down, faster: equations 1 to 7 of `models.updown` in the same order, in fewer and larger operators.

A step multiplies with weights that are packed once a search (`products`), projects each word once
(`layers`), and takes the tanh of the energies in place: they are read once. Given captions are read by
`updown_recurrence`.
"""

from __future__ import annotations

import torch
from torch import Tensor

from distilcap.models.captioner import Memory, State
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.layers import FastWordEmbedding, FastWordPredictor
from distilcap.models.fast.lstm import lstm_step
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.updown_recurrence import updown_recurrence
from distilcap.models.updown import UpDown

__all__ = ["FastUpDown"]


class FastUpDown(FastCaptioner, UpDown):
    """See `UpDown`."""

    plain = UpDown
    words: FastWordEmbedding
    output: FastWordPredictor

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        return self.recorded_step(tokens, state, memory)[:2]

    def recorded_step(
        self, tokens: Tensor, state: State, memory: Memory
    ) -> tuple[Tensor, State, tuple[Tensor, ...]]:
        """See `FastCaptioner.recorded_step`."""
        values, keys, mean_gates, mask = memory
        h1, c1, h2, c2 = state
        word_gates = self.words.projected(tokens, self.attention_from_word)
        gates = word_gates + mean_gates[:, None] + self.attention_from_states(torch.cat([h2, h1], dim=-1))
        h1, first = lstm_step(gates, c1)
        query = self.query(h1)
        scores = (keys[:, None] + query[:, :, None]).tanh_() @ self.scorer
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        attended = weights @ values
        h2, second = lstm_step(self.language(torch.cat([attended, h1, h2], dim=-1)), c2)
        state = h1, first[2], h2, second[2]
        return self.output(self._written(h1, h2)), state, (attended, query, weights, *first, *second)

    def read(
        self, memory: Memory, tokens: Tensor, packing: Packing, recorded: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """See `FastCaptioner.read`."""
        values, keys, mean_gates, mask = memory
        gates = self.words.projected(tokens, self.attention_from_word)
        gates = gates.add_(mean_gates.index_select(0, packing.images))
        h1, h2 = updown_recurrence(
            gates,
            keys,
            values,
            mask,
            self.attention_from_states.weight,
            self.query.weight,
            self.scorer,
            self.language.weight,
            self.language.bias,
            packing,
            recorded,
        )
        return self._written(h1, h2)

    def _written(self, h1: Tensor, h2: Tensor) -> Tensor:
        return h1 + h2 if self.options.output_states == "both" else h2
