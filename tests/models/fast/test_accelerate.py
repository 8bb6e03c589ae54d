"""Fast captioners as a whole: the same parameters, captions and samples as plain ones; and who gets which."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_captioners import learn, small_captioner, small_options
from torch import Tensor

from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.decode.sample import sample_memory
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import accelerate, plain
from distilcap.models.weights import TrainedCaptioner, load_captioner, save_captioner
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, PAD, SPECIALS, Vocabulary

WORDS, DIM, IMAGES, LENGTH = 900, 6, 8, 9  # so many words that the fast forms look at them in groups
WANTED = {"hidden": 16, "embedding": 12, "attention": 8, "heads": 4, "refiner_layers": 2, "dropout": 0.1}
WANTED |= {"output_states": "both"}
FAST = [name for name, family in families().items() if family.fast]
FAMILIES = pytest.mark.parametrize("family", FAST)


def regions() -> Regions:
    generator = torch.Generator().manual_seed(1)
    mask = torch.arange(5) < torch.tensor([5, 3, 4, 5, 2, 5, 5, 1])[:, None]
    return Regions(torch.randn(IMAGES, 5, DIM, generator=generator).double(), mask)


def untrained(family: str) -> Captioner:
    return small_captioner(family, WORDS, DIM, 1, **WANTED).double().train()


@pytest.fixture(scope="module", params=FAST)
def trained(request: pytest.FixtureRequest) -> Captioner:
    """A plain captioner that has learnt some captions of each image, of different lengths."""
    return learn(untrained(request.param), regions(), LENGTH)


@pytest.mark.parametrize(
    "search", [BeamSearch(1), BeamSearch(3), BeamSearch(5, keep=2), BeamSearch(4, 7, 0.7)]
)
def test_captions_are_those_of_plain_search(trained: Captioner, search: BeamSearch) -> None:
    found, expected = (beam_search(each, regions(), search) for each in (accelerate(trained), trained))
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.log_probs, expected.log_probs)
    lengths = (expected.tokens != PAD).sum(dim=-1)
    assert lengths.min() < lengths.max()  # captions end, so that images leave the batch


def numbers(seed: int, captions: int) -> Callable[[Tensor], Tensor]:
    """The same random number for a caption at a word, whichever captions are asked for together."""
    table = torch.rand(30, IMAGES * captions, generator=torch.Generator().manual_seed(seed))
    steps = iter(table)
    return lambda rows: next(steps)[rows]


@pytest.mark.parametrize(("temperature", "allow_unk"), [(1.0, True), (0.7, False)])
@torch.no_grad()
def test_the_same_numbers_draw_the_same_samples(
    trained: Captioner, temperature: float, allow_unk: bool
) -> None:
    found, expected = (
        sample_memory(
            each, each.encode(regions()), 6, 12, temperature, allow_unk, uniform=numbers(seed=5, captions=6)
        )
        for each in (accelerate(trained), trained)
    )
    assert torch.equal(found.tokens, expected.tokens)
    torch.testing.assert_close(found.log_probs, expected.log_probs)
    assert len(expected.tokens.flatten(0, 1).unique(dim=0)) > IMAGES


@pytest.mark.parametrize("number", [0.0, 1 - 2**-24])
@pytest.mark.parametrize("path", [plain, accelerate])
@torch.no_grad()
def test_the_smallest_and_the_largest_number_draw_words_that_may_be_drawn(
    trained: Captioner, number: float, path: Callable[[Captioner], Captioner]
) -> None:
    captioner = path(trained)
    drawn = sample_memory(
        captioner, captioner.encode(regions()), 2, 3, uniform=lambda rows: torch.full(rows.shape, number)
    )
    assert (drawn.tokens[..., 0] != PAD).all()
    assert (drawn.tokens != BOS).all()
    assert drawn.log_probs.isfinite().all()


@FAMILIES
def test_both_have_the_same_parameters_under_the_same_names(family: str) -> None:
    captioner = untrained(family)
    fast = accelerate(captioner)
    again = plain(fast)
    assert (type(captioner).accelerated, type(fast).accelerated) == (False, True)
    assert type(again) is type(captioner)
    assert [type(module) for module in again.modules()] == [type(module) for module in captioner.modules()]
    for other in (fast, again):
        named = dict(other.named_parameters())
        assert list(other.state_dict()) == list(captioner.state_dict())
        assert all(named[name] is parameter for name, parameter in captioner.named_parameters())
    assert accelerate(fast) is fast
    assert plain(captioner) is captioner
    average = copy.deepcopy(fast)
    assert type(average) is type(fast)
    assert not any(one is other for one in average.parameters() for other in fast.parameters())


@FAMILIES
def test_the_mode_is_kept_and_then_each_one_s_own(family: str) -> None:
    captioner = untrained(family).eval()
    fast = accelerate(captioner)
    assert not any(module.training for module in fast.modules())
    assert all(module.training for module in fast.train().modules())
    assert not any(module.training for module in captioner.modules())


def test_a_family_without_fast_modules_is_left_as_it_is() -> None:
    class Own(type(untrained("updown"))):  # type: ignore[misc]
        pass

    captioner = Own(WORDS, DIM, small_options("updown", **WANTED))
    assert accelerate(captioner) is captioner
    assert plain(captioner) is captioner


@pytest.mark.parametrize(("asked", "accelerated"), [(None, True), ("0", True), ("", True), ("1", False)])
def test_loaded_captioners_are_fast_unless_plain_code_is_asked_for(
    asked: str | None, accelerated: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    captioner = untrained("updown").float()
    words = Vocabulary((*SPECIALS, *(f"w{number}" for number in range(WORDS - len(SPECIALS)))))
    options = small_options("updown", **WANTED)
    save_captioner(tmp_path / "plain", TrainedCaptioner(captioner, "updown", options, words, {}))
    save_captioner(tmp_path / "fast", TrainedCaptioner(accelerate(captioner), "updown", options, words, {}))
    files = [(tmp_path / name / "captioner.safetensors").read_bytes() for name in ("plain", "fast")]
    assert files[0] == files[1]
    monkeypatch.delenv("DISTILCAP_PLAIN", raising=False)
    if asked is not None:
        monkeypatch.setenv("DISTILCAP_PLAIN", asked)
    assert load_captioner(tmp_path / "plain").captioner.accelerated == accelerated
