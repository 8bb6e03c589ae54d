"""What captioners have in common: words in and out, the LSTM, attention heads, the mean region."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, relu

__all__ = ["WordEmbedding", "WordPredictor", "lstm_cell", "masked_mean", "split_heads"]


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """The mean of the real regions: (B, R, H) and (B, R) to (B, H)."""
    weights = mask.to(values.dtype)
    return torch.einsum("brh,br->bh", values, weights) / weights.sum(dim=1, keepdim=True)


def split_heads(tensor: Tensor, heads: int) -> Tensor:
    """A view of (B, L, heads x S) as (B, heads, L, S)."""
    return tensor.view(*tensor.shape[:-1], heads, -1).transpose(1, 2)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM, once its input and state are multiplied by the weights (Hochreiter & Schmidhuber 1997).

    i, f, o = sigmoid(their gates);  g = tanh(its gate);  c = f c + i g;  h = o tanh(c)

    Args:
        gates: (…, 4H) pre-activations of i, f, g, o, which is PyTorch's order.
        cell: (…, H) the previous cell.

    Returns:
        The new hidden state and the new cell, each (…, H).
    """
    input_gate, forget_gate, candidate, output_gate = gates.chunk(4, dim=-1)
    cell = torch.sigmoid(forget_gate) * cell + torch.sigmoid(input_gate) * torch.tanh(candidate)
    return torch.sigmoid(output_gate) * torch.tanh(cell), cell


class WordEmbedding(nn.Module):
    """Ids to vectors: a table, ReLU and dropout, as published captioners are trained."""

    def __init__(self, vocabulary_size: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(vocabulary_size, width)
        nn.init.uniform_(self.table.weight, -0.1, 0.1)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens: Tensor) -> Tensor:
        """Embed ids (…) as (…, E)."""
        words: Tensor = self.dropout(relu(self.table(tokens)))
        return words


class WordPredictor(nn.Module):
    """Hidden states to logits. Tied: through the embedding's own table (Press & Wolf 2017), which saves
    V x H parameters; a projection comes first where the widths differ."""

    def __init__(self, hidden: int, table: nn.Embedding, dropout: float, tied: bool) -> None:
        super().__init__()
        vocabulary_size, width = table.weight.shape
        self.dropout = nn.Dropout(dropout)
        self.bias = nn.Parameter(torch.zeros(vocabulary_size))
        self.projection = nn.Linear(hidden, width, bias=False) if tied and width != hidden else nn.Identity()
        if tied:
            self.matrix = table.weight
        else:
            self.matrix = nn.Parameter(torch.empty(vocabulary_size, hidden).uniform_(-0.1, 0.1))

    def forward(self, hidden: Tensor) -> Tensor:
        """Predict from states (…, H) the logits (…, V)."""
        return linear(self.projection(self.dropout(hidden)), self.matrix, self.bias)
