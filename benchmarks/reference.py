"""A plain captioner to compare with: Up-Down and AoANet as the standard toolkit computes them.

Written from its described behaviour (`docs/speed.md`), not from its code, and not made slower than that: one
word projection, logit projection and log-softmax a step; regions repeated for each caption; beams that sort
all candidates, keep and re-gather full-vocabulary log-probabilities, and never stop early; self-critical
samples drawn with the graph on; references prepared anew for each caption that they score. Token 0 pads,
begins and ends a caption.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.functional import glu

State = tuple[Tensor, Tensor]  # h and c, each (layers, N, H)


def repeated(tensors: Sequence[Tensor], times: int) -> list[Tensor]:
    return [tensor.repeat_interleave(times, dim=0) for tensor in tensors]


class Reference(nn.Module):
    """Shared by both: embedding, teacher forcing, sampling and beam search. N = images x captions."""

    layers = 1

    def __init__(self, vocabulary_size: int, hidden: int) -> None:
        super().__init__()
        self.vocabulary_size, self.hidden = vocabulary_size, hidden
        self.embedding = nn.Sequential(nn.Embedding(vocabulary_size, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.logit = nn.Linear(hidden, vocabulary_size)

    def prepare(self, regions: Tensor) -> list[Tensor]:
        """What steps read of the images (B, R, D)."""
        raise NotImplementedError

    def core(self, words: Tensor, prepared: Sequence[Tensor], state: State) -> tuple[Tensor, State]:
        raise NotImplementedError

    def log_probs(self, tokens: Tensor, prepared: Sequence[Tensor], state: State) -> tuple[Tensor, State]:
        output, state = self.core(self.embedding(tokens), prepared, state)
        return self.logit(output).log_softmax(dim=-1), state

    def start(self, rows: int) -> State:
        weight = self.logit.weight
        return (
            weight.new_zeros(self.layers, rows, self.hidden),
            weight.new_zeros(self.layers, rows, self.hidden),
        )

    def forward(self, regions: Tensor, tokens: Tensor) -> Tensor:
        """Teacher forcing over tokens (N, T) that begin with 0, to log-probabilities (N, T, V)."""
        prepared = repeated(self.prepare(regions), len(tokens) // len(regions))
        state = self.start(len(tokens))
        outputs = regions.new_zeros(len(tokens), tokens.shape[1], self.vocabulary_size)
        for place in range(tokens.shape[1]):
            if place and not tokens[:, place].any():
                break
            outputs[:, place], state = self.log_probs(tokens[:, place], prepared, state)
        return outputs

    def sample(self, regions: Tensor, captions: int, steps: int, greedy: bool) -> tuple[Tensor, Tensor]:
        """Draw (or take the best) words: tokens (N, T) and log-probabilities (N, T, V)."""
        prepared = repeated(self.prepare(regions), captions)
        rows = len(regions) * captions
        state, words = self.start(rows), torch.zeros(rows, dtype=torch.long, device=regions.device)
        tokens = words.new_zeros(rows, steps)
        kept = regions.new_zeros(rows, steps, self.vocabulary_size)
        unfinished = torch.ones_like(words, dtype=torch.bool)
        for place in range(steps):
            log_probs, state = self.log_probs(words, prepared, state)
            if greedy:
                words = log_probs.argmax(dim=-1)
            else:
                words = torch.distributions.Categorical(logits=log_probs.detach()).sample()
            words = words * unfinished
            tokens[:, place], kept[:, place] = words, log_probs
            unfinished = unfinished & (words > 0)
            if not unfinished.any():
                break
        return tokens, kept

    def beam(self, regions: Tensor, width: int, steps: int) -> list[Tensor]:
        """The best caption of each image, by a search over `width` hypotheses."""
        images = len(regions)
        prepared = self.prepare(regions)
        words = torch.zeros(images, dtype=torch.long, device=regions.device)
        log_probs, state = self.log_probs(words, prepared, self.start(images))
        prepared = repeated(prepared, width)
        sums = regions.new_zeros(images, 1)
        tokens = words.new_zeros(images, 1, 0)
        kept = regions.new_zeros(images, 1, 0, self.vocabulary_size)
        done: list[list[tuple[float, Tensor, Tensor]]] = [[] for _ in range(images)]
        for place in range(steps):
            log_probs = log_probs.view(images, -1, self.vocabulary_size)
            candidates = (sums[..., None] + log_probs).flatten(1)
            sums, order = candidates.sort(dim=-1, descending=True)
            sums, order = sums[:, :width], order[:, :width]
            source, words = order // self.vocabulary_size, order % self.vocabulary_size
            tokens = tokens.gather(1, source[..., None].expand(-1, -1, place))
            tokens = torch.cat([tokens, words[..., None]], dim=-1)
            shape = (-1, -1, place, self.vocabulary_size)
            kept = kept.gather(1, source[..., None, None].expand(shape))
            step = log_probs.gather(1, source[..., None].expand(-1, -1, self.vocabulary_size))
            kept = torch.cat([kept, step[:, :, None]], dim=2)
            rows = (
                source + torch.arange(images, device=source.device)[:, None] * log_probs.shape[1]
            ).flatten()
            state = (state[0][:, rows], state[1][:, rows])
            for image in range(images):
                ended = (words[image] == 0) | (place == steps - 1)
                for one in ended.nonzero()[:, 0].tolist():
                    found = (sums[image, one].item(), tokens[image, one].clone(), kept[image, one].clone())
                    done[image].append(found)
                sums[image, ended] -= 1000
            if place < steps - 1:
                log_probs, state = self.log_probs(words.flatten(), prepared, state)
        return [max(several, key=lambda one: one[0])[1] for several in done]


class UpDownReference(Reference):
    layers = 2

    def __init__(self, vocabulary_size: int, region_dim: int, hidden: int, attention: int) -> None:
        super().__init__(vocabulary_size, hidden)
        self.mean = nn.Sequential(nn.Linear(region_dim, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.regions = nn.Sequential(nn.Linear(region_dim, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.keys = nn.Linear(hidden, attention)
        self.query = nn.Linear(hidden, attention)
        self.scorer = nn.Linear(attention, 1)
        self.attention_lstm = nn.LSTMCell(3 * hidden, hidden)
        self.language_lstm = nn.LSTMCell(2 * hidden, hidden)
        self.dropout = nn.Dropout(0.5)

    def prepare(self, regions: Tensor) -> list[Tensor]:
        values = self.regions(regions)
        return [self.mean(regions.mean(dim=1)), values, self.keys(values)]

    def core(self, words: Tensor, prepared: Sequence[Tensor], state: State) -> tuple[Tensor, State]:
        mean, values, keys = prepared
        read = torch.cat([state[0][1], mean, words], dim=1)
        h1, c1 = self.attention_lstm(read, (state[0][0], state[1][0]))
        scores = self.scorer(torch.tanh(keys + self.query(h1)[:, None])).squeeze(-1)
        attended = torch.bmm(scores.softmax(dim=-1)[:, None], values).squeeze(1)
        h2, c2 = self.language_lstm(torch.cat([attended, h1], dim=1), (state[0][1], state[1][1]))
        return self.dropout(h2), (torch.stack([h1, h2]), torch.stack([c1, c2]))


class _AoA(nn.Module):
    def __init__(self, width: int, heads: int, dropout: float, refines: bool) -> None:
        super().__init__()
        self.heads, self.refines = heads, refines
        self.query = nn.Linear(width, width)
        if refines:  # the decoder's keys and values are projected once, outside
            self.key, self.value = nn.Linear(width, width), nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)
        self.gate = nn.Linear(2 * width, 2 * width)
        self.weight_dropout, self.dropout = nn.Dropout(0.1), nn.Dropout(dropout)

    def forward(self, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """(N, Q, H) queries over (N, R, H)."""
        query = self.norm(query)
        if self.refines:
            keys = values = query
            keys, values = self.key(keys), self.value(values)
        split = [
            one.view(*one.shape[:2], self.heads, -1).transpose(1, 2)
            for one in (self.query(query), keys, values)
        ]
        scores = split[0] @ split[1].transpose(-1, -2) / math.sqrt(split[0].shape[-1])
        attended = (self.weight_dropout(scores.softmax(dim=-1)) @ split[2]).transpose(1, 2).flatten(2)
        return glu(self.gate(self.dropout(torch.cat([attended, query], dim=-1))), dim=-1)


class AoANetReference(Reference):
    layers = 2  # the second keeps the context

    def __init__(self, vocabulary_size: int, region_dim: int, hidden: int, heads: int = 8) -> None:
        super().__init__(vocabulary_size, hidden)
        self.regions = nn.Sequential(nn.Linear(region_dim, hidden), nn.ReLU(), nn.Dropout(0.5))
        self.refiner = nn.ModuleList(_AoA(hidden, heads, 0.3, refines=True) for _ in range(6))
        self.residual_dropout = nn.Dropout(0.1)
        self.norm = nn.LayerNorm(hidden)
        self.keys_values = nn.Linear(hidden, 2 * hidden)
        self.lstm = nn.LSTMCell(2 * hidden, hidden)
        self.attention = _AoA(hidden, heads, 0.0, refines=False)
        self.context_dropout, self.dropout = nn.Dropout(0.5), nn.Dropout(0.5)

    def prepare(self, regions: Tensor) -> list[Tensor]:
        values = self.regions(regions)
        for layer in self.refiner:
            values = values + self.residual_dropout(layer(values, values, values))
        values = self.norm(values)
        return [values.mean(dim=1), *self.keys_values(values).chunk(2, dim=-1)]

    def core(self, words: Tensor, prepared: Sequence[Tensor], state: State) -> tuple[Tensor, State]:
        mean, keys, values = prepared
        read = torch.cat([words, mean + self.context_dropout(state[0][1])], dim=1)
        hidden, cell = self.lstm(read, (state[0][0], state[1][0]))
        context = self.attention(hidden[:, None], keys, values).squeeze(1)
        return self.dropout(context), (torch.stack([hidden, context]), torch.stack([cell, cell]))


def cross_entropy_loss(model: Reference, regions: Tensor, tokens: Tensor) -> Tensor:
    """Masked mean over tokens (N, T), the first the begin token."""
    log_probs = model(regions, tokens[:, :-1])
    targets = tokens[:, 1:]
    mask = torch.cat([torch.ones_like(targets[:, :1]), (targets[:, :-1] > 0).long()], dim=1).float()
    return -(log_probs.gather(2, targets[..., None]).squeeze(2) * mask).sum() / mask.sum()


class PlainReward:
    """The self-critical reward as it is usually computed: CIDEr-D on words in dictionaries; document
    frequencies are given, references prepared at each use."""

    def __init__(self, references: Sequence[Sequence[str]]) -> None:
        self.documents = len(references)
        self.frequencies: Counter[tuple[str, ...]] = Counter()
        for several in references:
            self.frequencies.update({ngram for one in several for ngram in self._ngrams(one)})

    @staticmethod
    def _ngrams(caption: str) -> Counter[tuple[str, ...]]:
        words = caption.split()
        return Counter(tuple(words[i : i + n]) for n in range(1, 5) for i in range(len(words) - n + 1))

    def _vector(self, caption: str) -> tuple[list[dict[tuple[str, ...], float]], list[float], int]:
        vector: list[dict[tuple[str, ...], float]] = [{} for _ in range(4)]
        norms, length = [0.0] * 4, 0
        for ngram, count in self._ngrams(caption).items():
            n = len(ngram) - 1
            rarity = math.log(self.documents) - math.log(max(1.0, self.frequencies.get(ngram, 0)))
            vector[n][ngram] = count * rarity
            norms[n] += vector[n][ngram] ** 2
            length += count if n == 1 else 0
        return vector, [math.sqrt(norm) for norm in norms], length

    def __call__(self, captions: Sequence[str], references: Sequence[Sequence[str]]) -> list[float]:
        scores = []
        for caption, several in zip(captions, references, strict=True):
            vector, norms, length = self._vector(caption)
            total = 0.0
            for reference in several:
                other, other_norms, other_length = self._vector(reference)
                for n in range(4):
                    value = sum(
                        min(weight, other[n].get(ngram, 0.0)) * other[n].get(ngram, 0.0)
                        for ngram, weight in vector[n].items()
                    )
                    if norms[n] and other_norms[n]:
                        value /= norms[n] * other_norms[n]
                    total += value * math.exp(-((length - other_length) ** 2) / (2 * 6.0**2)) / 4
            scores.append(10 * total / len(several))
        return scores


def words_of(tokens: Tensor) -> list[str]:
    """Captions (N, T) as text, the end token included."""
    texts = []
    for row in tokens.tolist():
        end = row.index(0) + 1 if 0 in row else len(row)
        texts.append(" ".join(map(str, row[:end])))
    return texts


def self_critical_loss(log_probs: Tensor, tokens: Tensor, advantages: Tensor) -> Tensor:
    """Minus the mean of advantage times log-probability over the words of samples (N, T)."""
    chosen = log_probs.gather(2, tokens[..., None]).squeeze(2)
    mask = torch.cat([torch.ones_like(tokens[:, :1]), (tokens[:, :-1] > 0).long()], dim=1).float()
    return -(chosen * advantages[:, None] * mask).sum() / mask.sum()
