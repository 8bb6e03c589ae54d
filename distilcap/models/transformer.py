"""Transformer: a decoder over regions (Vaswani et al. 2017), pre-norm (Xiong et al. 2020)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention

from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory, State
from distilcap.models.families import Family, register
from distilcap.models.layers import WordPredictor, split_heads
from distilcap.options import Options, option
from distilcap.runtime.limits import MAX_WORDS
from distilcap.shapes import Regions

__all__ = ["Transformer", "TransformerOptions"]


@dataclass(frozen=True)
class TransformerOptions(Options):
    """Widths and habits of a Transformer captioner.

    Raises:
        ConfigError: a value is out of its bounds, or `hidden` is odd or no multiple of `heads`.
    """

    hidden: int = option(512, "Width of words and regions (H); even.", least=2, most=65_536)
    heads: int = option(8, "Number of attention heads; divides `hidden`.", least=1, most=4_096)
    layers: int = option(3, "Number of layers of the decoder.", least=1, most=256)
    encoder_layers: int = option(1, "Number of self-attention layers over the regions.", least=0, most=256)
    window: int = option(
        24,
        "Number of words back to which a word reads, itself among them: few captions are longer, and the "
        "state has keys and values of so many.",
        least=1,
        most=MAX_WORDS,
    )
    dropout: float = option(
        0.1, "On embedded words, encoded regions, the output and what layers add.", least=0, below=1
    )
    tie_words: bool = False  # whether words are predicted with the embedding's own matrix

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.hidden % 2 or self.hidden % self.heads:
            raise ConfigError(
                f"`hidden` must be even and a multiple of `heads` ({self.heads}), but is {self.hidden}."
            )


class Attention(nn.Module):
    """Multi-head attention (section 3.2.2): softmax(Q K^T / sqrt(S)) V of each head, and a projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(width, width)
        self.keys_values = nn.Linear(width, 2 * width)
        self.output = nn.Linear(width, width)

    def forward(self, asking: Tensor, keys_values: Tensor, mask: Tensor | None = None) -> Tensor:
        """Let (N, L, H) read (N, M, 2H) where the mask (…, L, M) is True; gives (N, L, H)."""
        query = split_heads(self.query(asking), self.heads)
        width = asking.shape[-1]
        halves = keys_values[..., :width], keys_values[..., width:]  # not `chunk`: see `export.phone`
        keys, values = (split_heads(half, self.heads) for half in halves)
        attended = scaled_dot_product_attention(query, keys, values, attn_mask=mask)
        output: Tensor = self.output(attended.transpose(1, 2).flatten(-2))
        return output


def feed_forward(width: int) -> nn.Module:
    """W_2 ReLU(W_1 x), four times as wide within (section 3.3)."""
    return nn.Sequential(nn.Linear(width, 4 * width), nn.ReLU(), nn.Linear(4 * width, width))


class EncoderLayer(nn.Module):
    """Self-attention over the regions: x + Attention(LN x), then x + FeedForward(LN x)."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        width = options.hidden
        self.attention, self.feed_forward = Attention(width, options.heads), feed_forward(width)
        self.attention_norm, self.feed_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = nn.Dropout(options.dropout)

    def forward(self, regions: Tensor, mask: Tensor) -> Tensor:
        """Refine regions (B, R, H), real where mask (B, R) is True."""
        normed = self.attention_norm(regions)
        attended = self.attention(normed, self.attention.keys_values(normed), mask[:, None, None])
        regions = regions + self.dropout(attended)
        refined: Tensor = regions + self.dropout(self.feed_forward(self.feed_norm(regions)))
        return refined


class DecoderLayer(nn.Module):
    """A word reads the words before it, then the regions, then thinks; each is added to what it was."""

    def __init__(self, options: TransformerOptions) -> None:
        super().__init__()
        width = options.hidden
        self.words, self.regions = Attention(width, options.heads), Attention(width, options.heads)
        self.feed_forward = feed_forward(width)
        self.word_norm, self.region_norm, self.feed_norm = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = nn.Dropout(options.dropout)

    def keys_values(self, x: Tensor) -> Tensor:
        """What words (…, H) give to words that read them: (…, 2H)."""
        given: Tensor = self.words.keys_values(self.word_norm(x))
        return given

    def forward(
        self, x: Tensor, words: Tensor, readable: Tensor | None, regions: Tensor, mask: Tensor
    ) -> Tensor:
        """Read L words of each caption.

        Args:
            x: (B, K, L, H).
            words: (B, K, M, 2H) of `keys_values`, of these words and those before.
            readable: (…, L, M), True where a word reads another; None is everywhere.
            regions: (B, R, 2H) keys and values. mask: (B, R).
        """
        read = self.words(self.word_norm(x).flatten(0, 1), words.flatten(0, 1), readable)
        x = x + self.dropout(read.view_as(x))
        seen = self.regions(self.region_norm(x).flatten(1, 2), regions, mask[:, None, None])
        x = x + self.dropout(seen.view_as(x))
        thought: Tensor = x + self.dropout(self.feed_forward(self.feed_norm(x)))
        return thought


class Transformer(Captioner):
    """Words read words back to a window, and regions; given captions are read in one pass.

    A step's state is a ring of the last words' keys and values, of fixed length so that exported graphs have
    fixed shapes, and how many words there were. No caption is too long for it.
    """

    frequencies: Tensor

    def __init__(self, vocabulary_size: int, region_dim: int, options: TransformerOptions) -> None:
        super().__init__()
        self.vocabulary_size, self.region_dim, self.options = vocabulary_size, region_dim, options
        width = options.hidden
        self.regions = nn.Sequential(nn.Linear(region_dim, width), nn.ReLU(), nn.Dropout(options.dropout))
        self.encoder = nn.ModuleList(EncoderLayer(options) for _ in range(options.encoder_layers))
        self.region_norm = nn.LayerNorm(width)
        self.table = nn.Embedding(vocabulary_size, width)
        nn.init.uniform_(self.table.weight, -0.1, 0.1)
        self.dropout = nn.Dropout(options.dropout)
        self.layers = nn.ModuleList(DecoderLayer(options) for _ in range(options.layers))
        self.norm = nn.LayerNorm(width)
        self.output = WordPredictor(width, self.table, options.dropout, tied=options.tie_words)
        rates = torch.exp(torch.arange(0, width, 2) * (-math.log(10_000) / width))
        self.register_buffer("frequencies", rates, persistent=False)

    def decoder(self) -> list[DecoderLayer]:
        """The decoder's layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, DecoderLayer)]

    def encode(self, regions: Regions) -> Memory:
        """Give each decoder layer's keys and values (B, R, 2H), and the mask (B, R)."""
        x = self.regions(regions.features)
        for layer in self.encoder:
            x = layer(x, regions.mask)
        x = self.region_norm(x)
        return (*(layer.regions.keys_values(x) for layer in self.decoder()), regions.mask)

    def embed(self, tokens: Tensor, positions: Tensor) -> Tensor:
        """Words (…, L) and their positions, numbers from 0 (…, L), as (…, L, H) (sections 3.4 and 3.5)."""
        angles = positions[..., None] * self.frequencies
        places = torch.cat([angles.sin(), angles.cos()], dim=-1)
        x: Tensor = self.dropout(self.table(tokens) * math.sqrt(self.options.hidden) + places)
        return x

    def hidden_states(self, memory: Memory, tokens: Tensor) -> Tensor:
        """Read whole captions (B, K, T), and give what predicts the words that follow: (B, K, T, H)."""
        *regions, mask = memory
        positions = torch.arange(tokens.shape[2], device=tokens.device)
        back = positions[:, None] - positions
        readable = (back >= 0) & (back < self.options.window)
        x = self.embed(tokens, positions)
        for layer, seen in zip(self.decoder(), regions, strict=True):
            x = layer(x, layer.keys_values(x), readable, seen, mask)
        hidden: Tensor = self.norm(x)
        return hidden

    def predict(self, memory: Memory, tokens: Tensor) -> Tensor:
        """See `Captioner.predict`."""
        logits: Tensor = self.output(self.hidden_states(memory, tokens))
        return logits

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Zeros: the number of words so far (B, K, 1), and each layer's ring (B, K, window x 2H)."""
        shape, numbers = (len(memory[0]), captions), memory[0]
        width = 2 * self.options.hidden * self.options.window
        rings = (numbers.new_zeros(*shape, width) for _ in self.layers)
        return (torch.zeros(*shape, 1, device=numbers.device), *rings)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`."""
        position, *rings = state
        *regions, mask = memory
        window = self.options.window
        slots = torch.arange(window, device=tokens.device)
        here = (slots == position - window * torch.floor(position / window))[..., None]
        readable = (slots <= position).flatten(0, 1)[:, None, None]
        x, after = self.embed(tokens[..., None], position), []
        for layer, ring, seen in zip(self.decoder(), rings, regions, strict=True):
            words = torch.where(here, layer.keys_values(x), ring.view(*tokens.shape, window, -1))
            x = layer(x, words, readable, seen, mask)
            after.append(words.flatten(2))
        return self.output(self.norm(x))[:, :, 0], (position + 1, *after)


register(
    Family(
        name="transformer",
        title="Transformer",
        options=TransformerOptions,
        sizes={
            "big": TransformerOptions(hidden=768, heads=12, encoder_layers=3),
            "medium": TransformerOptions(hidden=512, heads=8),
            "small": TransformerOptions(hidden=256, heads=8),
            "tiny": TransformerOptions(hidden=128, heads=4, layers=2),
            "pocket": TransformerOptions(hidden=192, heads=6, tie_words=True),
        },
        build=Transformer,
        fast="distilcap.models.fast.transformer:FastTransformer",
        label_smoothing=0.1,  # section 5.4
    )
)
