"""The Transformer, faster: equal to `models.transformer` with less that is computed for nothing.

A ring of fixed length suits exported graphs, but a step then copies, and attends to, words that are not there
yet. Here the state holds the words that there are, so that nothing is masked; multiplied is with weights that
are packed once a search (`products`). Given captions are read in one pass, as there, and only their real
words are predicted from (`captioner`, `likelihood`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from distilcap.models.captioner import Memory, State
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.layers import FastWordPredictor
from distilcap.models.fast.packing import Packing
from distilcap.models.transformer import Transformer

__all__ = ["FastTransformer"]


class FastTransformer(FastCaptioner, Transformer):
    """See `Transformer`."""

    plain = Transformer
    output: FastWordPredictor

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Each layer's keys and values of the words so far, none yet: (B, K, 0, 2H)."""
        shape = len(memory[0]), captions, 0, 2 * self.options.hidden
        return tuple(memory[0].new_zeros(shape) for _ in self.layers)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        *regions, mask = memory
        x = self.embed(tokens[..., None], tokens.new_full((1,), state[0].shape[2]))
        after = []
        for layer, before, seen in zip(self.decoder(), state, regions, strict=True):
            words = torch.cat([before, layer.keys_values(x)], dim=2)
            x = layer(x, words[:, :, -self.options.window :], None, seen, mask)
            after.append(words)
        return self.output(self.norm(x))[:, :, 0], tuple(after)

    def read(self, memory: Memory, tokens: Tensor, packing: Packing) -> Tensor:
        """See `FastCaptioner.read`."""
        hidden = self.hidden_states(memory, packing.unpack(tokens))
        return hidden.flatten(0, 2).index_select(0, packing.positions)
