"""Words on their way in and out of a captioner."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.compiler import is_exporting
from torch.nn.functional import relu

from distilcap.models.dropout import Dropout
from distilcap.models.likelihood import Odds, negative_log_likelihood
from distilcap.models.products import Linear, linear

__all__ = ["WordEmbedding", "WordPredictor"]

_FEW = 64
"""Words whose projection takes no longer than that of one: reading the weights is what takes time."""


class WordEmbedding(nn.Module):
    """Ids to vectors: a table, ReLU and dropout, as published captioners are trained."""

    def __init__(self, vocabulary_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary_size, width)
        nn.init.uniform_(self.table.weight, -0.1, 0.1)
        self.dropout = Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed ids (…) as (…, E)."""
        words: Tensor = self.dropout(relu(self.table(tokens)))
        return words

    def projected(self, tokens: Tensor, layer: nn.Linear) -> Tensor:
        """`layer(self(tokens))`; on a CPU and without dropout, each word is computed once however often it is
        there, as in beams of related captions."""
        dropped = self.training and self.dropout.dropped
        if dropped or tokens.device.type != "cpu" or is_exporting() or tokens.numel() <= _FEW:
            read: Tensor = layer(self(tokens))
        else:
            words, places = torch.unique(tokens, return_inverse=True)
            read = layer(self(words)).index_select(0, places.flatten()).view(*tokens.shape, -1)
        return read


class WordPredictor(nn.Module):
    """Hidden states to logits. Tied: through the embedding's own matrix (Press & Wolf 2017), which saves
    V x H parameters; a projection comes first where the widths differ."""

    def __init__(self, hidden: int, words: WordEmbedding, dropout: float, tied: bool) -> None:
        super().__init__()
        vocabulary_size, width = words.table.weight.shape
        self.dropout = Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.projection = Linear(hidden, width, bias=False) if tied and width != hidden else nn.Identity()
        if tied:
            self.matrix = words.table.weight
        else:
            self.matrix = nn.Parameter(torch.empty(vocabulary_size, hidden).uniform_(-0.1, 0.1))

    def negative_log_likelihood(
        self, hidden: Tensor, targets: Tensor, label_smoothing: float = 0.0, odds: Odds | None = None
    ) -> Tensor:
        """How unlikely are the words (P,) to follow states (P, H), in nats (P,)."""
        hidden = self.projection(self.dropout(hidden))
        return negative_log_likelihood(hidden, self.matrix, self.bias, targets, label_smoothing, odds)

    def forward(self, hidden: Tensor) -> Tensor:
        """Predict from states (…, H) the logits (…, V)."""
        return linear(self.projection(self.dropout(hidden)), self.matrix, self.bias)
