"""What every registered family must keep to, on weights that were trained for a few steps."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch
from small_captioners import learn, small_captioner, small_options, some_captions
from torch import Tensor

from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner
from distilcap.models.families import Family, families, family_of, register, title_of
from distilcap.models.fast import accelerate, plain
from distilcap.models.presets import captioner_name, options_of, preset, size_of
from distilcap.models.updown import UpDown, UpDownOptions
from distilcap.shapes import Regions
from distilcap.teachers.ensemble import Ensemble
from distilcap.text.vocabulary import BOS, PAD

WORDS, DIM, IMAGES, LENGTH = 40, 6, 4, 9  # longer than a small Transformer's window
PATHS = pytest.mark.parametrize("path", [plain, accelerate])
Choice = Callable[[Captioner], Captioner]


def regions() -> Regions:
    mask = torch.arange(5) < torch.tensor([5, 3, 1, 5])[:, None]
    features = torch.randn(IMAGES, 5, DIM, generator=torch.Generator().manual_seed(1))
    return Regions(features.double(), mask)


@pytest.fixture(scope="module", params=families())
def trained(request: pytest.FixtureRequest) -> Captioner:
    """A plain captioner."""
    return learn(small_captioner(request.param, WORDS, DIM, 1).double(), regions(), LENGTH)


def tokens() -> Tensor:
    return some_captions(WORDS, IMAGES, 3, LENGTH)[0]


@PATHS
@torch.no_grad()
def test_a_whole_caption_s_log_probabilities_are_those_of_its_steps(trained: Captioner, path: Choice) -> None:
    captioner = path(trained)
    inputs, targets = some_captions(WORDS, IMAGES, 3, LENGTH)
    memory = captioner.encode(regions())
    stepped = Captioner.predict(captioner, memory, inputs).log_softmax(dim=-1)
    torch.testing.assert_close(captioner(regions(), inputs).log_softmax(dim=-1), stepped)
    expected = -stepped.gather(3, targets[..., None])[..., 0].masked_fill(targets == PAD, 0.0)
    torch.testing.assert_close(captioner.negative_log_likelihood(memory, inputs, targets), expected)


@PATHS
@torch.no_grad()
def test_later_words_never_change_earlier_logits(trained: Captioner, path: Choice) -> None:
    captioner = path(trained)
    before = captioner(regions(), tokens())
    for place in range(1, LENGTH):
        changed = tokens()
        changed[..., place] = (changed[..., place] + 1) % WORDS
        after = captioner(regions(), changed)
        torch.testing.assert_close(after[:, :, :place], before[:, :, :place])
        assert not torch.allclose(after[:, :, place], before[:, :, place])


@PATHS
@torch.no_grad()
def test_neither_padded_regions_nor_other_images_matter(trained: Captioner, path: Choice) -> None:
    captioner, seen = path(trained), regions()
    wider = Regions(
        torch.cat([seen.features.masked_fill(~seen.mask[..., None], 1e3), 1e3 + seen.features[:, :2]], dim=1),
        torch.cat([seen.mask, torch.zeros(IMAGES, 2, dtype=torch.bool)], dim=1),
    )
    expected = captioner(seen, tokens())
    torch.testing.assert_close(captioner(wider, tokens()), expected)
    for image in range(IMAGES):
        alone = Regions(seen.features[image : image + 1], seen.mask[image : image + 1])
        torch.testing.assert_close(captioner(alone, tokens()[image : image + 1])[0], expected[image])


@PATHS
@torch.no_grad()
def test_captions_of_an_image_do_not_read_one_another(trained: Captioner, path: Choice) -> None:
    captioner, inputs = path(trained), tokens()
    together = captioner(regions(), inputs)
    for caption in range(3):
        torch.testing.assert_close(
            captioner(regions(), inputs[:, caption : caption + 1])[:, 0], together[:, caption]
        )


@pytest.mark.parametrize("other", families())
def test_families_form_ensembles(trained: Captioner, other: str) -> None:
    """Whatever shapes their states have: two of one captioner say what it says, another changes that."""
    first = copy.deepcopy(trained).float()
    seen = Regions(regions().features.float(), regions().mask)
    second = learn(small_captioner(other, WORDS, DIM, 2), seen, LENGTH, steps=10)
    search = BeamSearch(3, LENGTH, allow_unk=True)
    alone = beam_search(first, seen, search)
    for path in (plain, accelerate):
        twice = beam_search(Ensemble([path(first), path(first)]).eval(), seen, search)
        assert torch.equal(twice.tokens, alone.tokens)
        mixed = Ensemble([path(first), path(second)]).eval()
        found = beam_search(mixed, seen, search)
        inputs = torch.cat([torch.full((IMAGES, 3, 1), BOS), found.tokens[..., :-1]], dim=2)
        with torch.no_grad():
            likely = mixed(seen, inputs).log_softmax(dim=-1).gather(3, found.tokens[..., None])[..., 0]
        likely = likely.masked_fill(found.tokens == PAD, 0.0).sum(dim=2)
        torch.testing.assert_close(likely, found.log_probs, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", families())
def test_a_family_s_sizes_are_of_its_options(name: str) -> None:
    family = family_of(name)
    assert title_of(name) == family.title
    for size, options in family.sizes.items():
        assert type(options) is family.options
        assert preset(*captioner_name(f"{name}-{size}")) == options
        assert size_of(options) == size
        assert options_of(name, vars(options)) == options
    assert size_of(small_options(name, hidden=38)) == "38 wide"


@dataclass(frozen=True)
class OtherOptions:
    hidden: int = 8


def test_names_are_taken_once() -> None:
    sizes = {"small": UpDownOptions()}
    for name, message in {"updown": "updown .UpDownOptions. has that name", "other": "UpDownOptions"}.items():
        with pytest.raises(ConfigError, match=message):
            register(Family(name, "Other", UpDownOptions, sizes, UpDown))
    with pytest.raises(ConfigError, match="needs a name of letters and digits, and one size at least"):
        register(Family("a-b", "Other", OtherOptions, {}, UpDown))
    assert "other" not in families()
    assert title_of("nobody") == "nobody"
