"""AoANet: attention on attention (Huang et al. 2019)."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from distilcap.models.aoanet_recurrence import DropoutMasks, aoanet_recurrence
from distilcap.models.attention import AttentionOnAttention, masked_mean, multi_head_attention
from distilcap.models.captioner import Memory, State, lstm_cell
from distilcap.models.dropout import Dropout
from distilcap.models.packed_captioner import PackedCaptioner
from distilcap.models.packing import Packing
from distilcap.models.products import Linear
from distilcap.models.refiner import RefinerLayer
from distilcap.models.words import WordEmbedding, WordPredictor
from distilcap.shapes import Regions

__all__ = ["AoANet", "AoANetOptions"]


@dataclass(frozen=True)
class AoANetOptions:
    """Widths and habits of an AoANet captioner.

    Attributes:
        hidden: width of regions, LSTM and context (H).
        embedding: width of word embeddings (E).
        heads: attention heads; divides `hidden`.
        refiner_layers: self-attention layers over the regions.
        dropout: on embedded words, encoded regions, context and output.
        refiner_dropout: on attention weights and residuals.
        aoa_dropout: on the refiner's attention on attention.
        tie_words: predict words with the embedding's own matrix.
    """

    hidden: int = 1024
    embedding: int = 1024
    heads: int = 8
    refiner_layers: int = 6
    dropout: float = 0.5
    refiner_dropout: float = 0.1
    aoa_dropout: float = 0.3
    tie_words: bool = False


class AoANet(PackedCaptioner):
    """A refiner over regions, one LSTM, and attention on attention as the context.

    A   = LN(refiner(regions))                               (equation 8)
    h_t = LSTM([W_e word, mean(A) + c_{t-1}], h_{t-1})       (equations 10, 11)
    c_t = AoA(MultiHead(h_t, A), h_t)                        (equation 12)
    p   = softmax(W_p c_t)                                   (equation 9)
    """

    def __init__(self, vocabulary_size: int, region_dim: int, options: AoANetOptions) -> None:
        super().__init__()
        self.vocabulary_size, self.region_dim, self.options = vocabulary_size, region_dim, options
        width = options.hidden
        self.regions = nn.Sequential(nn.Linear(region_dim, width), nn.ReLU(), Dropout(options.dropout))
        self.refiner = nn.ModuleList(
            RefinerLayer(width, options.heads, options.refiner_dropout, options.aoa_dropout)
            for _ in range(options.refiner_layers)
        )
        self.norm = nn.LayerNorm(width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.words = WordEmbedding(vocabulary_size, options.embedding, options.dropout)
        self.lstm_from_word = Linear(options.embedding, 4 * width)
        self.lstm_from_mean = Linear(width, 4 * width, bias=False)  # reads the mean and the context alike
        self.lstm_from_state = Linear(width, 4 * width, bias=False)
        self.query_norm = nn.LayerNorm(width)
        self.query = Linear(width, width)
        self.context = AttentionOnAttention(width)
        self.context_dropout = Dropout(options.dropout)
        self.weight_dropout = Dropout(options.refiner_dropout)
        self.output = WordPredictor(width, self.words, options.dropout, tied=options.tie_words)

    def encode(self, regions: Regions) -> Memory:
        """Give keys and values (B, R, H), the mean region's share of the gates (B, 4H), mask (B, R)."""
        values = self.regions(regions.features)
        for layer in self.refiner:
            values = layer(values, regions.mask)
        values = self.norm(values)
        gates = self.lstm_from_mean(masked_mean(values, regions.mask))
        keys, values = self.keys_values(values).chunk(2, dim=-1)
        return keys, values, gates, regions.mask

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Zeros: the LSTM's h and c, and the context, each (B, K, H)."""
        keys = memory[0]
        return tuple(keys.new_zeros(len(keys), captions, self.options.hidden) for _ in range(3))

    def _advance(self, word_gates: Tensor, state: State, memory: Memory) -> State:
        """LSTM and context, given the words' share of the gates (B, K, 4H)."""
        keys, values, mean_gates, mask = memory
        hidden, cell, context = state
        gates = (
            word_gates
            + mean_gates[:, None]
            + self.lstm_from_mean(self.context_dropout(context))
            + self.lstm_from_state(hidden)
        )
        hidden, cell = lstm_cell(gates, cell)
        query = self.query(self.query_norm(hidden))
        attended = multi_head_attention(query, keys, values, mask, self.options.heads, self.weight_dropout)
        return hidden, cell, self.context(attended, hidden)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        state = self._advance(self.words.projected(tokens, self.lstm_from_word), state, memory)
        return self.output(state[2]), state

    def read(self, memory: Memory, tokens: Tensor, packing: Packing) -> Tensor:
        """See `PackedCaptioner.read`."""
        keys, values, mean_gates, mask = memory
        gates = self.words.projected(tokens, self.lstm_from_word)
        gates = gates.add_(mean_gates.index_select(0, packing.images))
        dropout = DropoutMasks()
        if self.training:
            images, captions, _ = packing.shape
            shape = (len(packing.counts), images * self.options.heads, captions, keys.shape[1])
            dropout = DropoutMasks(
                self.context_dropout.mask((len(tokens), self.options.hidden), gates),
                self.weight_dropout.mask(shape, gates),
            )
        return aoanet_recurrence(
            gates,
            keys,
            values,
            mask,
            self.lstm_from_mean.weight,
            self.lstm_from_state.weight,
            self.query_norm.weight,
            self.query_norm.bias,
            self.query.weight,
            self.query.bias,
            self.context.linear.weight,
            self.context.linear.bias,
            self.options.heads,
            dropout,
            packing,
        )
