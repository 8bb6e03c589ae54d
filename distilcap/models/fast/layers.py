"""Words in and out, for steps.

- A word that several captions read is the same row of the embedding, so `layer(embed(word))` is computed once
  a word and copied: rows of a product do not depend on one another.
- The logits' likelihood comes straight from states (`likelihood`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from distilcap.models.fast.dropout import Dropout
from distilcap.models.fast.likelihood import Odds, negative_log_likelihood
from distilcap.models.fast.products import linear
from distilcap.models.layers import WordEmbedding, WordPredictor

__all__ = ["FastWordEmbedding", "FastWordPredictor"]

_FEW = 64
"""Words whose projection takes no longer than that of one: reading the weights is what takes time."""


class FastWordEmbedding(WordEmbedding):
    """See `WordEmbedding`."""

    dropout: Dropout

    def projected(self, tokens: Tensor, layer: nn.Linear) -> Tensor:
        """`layer(self(tokens))`; on a CPU and without dropout, each word is computed once however often it is
        there, as in beams of related captions."""
        dropped = self.training and self.dropout.dropped
        if dropped or tokens.device.type != "cpu" or tokens.numel() <= _FEW:
            read: Tensor = layer(self(tokens))
        else:
            words, inverse = torch.unique(tokens, return_inverse=True)
            read = layer(self(words)).index_select(0, inverse.flatten()).view(*tokens.shape, -1)
        return read


class FastWordPredictor(WordPredictor):
    """See `WordPredictor`."""

    def negative_log_likelihood(
        self, hidden: Tensor, targets: Tensor, label_smoothing: float = 0.0, odds: Odds | None = None
    ) -> Tensor:
        """How unlikely are the words (P,) to follow states (P, H), in nats (P,)."""
        hidden = self.projection(self.dropout(hidden))
        return negative_log_likelihood(hidden, self.matrix, self.bias, targets, label_smoothing, odds)

    def forward(self, hidden: Tensor) -> Tensor:
        """Predict from states (…, H) the logits (…, V)."""
        return linear(self.projection(self.dropout(hidden)), self.matrix, self.bias)
