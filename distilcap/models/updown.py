"""Up-Down: bottom-up and top-down attention (Anderson et al. 2018, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distilcap.models.captioner import Captioner, Memory, State
from distilcap.models.families import Family, register
from distilcap.models.layers import WordEmbedding, WordPredictor, lstm_cell, masked_mean
from distilcap.options import Options, option
from distilcap.shapes import Regions

__all__ = ["UpDown", "UpDownOptions"]


@dataclass(frozen=True)
class UpDownOptions(Options):
    """Widths and habits of an Up-Down captioner.

    Raises:
        ConfigError: a value is out of its bounds.
    """

    hidden: int = option(1000, "Width of both LSTMs and of the encoded regions (H).", least=1, most=65_536)
    embedding: int = option(1000, "Width of word embeddings (E).", least=1, most=65_536)
    attention: int = option(512, "Width of the attention's hidden layer (A).", least=1, most=65_536)
    dropout: float = option(0.5, "On embedded words, encoded regions and the output.", least=0, below=1)
    tie_words: bool = False  # whether words are predicted with the embedding's own matrix
    output_states: str = option(
        "language",
        '"language" predicts from the language LSTM alone, as published; "both" from the sum of both LSTMs\' '
        "states, which leaves the early plateau of training sooner.",
        choices=("language", "both"),
    )


class UpDown(Captioner):
    """Two LSTMs: the first directs attention, the second writes.

    The attention LSTM's weights are kept in blocks by what they read, so that the mean region, which is the
    same at every word, is multiplied once an image.
    """

    def __init__(self, vocabulary_size: int, region_dim: int, options: UpDownOptions) -> None:
        super().__init__()
        self.vocabulary_size, self.region_dim, self.options = vocabulary_size, region_dim, options
        hidden = options.hidden
        self.regions = nn.Sequential(nn.Linear(region_dim, hidden), nn.ReLU(), nn.Dropout(options.dropout))
        self.words = WordEmbedding(vocabulary_size, options.embedding, options.dropout)
        self.attention_from_mean = nn.Linear(hidden, 4 * hidden, bias=False)
        self.attention_from_word = nn.Linear(options.embedding, 4 * hidden)
        self.attention_from_states = nn.Linear(2 * hidden, 4 * hidden, bias=False)  # reads [h2, h1]
        self.keys = nn.Linear(hidden, options.attention)
        self.query = nn.Linear(hidden, options.attention, bias=False)
        self.scorer = nn.Parameter(torch.empty(options.attention).uniform_(-0.1, 0.1))
        self.language = nn.Linear(3 * hidden, 4 * hidden)  # reads [attended, h1, h2]
        self.output = WordPredictor(hidden, self.words.table, options.dropout, tied=options.tie_words)

    def encode(self, regions: Regions) -> Memory:
        """Give values (B, R, H), keys (B, R, A), the mean region's part of the gates (B, 4H), mask (B, R)."""
        # v_i = dropout(ReLU(W features_i + b))
        values = self.regions(regions.features)
        # W mean(v), for equation 2; W_va v_i, for equation 3
        mean_gates = self.attention_from_mean(masked_mean(values, regions.mask))
        keys = self.keys(values)
        return values, keys, mean_gates, regions.mask

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Zeros: attention LSTM's h and c, language LSTM's h and c, each (B, K, H)."""
        values = memory[0]
        return tuple(values.new_zeros(len(values), captions, self.options.hidden) for _ in range(4))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        values, keys, mean_gates, mask = memory
        h1, c1, h2, c2 = state
        # h1 = LSTM_att([h2, mean(v), W_e word], h1)                                (equations 1, 2)
        word_gates = self.attention_from_word(self.words(tokens))
        state_gates = self.attention_from_states(torch.cat([h2, h1], dim=-1))
        h1, c1 = lstm_cell(word_gates + mean_gates[:, None] + state_gates, c1)
        # a_i = w_a . tanh(W_va v_i + W_ha h1)                                      (equation 3)
        scores = torch.tanh(keys[:, None] + self.query(h1)[:, :, None]) @ self.scorer
        # alpha = softmax(a), over the regions that are real                        (equation 4)
        weights = scores.masked_fill(~mask[:, None], -torch.inf).softmax(dim=-1)
        # v^ = sum_i alpha_i v_i                                                    (equation 5)
        attended = weights @ values
        # h2 = LSTM_lang([v^, h1], h2)                                              (equations 1, 6)
        h2, c2 = lstm_cell(self.language(torch.cat([attended, h1, h2], dim=-1)), c2)
        # p = softmax(W_p h2 + b_p): the logits                                     (equation 7)
        logits = self.output(h1 + h2 if self.options.output_states == "both" else h2)
        return logits, (h1, c1, h2, c2)


register(
    Family(
        name="updown",
        title="Up-Down",
        options=UpDownOptions,
        sizes={
            "big": UpDownOptions(hidden=1000, embedding=1000, attention=512),
            "medium": UpDownOptions(hidden=512, embedding=512, attention=256),
            "small": UpDownOptions(hidden=256, embedding=256, attention=128),
            "tiny": UpDownOptions(hidden=128, embedding=128, attention=64),
            "pocket": UpDownOptions(hidden=256, embedding=256, attention=128, tie_words=True),
        },
        build=UpDown,
        fast="distilcap.models.fast.updown:FastUpDown",
    )
)
