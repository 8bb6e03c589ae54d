"""Up-Down: bottom-up and top-down attention (Anderson et al. 2018, section 3.2)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from distilcap.models.attention import additive_attention, masked_mean
from distilcap.models.captioner import Memory, State, lstm_cell
from distilcap.models.dropout import Dropout
from distilcap.models.packed_captioner import PackedCaptioner
from distilcap.models.packing import Packing
from distilcap.models.products import Linear
from distilcap.models.updown_recurrence import updown_recurrence
from distilcap.models.words import WordEmbedding, WordPredictor
from distilcap.shapes import Regions

__all__ = ["UpDown", "UpDownOptions"]


@dataclass(frozen=True)
class UpDownOptions:
    """Widths and habits of an Up-Down captioner.

    Attributes:
        hidden: width of both LSTMs and of the encoded regions (H).
        embedding: width of word embeddings (E).
        attention: width of the attention's hidden layer (A).
        dropout: on embedded words, encoded regions and the output.
        tie_words: predict words with the embedding's own matrix.
        output_states: "language" predicts from the language LSTM alone, as published; "both" from the sum
            of both LSTMs' states, which leaves the early plateau of training sooner.
    """

    hidden: int = 1000
    embedding: int = 1000
    attention: int = 512
    dropout: float = 0.5
    tie_words: bool = False
    output_states: str = "language"


class UpDown(PackedCaptioner):
    """Two LSTMs: one directs attention, one writes.

    h1 = LSTM_att([h2, mean(v), W_e word], h1)         (equation 2)
    a  = softmax(w_a . tanh(W_va v + W_ha h1))         (equations 3, 4)
    h2 = LSTM_lang([sum a v, h1], h2)                  (equations 5, 6)
    p  = softmax(W_p h2 + b_p)                         (equation 7)

    The attention LSTM's weights are kept in three blocks, by what they read: the mean region is multiplied
    once an image, all words at once, and only the states inside the recurrence.
    """

    def __init__(self, vocabulary_size: int, region_dim: int, options: UpDownOptions) -> None:
        super().__init__()
        self.vocabulary_size, self.region_dim, self.options = vocabulary_size, region_dim, options
        hidden = options.hidden
        self.regions = nn.Sequential(nn.Linear(region_dim, hidden), nn.ReLU(), Dropout(options.dropout))
        self.words = WordEmbedding(vocabulary_size, options.embedding, options.dropout)
        self.attention_from_mean = nn.Linear(hidden, 4 * hidden, bias=False)
        self.attention_from_word = Linear(options.embedding, 4 * hidden)
        self.attention_from_states = Linear(2 * hidden, 4 * hidden, bias=False)  # reads [h2, h1]
        self.keys = nn.Linear(hidden, options.attention)
        self.query = Linear(hidden, options.attention, bias=False)
        self.scorer = nn.Parameter(torch.empty(options.attention).uniform_(-0.1, 0.1))
        self.language = Linear(3 * hidden, 4 * hidden)  # reads [attended, h1, h2]
        self.output = WordPredictor(hidden, self.words, options.dropout, tied=options.tie_words)

    def encode(self, regions: Regions) -> Memory:
        """Give values (B, R, H), keys (B, R, A), the mean region's part of the gates (B, 4H), mask (B, R)."""
        values = self.regions(regions.features)
        gates = self.attention_from_mean(masked_mean(values, regions.mask))
        return values, self.keys(values), gates, regions.mask

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Zeros: attention LSTM's h and c, language LSTM's h and c, each (B, K, H)."""
        values = memory[0]
        return tuple(values.new_zeros(len(values), captions, self.options.hidden) for _ in range(4))

    def _advance(self, word_gates: Tensor, state: State, memory: Memory) -> State:
        """Both LSTMs, given the words' share of the attention LSTM's gates (B, K, 4H)."""
        values, keys, mean_gates, mask = memory
        h1, c1, h2, c2 = state
        gates = word_gates + mean_gates[:, None] + self.attention_from_states(torch.cat([h2, h1], dim=-1))
        h1, c1 = lstm_cell(gates, c1)
        attended, _ = additive_attention(self.query(h1), keys, values, self.scorer, mask)
        h2, c2 = lstm_cell(self.language(torch.cat([attended, h1, h2], dim=-1)), c2)
        return h1, c1, h2, c2

    def _written(self, state: State) -> Tensor:
        h1, _, h2, _ = state
        return h1 + h2 if self.options.output_states == "both" else h2

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        state = self._advance(self.words.projected(tokens, self.attention_from_word), state, memory)
        return self.output(self._written(state)), state

    def read(self, memory: Memory, tokens: Tensor, packing: Packing) -> Tensor:
        """See `PackedCaptioner.read`."""
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
        )
        return h1 + h2 if self.options.output_states == "both" else h2
