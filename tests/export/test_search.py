"""Beam search in numpy against beam search in PyTorch."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from distilcap.decode.beam import BeamSearch, search_memory
from distilcap.models.captioner import Captioner
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.search import Arrays, Ids, _best, search


class Chain(Captioner):
    """Logits that depend on the picture, the last word and the words so far, by a fixed table."""

    def __init__(self, table: torch.Tensor) -> None:
        super().__init__()
        self.table = table  # (B, V, V)
        self.vocabulary_size = table.shape[-1]

    def encode(self, regions):
        raise NotImplementedError

    def initial_state(self, memory, captions):
        return (torch.zeros(len(memory[0]), captions, 1),)

    def step(self, tokens, state, memory):
        rows = memory[0][:, None, :].expand(-1, tokens.shape[1], -1)
        picture = rows[..., 0].long()
        so_far = state[0] * 0.5 + tokens[..., None]
        # Another wave for every word, so that captions with the same transitions in another order differ.
        waves = torch.sin(so_far * (1 + torch.arange(self.vocabulary_size)))
        return self.table[picture, tokens] + waves, (so_far,)

    def forward(self, regions, tokens):
        raise NotImplementedError


@pytest.mark.parametrize("count", [1, 3, 7, 8])
def test_the_first_of_equal_words_is_taken(count):
    """As the page and the phone's program take it, also where more are equal than there is room for."""
    values = np.random.default_rng(count).integers(0, 3, (50, 2, 8)).astype(np.float32)
    expected = np.argsort(-values, axis=-1, kind="stable")[..., :count]
    np.testing.assert_array_equal(_best(values, count), expected)


@settings(max_examples=60, deadline=None)
@given(
    images=st.integers(1, 4),
    size=st.integers(8, 12),
    width=st.integers(1, 6),
    max_words=st.integers(1, 7),
    length_penalty=st.sampled_from([0.0, 0.7, 1.0]),
    allow_unk=st.booleans(),
    blocked=st.sampled_from([(), ((4, 0),), ((5, 6),), ((4, 6), (5, 6), (7, 0))]),
    avoid_repeats=st.booleans(),
    seed=st.integers(0, 10_000),
)
def test_equals_the_search_of_training(
    images, size, width, max_words, length_penalty, allow_unk, blocked, avoid_repeats, seed
):
    generator = torch.Generator().manual_seed(seed)
    chain = Chain(3 * torch.randn(images, size, size, generator=generator))
    memory = (torch.arange(images)[:, None].float(),)
    options = DecodeOptions(width, max_words, length_penalty, allow_unk, blocked, avoid_repeats)
    expected = search_memory(chain, memory, BeamSearch(**asdict(options)))

    def step(tokens: Ids, state: Arrays, memory: Arrays):
        logits, after = chain.step(
            torch.from_numpy(tokens), (torch.from_numpy(state[0]),), (torch.from_numpy(memory[0]),)
        )
        return logits.numpy(), tuple(one.numpy() for one in after)

    state = (np.zeros((images, width, 1), np.float32),)
    found = search(step, state, (memory[0].numpy(),), options)
    lengths = (expected.tokens != 0).sum(-1).clamp(min=1)
    ranks = (expected.log_probs / lengths**length_penalty).sort(dim=-1).values
    assume(not (ranks.diff(dim=-1).abs() < 1e-4).any())  # the order of tied captions is anyone's
    np.testing.assert_allclose(found.log_probs, expected.log_probs.numpy(), rtol=1e-4, atol=1e-4)
    possible = np.isfinite(found.log_probs)  # of impossible hypotheses the words mean nothing
    assert possible[:, 0].all()
    assert not set(found.tokens[possible].ravel()) & {word for word, _ in blocked}
    np.testing.assert_array_equal(found.tokens[possible], expected.tokens.numpy()[possible])


def test_impossible_captions_come_after_those_that_repeat():
    """A beam may hold fewer captions than it could: what fills it is none, though it repeats nothing."""

    def only_word_5(tokens: Ids, state: Arrays, memory: Arrays):
        logits = np.full((*tokens.shape, 6), -np.inf, np.float32)
        logits[..., 5] = 0.0
        return logits, state

    state, memory = (np.zeros((1, 3, 1), np.float32),), (np.zeros((1, 1), np.float32),)
    for avoid in (False, True):
        found = search(only_word_5, state, memory, DecodeOptions(3, 3, avoid_repeats=avoid))
        assert found.tokens[0, 0].tolist() == [5, 5, 5]
        assert np.isfinite(found.log_probs[0]).tolist() == [True, False, False]


@pytest.mark.parametrize(
    "field, message",
    [
        ("beam_size", "`beam_size` must be at least 1 and"),
        ("max_words", "`max_words` must be at least 1 and"),
    ],
)
def test_options_that_cannot_work(field, message):
    with pytest.raises(ValueError, match=message):
        DecodeOptions(**{field: 0})
