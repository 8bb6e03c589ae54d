"""AoANet: attention on attention (Huang et al. 2019)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import glu

from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory, State
from distilcap.models.families import Family, register
from distilcap.models.layers import WordEmbedding, WordPredictor, lstm_cell, masked_mean, split_heads
from distilcap.options import Options, option
from distilcap.shapes import Regions

__all__ = [
    "AoANet",
    "AoANetOptions",
    "AttentionOnAttention",
    "RefinerLayer",
    "multi_head_attention",
]


@dataclass(frozen=True)
class AoANetOptions(Options):
    """Widths and habits of an AoANet captioner.

    Raises:
        ConfigError: a value is out of its bounds, or `hidden` is no multiple of `heads`.
    """

    hidden: int = option(1024, "Width of regions, LSTM and context (H).", least=1, most=65_536)
    embedding: int = option(1024, "Width of word embeddings (E).", least=1, most=65_536)
    heads: int = option(8, "Number of attention heads; divides `hidden`.", least=1, most=4_096)
    refiner_layers: int = option(6, "Number of self-attention layers over the regions.", least=0, most=256)
    dropout: float = option(0.5, "On embedded words, encoded regions, context and output.", least=0, below=1)
    refiner_dropout: float = option(0.1, "On attention weights and residuals.", least=0, below=1)
    aoa_dropout: float = option(0.3, "On the refiner's attention on attention.", least=0, below=1)
    tie_words: bool = False  # whether words are predicted with the embedding's own matrix

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % self.heads:
            raise ConfigError(f"`hidden` must be a multiple of `heads` ({self.heads}), but is {self.hidden}.")


def multi_head_attention(
    query: Tensor, keys: Tensor, values: Tensor, mask: Tensor, heads: int, dropout: nn.Module
) -> Tensor:
    """Scaled dot-product attention with heads (Vaswani et al. 2017, equation 1), no output projection.

    head_i = softmax(Q_i K_i^T / sqrt(S)) V_i, over the regions that are real

    Args:
        query: (B, K, H).
        keys: (B, R, H).
        values: (B, R, H).
        mask: (B, R), True where a region is real.
        heads: the number of heads; divides H into parts of width S.
        dropout: of attention weights.

    Returns:
        (B, K, H), the heads side by side.
    """
    query, keys, values = (split_heads(each, heads) for each in (query, keys, values))
    scores = query @ keys.transpose(-1, -2) / math.sqrt(query.shape[-1])
    weights = dropout(scores.masked_fill(~mask[:, None, None], -torch.inf).softmax(dim=-1))
    attended: Tensor = (weights @ values).transpose(1, 2).flatten(-2)
    return attended


class AttentionOnAttention(nn.Module):
    """AoA (section 3.1): information from what was attended to, gated by its own relevance to the query.

    i = W_q^i q + W_v^i v + b^i                 (equation 3)
    g = sigmoid(W_q^g q + W_v^g v + b^g)        (equation 4)
    AoA = g * i                                 (equation 5)
    """

    def __init__(self, width: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.linear = nn.Linear(2 * width, 2 * width)  # reads [v, q], gives [i, g before its sigmoid]

    def forward(self, attended: Tensor, query: Tensor) -> Tensor:
        """Combine the attended value and the query, each (…, H), to (…, H)."""
        pair = self.linear(self.dropout(torch.cat([attended, query], dim=-1)))
        return glu(pair, dim=-1)  # a gated linear unit: its first half times the sigmoid of its second


class RefinerLayer(nn.Module):
    """Self-attention over the regions (section 3.2.1): x + AoA(MultiHead(LN x), LN x); no feed-forward layer.

    Args:
        width: of the regions (H).
        heads: divides the width.
        dropout: on attention weights and on what is added to the regions.
        aoa_dropout: on what attention on attention reads.
    """

    def __init__(self, width: int, heads: int, dropout: float, aoa_dropout: float) -> None:
        super().__init__()
        self.heads, self.weight_dropout = heads, nn.Dropout(dropout)
        self.norm = nn.LayerNorm(width)
        self.query_key_value = nn.Linear(width, 3 * width)
        self.aoa = AttentionOnAttention(width, aoa_dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, values: Tensor, mask: Tensor) -> Tensor:
        """Refine regions (B, R, H), real where mask (B, R) is True."""
        normed = self.norm(values)
        query, keys, inner = self.query_key_value(normed).chunk(3, dim=-1)
        attended = multi_head_attention(query, keys, inner, mask, self.heads, self.weight_dropout)
        refined: Tensor = values + self.dropout(self.aoa(attended, normed))
        return refined


class AoANet(Captioner):
    """A refiner over regions, one LSTM, and attention on attention as the context.

    The LSTM's weights are kept in blocks by what they read, so that the mean region, which is the same at
    every word, is multiplied once an image.
    """

    def __init__(self, vocabulary_size: int, region_dim: int, options: AoANetOptions) -> None:
        super().__init__()
        self.vocabulary_size, self.region_dim, self.options = vocabulary_size, region_dim, options
        width = options.hidden
        self.regions = nn.Sequential(nn.Linear(region_dim, width), nn.ReLU(), nn.Dropout(options.dropout))
        self.refiner = nn.ModuleList(
            RefinerLayer(width, options.heads, options.refiner_dropout, options.aoa_dropout)
            for _ in range(options.refiner_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.words = WordEmbedding(vocabulary_size, options.embedding, options.dropout)
        self.lstm_from_word = nn.Linear(options.embedding, 4 * width)
        self.lstm_from_mean = nn.Linear(width, 4 * width, bias=False)  # reads the mean and the context alike
        self.lstm_from_state = nn.Linear(width, 4 * width, bias=False)
        self.query_norm = nn.LayerNorm(width)
        self.query = nn.Linear(width, width)
        self.context = AttentionOnAttention(width)
        self.context_dropout = nn.Dropout(options.dropout)
        self.weight_dropout = nn.Dropout(options.refiner_dropout)
        self.output = WordPredictor(width, self.words.table, options.dropout, tied=options.tie_words)

    def encode(self, regions: Regions) -> Memory:
        """Give keys and values (B, R, H), the mean region's part of the gates (B, 4H), mask (B, R)."""
        # A = LN(refiner(dropout(ReLU(W features + b))))                       (section 3.2.1)
        refined = self.regions(regions.features)
        for layer in self.refiner:
            refined = layer(refined, regions.mask)
        refined = self.norm(refined)
        # W mean(A), W^K A and W^V A, which are the same at every word
        mean_gates = self.lstm_from_mean(masked_mean(refined, regions.mask))
        keys, values = self.keys_values(refined).chunk(2, dim=-1)
        return keys, values, mean_gates, regions.mask

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Zeros: the LSTM's h and c, and the context, each (B, K, H)."""
        keys = memory[0]
        return tuple(keys.new_zeros(len(keys), captions, self.options.hidden) for _ in range(3))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`; the equations are those of section 3.2.2."""
        keys, values, mean_gates, mask = memory
        hidden, cell, context = state
        # h = LSTM([W_e word, mean(A) + context], h)
        word_gates = self.lstm_from_word(self.words(tokens))
        context_gates = self.lstm_from_mean(self.context_dropout(context))
        state_gates = self.lstm_from_state(hidden)
        hidden, cell = lstm_cell(word_gates + mean_gates[:, None] + context_gates + state_gates, cell)
        # context = AoA(MultiHead(W^Q LN(h), W^K A, W^V A), h)
        query = self.query(self.query_norm(hidden))
        attended = multi_head_attention(query, keys, values, mask, self.options.heads, self.weight_dropout)
        context = self.context(attended, hidden)
        # p = softmax(W_p context + b_p): the logits
        return self.output(context), (hidden, cell, context)


register(
    Family(
        name="aoanet",
        title="AoANet",
        options=AoANetOptions,
        sizes={
            "big": AoANetOptions(hidden=1024, embedding=1024),
            "medium": AoANetOptions(hidden=512, embedding=512),
            "small": AoANetOptions(hidden=256, embedding=256),
            "tiny": AoANetOptions(hidden=128, embedding=128),
            "pocket": AoANetOptions(hidden=192, embedding=192, tie_words=True),
        },
        build=AoANet,
        fast="distilcap.models.fast.aoanet:FastAoANet",
        label_smoothing=0.2,  # section 4.2
    )
)
