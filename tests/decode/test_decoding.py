"""Decoders against exhaustive search and against the distribution they should draw from."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from distilcap.data.captions import CaptionSet
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.decode.captions import caption_images, rank_captions
from distilcap.decode.sample import sample
from distilcap.errors import ConfigError, DataError
from distilcap.models.captioner import Captioner, Memory, State
from distilcap.models.fast import accelerate
from distilcap.models.presets import build_captioner, preset
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS, UNK, Vocabulary
from distilcap.training.processes import ALONE
from distilcap.training.shares import caption_together, forget_logs


class Table(Captioner):
    """A captioner whose next-word logits are a random table of (image, step, last word)."""

    def __init__(self, images: int, steps: int, vocabulary_size: int, seed: int, scale: float = 2.0) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        shape = (images, steps, vocabulary_size, vocabulary_size)
        self.table = torch.nn.Parameter(scale * torch.randn(shape, generator=generator))
        self.vocabulary_size, self.region_dim = vocabulary_size, 1

    def encode(self, regions: Regions) -> Memory:
        return (regions.features[:, 0, 0].long(),)  # an image's number is its feature

    def initial_state(self, memory: Memory, captions: int) -> State:
        return (torch.zeros(len(memory[0]), captions, 1),)

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        rows = memory[0][:, None].expand_as(tokens)
        return self.table[rows, state[0][..., 0].long(), tokens], (state[0] + 1,)


@pytest.fixture(params=[False, True], ids=["plain", "fast"], scope="module", autouse=True)
def _path(request: pytest.FixtureRequest) -> Iterator[None]:
    """Decoders choose by this; the captioner itself is the same."""
    Table.accelerated = request.param
    yield
    Table.accelerated = False


def on_path(captioner: Captioner) -> Captioner:
    return accelerate(captioner) if Table.accelerated else captioner


def numbered(images: int) -> Regions:
    return Regions.full(torch.arange(images, dtype=torch.float32).view(-1, 1, 1))


def every_caption(
    table: Tensor, steps: int, words: list[int], normalise: bool = True
) -> list[tuple[float, tuple[int, ...]]]:
    """All captions of at most `steps` words and their log-probabilities, best first, by brute force."""
    log_p = table.double().log_softmax(-1) if normalise else table
    found = []
    for length in range(steps + 1):
        for inner in itertools.product(words, repeat=length):
            caption = inner if length == steps else (*inner, EOS)
            last, total = BOS, 0.0
            for place, word in enumerate(caption):
                total += log_p[place, last, word].item()
                last = word
            found.append((total, caption))
    return sorted(found, reverse=True)


def caption_of(tokens: Tensor) -> tuple[int, ...]:
    return tuple(token for token in tokens.tolist() if token != PAD)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 4), st.booleans())
def test_a_wide_beam_is_exhaustive_search(seed: int, images: int, steps: int, allow_unk: bool) -> None:
    words = [4, 5, *([UNK] if allow_unk else [])]
    captioner = Table(images, steps, 6, seed)
    width = sum(len(words) ** length for length in range(steps + 1))  # as many as there are captions
    found = beam_search(captioner, numbered(images), BeamSearch(width, steps, allow_unk=allow_unk))
    for image in range(images):
        expected = every_caption(captioner.table[image].detach(), steps, words)
        assert len(expected) == width
        for rank, (log_prob, caption) in enumerate(expected):
            assert found.log_probs[image, rank].item() == pytest.approx(log_prob, abs=1e-4)
            if rank and expected[rank - 1][0] - log_prob > 1e-4 and rank + 1 < width:
                close = expected[rank + 1][0] > log_prob - 1e-4
                assert close or caption_of(found.tokens[image, rank]) == caption


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 3), st.integers(1, 3))
def test_without_blocked_words_a_wide_beam_is_exhaustive_search_too(
    seed: int, images: int, steps: int
) -> None:
    """Of 4 to 8, 4 is never written, and 5 and 6 neither: their probability is that of 7."""
    captioner = Table(images, steps, 9, seed)
    table = captioner.table.detach().double().softmax(-1)
    table[..., 7] += table[..., 5] + table[..., 6]
    width = sum(2**length for length in range(steps + 1))
    options = BeamSearch(width, steps, blocked=((4, PAD), (5, 7), (6, 7)))
    found = beam_search(captioner, numbered(images), options)
    for image in range(images):
        expected = every_caption(table[image].log(), steps, [7, 8], normalise=False)
        for rank, (log_prob, caption) in enumerate(expected):
            assert found.log_probs[image, rank].item() == pytest.approx(log_prob, abs=1e-4)
            if rank and expected[rank - 1][0] - log_prob > 1e-4 and rank + 1 < width:
                close = expected[rank + 1][0] > log_prob - 1e-4
                assert close or caption_of(found.tokens[image, rank]) == caption


def test_blocked_words_may_be_all_of_them() -> None:
    captioner = Table(1, 4, 6, seed=1)
    found = beam_search(captioner, numbered(1), BeamSearch(2, 4, blocked=((4, PAD), (5, PAD))))
    assert caption_of(found.tokens[0, 0]) == (EOS,)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6))
def test_beam_log_probs_are_those_of_their_captions(seed: int, width: int) -> None:
    captioner = Table(2, 5, 7, seed)
    found = beam_search(captioner, numbered(2), BeamSearch(width, 5))
    log_p = captioner.table.detach().log_softmax(-1)
    for image in range(2):
        assert found.log_probs[image].tolist() == sorted(found.log_probs[image].tolist(), reverse=True)
        for rank in range(width):
            last, total = BOS, 0.0
            for place, word in enumerate(caption_of(found.tokens[image, rank])):
                assert word not in (PAD, BOS, UNK)
                total += log_p[image, place, last, word].item()
                last = word
            assert found.log_probs[image, rank].item() == pytest.approx(total, abs=1e-4)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10**6))
def test_beam_one_is_greedy(seed: int) -> None:
    captioner = Table(3, 6, 7, seed)
    found = beam_search(captioner, numbered(3), BeamSearch(1, 6))
    for image in range(3):
        last, greedy = BOS, []
        for place in range(6):
            logits = captioner.table[image, place, last].detach().clone()
            logits[[PAD, BOS, UNK]] = -math.inf
            last = int(logits.argmax())
            greedy.append(last)
            if last == EOS:
                break
        assert caption_of(found.tokens[image, 0]) == tuple(greedy)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 5))
def test_an_image_is_captioned_alike_alone_and_in_a_batch(seed: int, width: int) -> None:
    captioner = Table(4, 6, 8, seed)
    together = beam_search(captioner, numbered(4), BeamSearch(width, 6))
    for image in range(4):
        alone = beam_search(captioner, numbered(4)[image : image + 1], BeamSearch(width, 6))
        assert torch.equal(alone.tokens[0], together.tokens[image])


def test_bfloat16_logits_are_summed_in_float32() -> None:
    """Eight bits are too few for the sum of thousands of exponentials."""
    table = Table(2, 4, 3000, 0)
    rounded = Table(2, 4, 3000, 0).to(torch.bfloat16)
    table.table.data = rounded.table.data.float()
    exact, found = (beam_search(one, numbered(2), BeamSearch(3, 4)) for one in (table, rounded))
    assert torch.equal(found.tokens, exact.tokens)
    torch.testing.assert_close(found.log_probs, exact.log_probs)


def test_the_length_penalty_reranks_finished_captions() -> None:
    captioner = Table(1, 4, 6, seed=1)
    plain = beam_search(captioner, numbered(1), BeamSearch(8, 4))
    ranked = beam_search(captioner, numbered(1), BeamSearch(8, 4, length_penalty=1.0))
    score = ranked.log_probs[0] / (ranked.tokens[0] != PAD).sum(-1)
    assert score.tolist() == sorted(score.tolist(), reverse=True)
    assert {caption_of(one) for one in plain.tokens[0]} == {caption_of(one) for one in ranked.tokens[0]}
    assert not torch.equal(plain.tokens, ranked.tokens)


def writes_a_pair_twice(caption: tuple[int, ...]) -> bool:
    """By counting each pair of neighbours."""
    pairs = list(itertools.pairwise(caption))
    return any(pairs.count(pair) > 1 for pair in pairs)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([0.0, 0.7]))
def test_captions_that_repeat_a_pair_of_words_come_last_and_else_in_order(
    seed: int, width: int, penalty: float
) -> None:
    captioner = Table(3, 7, 6, seed)  # few words and long captions: many repeat
    plain = beam_search(captioner, numbered(3), BeamSearch(width, 7, penalty))
    found = beam_search(captioner, numbered(3), BeamSearch(width, 7, penalty, avoid_repeats=True))
    for before, after, log_probs in zip(plain.tokens, found.tokens, found.log_probs, strict=True):
        captions = [caption_of(one) for one in before]
        expected = sorted(captions, key=writes_a_pair_twice)  # sorting is stable
        assert [caption_of(one) for one in after] == expected
        assert log_probs.isfinite().all()


def test_impossible_captions_come_after_those_that_repeat() -> None:
    """A beam may hold fewer captions than it could: what fills it has no words, and repeats none."""
    captioner = Table(1, 3, 6, seed=0)
    with torch.no_grad():
        captioner.table[..., [UNK, 4, EOS]] = -math.inf  # only word 5 is left, and no end
    for avoid in (False, True):
        found = beam_search(captioner, numbered(1), BeamSearch(3, 3, avoid_repeats=avoid))
        assert caption_of(found.tokens[0, 0]) == (5, 5, 5)
        assert found.log_probs[0].isfinite().tolist() == [True, False, False]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 6), st.sampled_from([0.0, 0.3, 0.7, 1.0]))
def test_one_whole_beam_serves_every_length_penalty(seed: int, width: int, penalty: float) -> None:
    """Captions ranked again are those of a search with that penalty; some reach the limit, some end."""
    vocabulary = Vocabulary((*SPECIALS, "a", "b", "c", "d"))
    captioner, ids = Table(3, 5, 8, seed), ["0", "1", "2"]

    class Numbers:
        def regions_of(self, ids: Sequence[str]) -> Regions:
            return Regions.full(torch.tensor([float(one) for one in ids]).view(-1, 1, 1))

    def search(length_penalty: float) -> CaptionSet:
        options = BeamSearch(width, 5, length_penalty)
        return caption_images(captioner, vocabulary, Numbers(), ids, options, n_best=width)

    assert rank_captions(search(0.0), penalty, 5) == search(penalty)


def test_samples_follow_the_model_s_distribution() -> None:
    captioner = Table(1, 2, 6, seed=4, scale=1.0)
    drawn = sample(captioner, numbered(1), 40_000, max_words=2, generator=torch.Generator().manual_seed(0))
    # Pads and begin tokens are never drawn, so the truth is the distribution without them.
    table = captioner.table[0].detach().clone()
    table[..., [PAD, BOS]] = -math.inf
    expected = every_caption(table, 2, [UNK, 4, 5])
    counts: dict[tuple[int, ...], int] = {}
    for caption in map(caption_of, drawn.tokens[0]):
        counts[caption] = counts.get(caption, 0) + 1
    assert set(counts) <= {caption for _, caption in expected}
    for log_prob, caption in expected:
        probability = math.exp(log_prob)
        deviation = math.sqrt(probability * (1 - probability) / 40_000)
        assert abs(counts.get(caption, 0) / 40_000 - probability) < 5 * deviation
    for rank in range(50):
        by_caption = {caption: log_prob for log_prob, caption in expected}
        truth = by_caption[caption_of(drawn.tokens[0, rank])]
        assert drawn.log_probs[0, rank].item() == pytest.approx(truth, abs=1e-4)


def test_the_generator_decides_the_samples() -> None:
    captioner = on_path(build_captioner("updown", preset("updown", "tiny"), 20, 4)).eval()
    regions = Regions.full(torch.rand(2, 3, 4))
    first = sample(captioner, regions, 3, generator=torch.Generator().manual_seed(7))
    second = sample(captioner, regions, 3, generator=torch.Generator().manual_seed(7))
    other = sample(captioner, regions, 3, generator=torch.Generator().manual_seed(8))
    assert torch.equal(first.tokens, second.tokens)
    assert not torch.equal(first.tokens, other.tokens)


def test_impossible_options_are_refused() -> None:
    with pytest.raises(ConfigError, match="`beam_size` must be at least 1 and at most 1000, but is 0"):
        BeamSearch(0)
    with pytest.raises(ConfigError, match="`max_words` must be at least 1 and at most 1000, but is 0"):
        BeamSearch(1, 0)
    with pytest.raises(ConfigError, match="`captions` must be at least 1, but is 0"):
        sample(Table(1, 2, 6, 0), numbered(1), 0)
    with pytest.raises(ConfigError, match="`temperature` must be above 0, but is 0"):
        sample(Table(1, 2, 6, 0), numbered(1), 1, temperature=0)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 6), st.sampled_from([0.0, 0.7]), st.booleans()
)
def test_what_is_kept_is_the_head_of_the_whole_search(
    seed: int, width: int, keep: int, length_penalty: float, avoid_repeats: bool
) -> None:
    keep = min(keep, width)
    captioner = Table(4, 7, 8, seed)
    options = BeamSearch(width, 7, length_penalty, avoid_repeats=avoid_repeats)
    whole = beam_search(captioner, numbered(4), options)
    kept = beam_search(captioner, numbered(4), dataclasses.replace(options, keep=keep))
    assert torch.equal(kept.tokens, whole.tokens[:, :keep])
    torch.testing.assert_close(kept.log_probs, whole.log_probs[:, :keep])


def test_a_search_ends_once_the_kept_captions_are_certain() -> None:
    class Counted(Table):
        steps = 0

        def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
            self.steps += 1
            return super().step(tokens, state, memory)

    captioner = Counted(1, 9, 8, seed=1)
    with torch.no_grad():
        captioner.table[..., EOS] += 8  # to end at once is likely, and the rest never catches up
    beam_search(captioner, numbered(1), BeamSearch(5, 9, keep=1))
    assert captioner.steps < 3
    with pytest.raises(ConfigError, match="`keep` must be 0 to `beam_size` 3, but is 4"):
        BeamSearch(3, keep=4)


def test_captions_that_ended_leave_the_others_as_they_were() -> None:
    """Sampling regroups as captions end; each one's log-probability is that of the whole model."""
    captioner = on_path(build_captioner("aoanet", preset("aoanet", "tiny"), 12, 4)).eval()
    regions = Regions.full(torch.rand(6, 3, 4))
    drawn = sample(captioner, regions, 4, max_words=15, generator=torch.Generator().manual_seed(0))
    lengths = (drawn.tokens != PAD).sum(-1)
    assert lengths.min() < 5
    assert lengths.max() > 10
    inputs = torch.cat([torch.full_like(drawn.tokens[..., :1], BOS), drawn.tokens[..., :-1]], dim=-1)
    with torch.no_grad():
        logits = captioner(regions, inputs)
    logits[..., [PAD, BOS]] = -math.inf
    log_p = logits.log_softmax(-1).gather(-1, drawn.tokens[..., None])[..., 0]
    expected = log_p.masked_fill(drawn.tokens == PAD, 0.0).sum(-1)
    torch.testing.assert_close(drawn.log_probs, expected, atol=1e-4, rtol=1e-5)


class Source:
    """Regions of images by name."""

    def __init__(self, features: Tensor) -> None:
        self.features = features

    def regions_of(self, ids: Sequence[str]) -> Regions:
        return Regions.full(self.features[[int(one.removeprefix("image")) for one in ids]])


def small() -> Captioner:
    return build_captioner("updown", preset("updown", "small"), 60, 8).eval()


IDS = tuple(f"image{number}" for number in range(5))
WORDS = Vocabulary(SPECIALS + tuple(f"word{number}" for number in range(56)))


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_features_that_are_not_finite_are_named(value: float) -> None:
    features = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    features[3, 1, 2] = value
    with pytest.raises(
        DataError, match=r"^The features of image image3 hold NaN or infinity; extract them again"
    ):
        caption_images(small(), WORDS, Source(features), IDS, BeamSearch(3), batch_images=2)
    with pytest.raises(DataError, match=r"^The features of image image3 hold NaN"):
        sample(small(), Regions.full(features), 4, ids=IDS)
    with pytest.raises(DataError, match=r"^The features of image 4 hold NaN"):
        beam_search(small(), Regions.full(features), BeamSearch(1))


@pytest.mark.parametrize("training", [True, False])
def test_dropout_is_off_while_images_are_captioned_and_then_as_it_was(training: bool) -> None:
    modes: list[bool] = []

    class Watching(Source):
        def regions_of(self, ids: Sequence[str]) -> Regions:
            modes.append(captioner.training)
            return super().regions_of(ids)

    captioner = small().train(training)
    caption_images(captioner, WORDS, Watching(torch.ones(5, 3, 8)), IDS, BeamSearch(1, 2))
    assert modes == [False]
    assert captioner.training == training


def test_a_killed_labelling_goes_on_after_its_last_batch(tmp_path: Path) -> None:
    """With the same captions to the last digit, and without captioning anything twice."""

    class Dying(Source):
        asked: list[str] = []  # noqa: RUF012
        left = 2

        def regions_of(self, ids: Sequence[str]) -> Regions:
            if not self.left:
                raise KeyboardInterrupt
            Dying.asked += ids
            self.left -= 1
            return super().regions_of(ids)

    features = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    options, log = BeamSearch(3, 6), tmp_path / "captions.log"
    whole = caption_images(small(), WORDS, Source(features), IDS, options, n_best=2, batch_images=2)
    with pytest.raises(KeyboardInterrupt):
        caption_images(small(), WORDS, Dying(features), IDS, options, n_best=2, batch_images=2, log=log)
    resumed = caption_images(small(), WORDS, Dying(features), IDS, options, n_best=2, batch_images=2, log=log)
    assert resumed == whole
    assert list(resumed) == list(whole)
    assert Dying.asked == list(IDS)
    with pytest.raises(DataError, match="batch_images"):
        caption_images(small(), WORDS, Source(features), IDS, options, batch_images=3, log=log)


def test_logs_of_a_labelling_are_kept_until_they_are_forgotten_even_those_of_more_processes(
    tmp_path: Path,
) -> None:
    (tmp_path / "captions-2-of-2.log").touch()
    source = Source(torch.randn(5, 3, 8))
    made = caption_together(ALONE, small(), WORDS, source, IDS, BeamSearch(1, 3), log=tmp_path)
    source.features.zero_()
    assert caption_together(ALONE, small(), WORDS, source, IDS, BeamSearch(1, 3), log=tmp_path) == made
    forget_logs(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_labelling_goes_on_with_no_captions_of_other_weights(tmp_path: Path) -> None:
    """Such as those of a run that was deleted while it was half labelled, and trained anew."""
    source = Source(torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0)))
    before, now = small(), small()
    with torch.no_grad():
        for weight in now.parameters():
            weight.neg_()
    old = caption_together(ALONE, before, WORDS, source, IDS, BeamSearch(1, 3), log=tmp_path)
    whole = caption_together(ALONE, now, WORDS, source, IDS, BeamSearch(1, 3))
    assert old != whole
    assert caption_together(ALONE, now, WORDS, source, IDS, BeamSearch(1, 3), log=tmp_path) == whole


@pytest.mark.parametrize("width", [1, 3])
def test_weights_that_are_not_finite_are_named(width: int) -> None:
    """Each weight in turn, one number of it: no caption comes of it, whichever it is."""
    features = torch.randn(5, 3, 8, generator=torch.Generator().manual_seed(0))
    names = [name for name, _ in small().named_parameters()]
    for name in names:
        captioner = small()
        weight = captioner.get_parameter(name)
        with torch.no_grad():
            weight.view(-1)[-1] = math.nan
            if weight.ndim == 2 and len(weight) == 60:  # a row of a word that need not be read
                weight.view(-1)[2 * weight.shape[1]] = math.nan
        with pytest.raises(DataError, match=rf"weight `{name}` holds NaN or infinity"):
            beam_search(captioner, Regions.full(features), BeamSearch(width))


def test_logits_that_are_not_finite_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    table = Table(3, 6, 7, seed=0)
    step = table.step

    def spoiled(tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        logits, state = step(tokens, state, memory)
        return torch.where((memory[0] == 1)[:, None, None], math.nan, logits), state

    monkeypatch.setattr(table, "step", spoiled)
    with pytest.raises(DataError, match=r"^The captioner gives NaN or infinity for image b\.$"):
        beam_search(table, numbered(3), BeamSearch(3, 5), ["a", "b", "c"])
    with pytest.raises(DataError, match=r"^The captioner gives NaN or infinity for image 2\.$"):
        sample(table, numbered(3), 3, 5, allow_unk=False)
