"""Beam search in numpy: `decode.beam`, line for line, where PyTorch is not; a test holds the two equal."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from distilcap.runtime.decode_options import DecodeOptions
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["Arrays", "Ids", "SearchResult", "Step", "forbidden_words", "move_words", "repeats", "search"]

Floats: TypeAlias = NDArray[np.float32]
Ids: TypeAlias = NDArray[np.int64]
Arrays: TypeAlias = tuple[NDArray[Any], ...]
Step: TypeAlias = Callable[[Ids, Arrays, Arrays], tuple[Floats, Arrays]]
"""(B, K) tokens, state and memory to logits (B, K, V) and the next state."""


@dataclass(frozen=True)
class SearchResult:
    """K captions of each of B images, best first; see `decode.hypotheses.Hypotheses`.

    Attributes:
        tokens: (B, K, T) ids without the begin token, padded.
        log_probs: (B, K) log-probability of each caption, its end token included, in nats.
    """

    tokens: Ids
    log_probs: Floats


def move_words(logits: Floats, options: DecodeOptions) -> Floats:
    """Logits (…, V) in which blocked words have given their probability to the words written instead."""
    if not options.moved:
        return logits
    logits = logits.copy()
    for word, instead in options.moved:
        logits[..., instead] = np.logaddexp(logits[..., instead], logits[..., word])
        logits[..., word] = -np.inf
    return logits


def forbidden_words(size: int, options: DecodeOptions) -> Floats:
    """(V,) zeros, with -inf at words no caption may contain."""
    penalty = np.zeros(size, np.float32)
    penalty[options.forbidden()] = -np.inf
    return penalty


def search(step: Step, state: Arrays, memory: Arrays, options: DecodeOptions) -> SearchResult:
    """Find the K likeliest captions of each image.

    Args:
        state: before the first word, tensors (B, K, H).
        memory: of B images, tensors (B, …).
    """
    images, width = len(memory[0]), options.beam_size
    tokens = np.full((images, width, options.max_words), PAD)
    log_probs = np.full((images, width), -np.inf, np.float32)
    log_probs[:, 0] = 0.0  # one empty hypothesis; its K best first words fill the beam
    active = np.arange(images)  # images still searched, as rows of `tokens`
    last = np.full((images, width), BOS)
    for length in range(options.max_words):
        logits, state = step(last, state, memory)
        logits, forbidden = move_words(logits, options), forbidden_words(logits.shape[-1], options)
        scores, parents, words = _extend(logits, forbidden, log_probs[active], last)
        state = tuple(np.take_along_axis(tensor, parents[..., None], axis=1) for tensor in state)
        history = np.take_along_axis(tokens[active], parents[..., None], axis=1)
        history[:, :, length] = words
        tokens[active], log_probs[active] = history, scores
        going = ~((words == EOS) | (words == PAD)).all(axis=1)
        active, last = active[going], words[going]
        if not len(active):
            break
        if not going.all():
            state, memory = (
                tuple(tensor[going] for tensor in state),
                tuple(tensor[going] for tensor in memory),
            )
    return _ranked(tokens, log_probs, options)


def _extend(logits: Floats, forbidden: Floats, log_probs: Floats, last: Ids) -> tuple[Floats, Ids, Ids]:
    """Choose the K best continuations: scores, indices in the old beam and words, each (B, K)."""
    images, width, size = logits.shape
    # The K best of K x V continuations are among each hypothesis's own K best (all V, where V < K).
    own = min(width, size)
    words = _best(logits + forbidden, own)
    highest = logits.max(axis=-1, keepdims=True)
    normaliser = highest + np.log(np.exp(logits - highest).sum(axis=-1, keepdims=True))
    allowed = np.take_along_axis(logits, words, axis=-1) + forbidden[words]
    scores = log_probs[..., None] + allowed - normaliser
    # A finished hypothesis continues with one pad, at no cost.
    finished = ((last == EOS) | (last == PAD))[..., None]
    only_first = np.where(np.arange(own) == 0, np.float32(0), np.float32(-np.inf))
    scores = np.where(finished, log_probs[..., None] + only_first, scores).reshape(images, -1)
    words = np.where(finished, PAD, words).reshape(images, -1)
    chosen = _best(scores, width)
    return np.take_along_axis(scores, chosen, 1), chosen // own, np.take_along_axis(words, chosen, 1)


def _best(values: Floats, count: int) -> Ids:
    """Indices of the `count` highest along the last axis, highest first; the first index wins a tie."""
    if count < values.shape[-1]:
        some = np.argpartition(-values, count - 1, axis=-1)[..., :count]
        some.sort(axis=-1)
        highest = np.take_along_axis(values, some, axis=-1)
        # Unless others are as high as the last of these, of which any may have been taken.
        if np.count_nonzero(values >= highest.min(axis=-1, keepdims=True)) <= some.size:
            order = np.argsort(-highest, axis=-1, kind="stable")
            return np.take_along_axis(some, order, axis=-1)
    return np.argsort(-values, axis=-1, kind="stable")[..., :count]


def repeats(tokens: Ids) -> NDArray[np.bool_]:
    """(…, T) tokens to (…): whether a caption has a pair of neighbouring words twice."""
    first, second = tokens[..., :-1], tokens[..., 1:]
    # A pair as one number; those with a pad are each another.
    pairs = np.where(second == PAD, -1 - np.arange(second.shape[-1]), (first.astype(np.int64) << 32) + second)
    pairs.sort(axis=-1)
    twice: NDArray[np.bool_] = (pairs[..., 1:] == pairs[..., :-1]).any(axis=-1)
    return twice


def _ranked(tokens: Ids, log_probs: Floats, options: DecodeOptions) -> SearchResult:
    if options.length_penalty or options.avoid_repeats:
        lengths = (tokens != PAD).sum(axis=-1).clip(min=1)
        order = np.argsort(-(log_probs / lengths**options.length_penalty), axis=-1, kind="stable")
        if options.avoid_repeats:  # impossible hypotheses stay last
            behind = np.take_along_axis(repeats(tokens) | np.isneginf(log_probs), order, axis=-1)
            order = np.take_along_axis(order, np.argsort(behind, axis=-1, kind="stable"), axis=-1)
        tokens = np.take_along_axis(tokens, order[..., None], axis=1)
        log_probs = np.take_along_axis(log_probs, order, axis=1)
    return SearchResult(tokens, log_probs.astype(np.float32))
