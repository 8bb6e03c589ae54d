"""The few passes over the words against PyTorch's plain ones."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.decode.beam import extend as plain_extend
from distilcap.models.families import families
from distilcap.models.fast import accelerate
from distilcap.models.fast.sampling import draw, draw_words
from distilcap.models.fast.search import best_words, extend, log_total
from distilcap.models.presets import build_captioner, preset
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 4), st.integers(5, 3000), st.integers(1, 5), st.integers(2, 10**6), st.integers(0, 99))
def test_the_best_words_are_those_of_topk(rows: int, words: int, count: int, levels: int, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randint(levels, (rows, words), generator=generator).float()  # few levels: many ties
    logits[torch.rand(logits.shape, generator=generator) < 0.1] = -torch.inf
    best, places = best_words(logits, count)
    assert torch.equal(best, logits.topk(count, dim=1).values)
    assert torch.equal(logits.gather(1, places), best)
    assert all(len(set(row)) == count for row in places.tolist())


@pytest.mark.parametrize("words", [7, 9488, 300_000])
def test_log_totals_are_those_of_logsumexp(words: int) -> None:
    logits = torch.randn(33, words, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(log_total(logits), logits.logsumexp(dim=1, keepdim=True))
    logits *= 40
    logits[0] = -1e4
    logits[1] = 1e4
    torch.testing.assert_close(log_total(logits), logits.logsumexp(dim=1, keepdim=True))


def test_some_rows_get_their_likeliest_word() -> None:
    logits = torch.randn(6, 50, generator=torch.Generator().manual_seed(0))
    log_probs, numbers = logits.log_softmax(dim=1), torch.rand(6, generator=torch.Generator().manual_seed(1))
    words, chosen = draw_words(logits.clone(), numbers, torch.tensor([1, 4]))
    plain, _ = draw_words(logits.clone(), numbers)
    assert words[[1, 4]].tolist() == logits[[1, 4]].argmax(dim=1).tolist()
    assert torch.equal(words[[0, 2, 3, 5]], plain[[0, 2, 3, 5]])
    torch.testing.assert_close(chosen, log_probs.gather(1, words[:, None])[:, 0])


def test_forbidden_words_are_not_drawn_but_keep_their_odds() -> None:
    logits = torch.randn(500, 6, generator=torch.Generator().manual_seed(0))
    odds, forbidden = logits.clone(), torch.tensor([0, 4])
    numbers = torch.rand(500, generator=torch.Generator().manual_seed(1))
    words, chosen = draw_words(odds, numbers, forbidden=forbidden)
    assert set(words.tolist()) == {1, 2, 3, 5}
    allowed = logits.index_fill(1, forbidden, -torch.inf)
    torch.testing.assert_close(chosen, allowed.log_softmax(dim=1).gather(1, words[:, None])[:, 0])
    torch.testing.assert_close(odds / odds.sum(dim=1, keepdim=True), logits.softmax(dim=1))


@pytest.mark.parametrize("words", [5, 16, 37, 160])
def test_drawn_words_follow_their_probabilities(words: int) -> None:
    generator = torch.Generator().manual_seed(words)
    logits = 2 * torch.randn(words, generator=generator)
    logits[[0, words // 2]] = -torch.inf
    count = 200_000
    drawn, chosen = draw_words(logits.expand(count, -1).clone(), torch.rand(count, generator=generator))
    probabilities = logits.double().softmax(dim=0)
    found = drawn.bincount(minlength=words) / count
    deviations = (probabilities * (1 - probabilities) / count).sqrt()
    assert ((found - probabilities).abs() <= 5 * deviations).all()
    torch.testing.assert_close(chosen, logits.log_softmax(dim=0)[drawn])


@pytest.mark.parametrize("architecture", families())
def test_the_last_sample_may_be_the_greedy_caption(architecture: str) -> None:
    captioner = accelerate(build_captioner(architecture, preset(architecture, "tiny"), 14, 4)).eval()
    regions = Regions.full(torch.rand(5, 3, 4, generator=torch.Generator().manual_seed(2)))
    with torch.no_grad():
        memory = captioner.encode(regions)
        tokens, log_probs = draw(captioner, memory, 3, torch.tensor([PAD, BOS]), 12, with_best=True)
    greedy = beam_search(captioner, regions, BeamSearch(1, 12, allow_unk=True))
    assert torch.equal(tokens[:, 3:], greedy.tokens)
    assert tokens.shape == (5, 4, 12)
    # Samples are scored without pads and begin tokens, searches with them.
    inputs = torch.cat([torch.full((5, 1, 1), BOS), greedy.tokens[..., :-1]], dim=2)
    with torch.no_grad():
        logits = captioner(regions, inputs)
    logits[..., [PAD, BOS]] = -torch.inf
    expected = logits.log_softmax(dim=-1).gather(3, greedy.tokens[..., None])[..., 0]
    expected = expected.masked_fill(greedy.tokens == PAD, 0.0).sum(dim=2)
    torch.testing.assert_close(log_probs[:, 3:], expected, atol=1e-5, rtol=1e-5)


@settings(deadline=None, max_examples=60)
@given(st.integers(1, 3), st.integers(1, 5), st.integers(5, 2000), st.integers(1, 6), st.integers(0, 99))
def test_continuations_are_those_of_plain_search(
    images: int, beam: int, words: int, width: int, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    logits = 3 * torch.randn(images, beam, words, dtype=torch.float64, generator=generator)
    log_probs = torch.randn(images, beam, dtype=torch.float64, generator=generator)
    finished = torch.rand(images, beam, generator=generator) < 0.3
    given = torch.tensor([PAD, BOS]), log_probs, finished, width
    found, expected = extend(logits.clone(), *given), plain_extend(logits, *given)
    torch.testing.assert_close(found[0], expected[0])
    possible = expected[0] > -torch.inf  # of impossible hypotheses the words mean nothing
    for one, other in zip(found[1:], expected[1:], strict=True):
        assert torch.equal(one[possible], other[possible])


def test_the_first_step_reads_one_row_an_image(monkeypatch: pytest.MonkeyPatch) -> None:
    captioner = accelerate(build_captioner("updown", preset("updown", "tiny"), 14, 4)).eval()
    read: list[tuple[int, ...]] = []
    step = captioner.step

    def watched(tokens: torch.Tensor, *rest: tuple[torch.Tensor, ...]) -> object:
        read.append(tuple(tokens.shape))
        return step(tokens, *rest)

    monkeypatch.setattr(captioner, "step", watched)
    never = torch.tensor([PAD, BOS, EOS])  # captions that had ended would be left out of the second step
    with torch.no_grad():
        memory = captioner.encode(Regions.full(torch.rand(2, 3, 4)))
        draw(captioner, memory, 3, never, 2, with_best=True)
    assert read == [(2, 1), (2, 4)]
