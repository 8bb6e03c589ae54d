from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from distilcap.errors import ConfigError, DataError
from distilcap.integrity import read_sealed_json, write_sealed_json
from distilcap.models.captioner import Captioner, take_captions
from distilcap.models.families import families, family_of
from distilcap.models.fast import accelerate, plain
from distilcap.models.presets import build_captioner, options_of, preset
from distilcap.models.weights import TrainedCaptioner, load_captioner, save_captioner
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, SPECIALS, Vocabulary

PATHS = [plain, accelerate]
Choice = Callable[[Captioner], Captioner]
VOCABULARY = Vocabulary((*SPECIALS, "a", "dog", "runs", "cat", "red"))


def tiny(architecture: str, **changes: object) -> Captioner:
    options = dataclasses.replace(preset(architecture, "tiny"), **changes)
    return build_captioner(architecture, options, len(VOCABULARY), region_dim=12, seed=3).eval()


def some_regions(images: int = 3) -> Regions:
    generator = torch.Generator().manual_seed(1)
    features = torch.randn(images, 6, 12, generator=generator)
    mask = torch.ones(images, 6, dtype=torch.bool)
    mask[0, 4:] = False
    return Regions(features, mask)


@pytest.mark.parametrize("architecture", families())
@pytest.mark.parametrize("tie_words", [False, True])
@pytest.mark.parametrize("path", PATHS)
def test_a_whole_caption_equals_its_steps(architecture: str, tie_words: bool, path: Choice) -> None:
    captioner = path(tiny(architecture, tie_words=tie_words))
    tokens = torch.randint(4, len(VOCABULARY), (3, 2, 5), generator=torch.Generator().manual_seed(2))
    tokens[..., 0] = BOS
    with torch.no_grad():
        memory = captioner.encode(some_regions())
        state = captioner.initial_state(memory, 2)
        steps = []
        for place in range(5):
            logits, state = captioner.step(tokens[..., place], state, memory)
            steps.append(logits)
        together = captioner(some_regions(), tokens)
    torch.testing.assert_close(together, torch.stack(steps, dim=2), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("architecture", families())
@pytest.mark.parametrize("path", PATHS)
def test_what_a_masked_region_holds_does_not_matter(architecture: str, path: Choice) -> None:
    captioner = path(tiny(architecture))
    tokens = torch.full((3, 1, 2), BOS)
    regions = some_regions()
    features = regions.features.clone()
    features[0, 4:] = 1e3
    with torch.no_grad():
        expected, changed = captioner(regions, tokens), captioner(Regions(features, regions.mask), tokens)
    torch.testing.assert_close(changed, expected)


def test_take_captions_reorders_within_an_image() -> None:
    state = (torch.arange(12.0).view(2, 3, 2),)
    (taken,) = take_captions(state, torch.tensor([[2, 0], [1, 1]]))
    assert taken.tolist() == [[[4, 5], [0, 1]], [[8, 9], [8, 9]]]


@pytest.mark.parametrize(
    ("architecture", "millions"),
    [
        ("updown", (48.1, 17.4, 6.8, 2.9, 4.36)),
        ("aoanet", (83.5, 25.8, 8.9, 3.45, 4.10)),
        ("transformer", (64.3, 25.5, 8.8, 3.17, 4.07)),
    ],
)
def test_presets_have_the_documented_sizes(architecture: str, millions: tuple[float, ...]) -> None:
    family = family_of(architecture)
    for size, expected in zip(("big", "medium", "small", "tiny", "pocket"), millions, strict=True):
        with torch.device("meta"):
            captioner = family.build(9488, 64, family.sizes[size])
        assert captioner.parameter_count() / 1e6 == pytest.approx(expected, abs=0.05)


def test_the_seed_decides_the_weights_and_leaves_the_global_state_alone() -> None:
    torch.manual_seed(0)
    before = torch.get_rng_state()
    first, second = tiny("updown"), tiny("updown")
    assert torch.equal(torch.get_rng_state(), before)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def trained(architecture: str, tie_words: bool = False) -> TrainedCaptioner:
    captioner = tiny(architecture, tie_words=tie_words)
    return TrainedCaptioner(
        captioner,
        architecture,
        captioner.options,
        VOCABULARY,
        {"encoder": "x"},  # type: ignore[attr-defined]
    )


@pytest.mark.parametrize("architecture", families())
@pytest.mark.parametrize("tie_words", [False, True])
def test_saved_captioners_come_back_equal(tmp_path: Path, architecture: str, tie_words: bool) -> None:
    original = trained(architecture, tie_words)
    save_captioner(tmp_path, original)
    again = load_captioner(tmp_path)
    tokens = torch.full((3, 1, 2), BOS)
    with torch.no_grad():
        assert torch.equal(
            again.captioner(some_regions(), tokens), accelerate(original.captioner)(some_regions(), tokens)
        )
    assert again.vocabulary == VOCABULARY
    assert again.features == {"encoder": "x"}


def test_the_tokenizer_is_kept_and_older_captioners_have_ptb(tmp_path: Path) -> None:
    captioner = tiny("updown")
    vocabulary = Vocabulary((*SPECIALS, "一", "只", "狗", "猫", "a"), "characters", spaced=False)
    save_captioner(tmp_path, TrainedCaptioner(captioner, "updown", preset("updown", "tiny"), vocabulary, {}))
    assert load_captioner(tmp_path).vocabulary == vocabulary
    config = read_sealed_json(tmp_path / "captioner.json", "")
    for name, wrong in (("tokenizer", 1), ("spaced", "no")):
        write_sealed_json(tmp_path / "captioner.json", config | {name: wrong})
        with pytest.raises(DataError, match=r"not a captioner's configuration .*`tokenizer` must be text"):
            load_captioner(tmp_path)
    del config["tokenizer"], config["spaced"]
    write_sealed_json(tmp_path / "captioner.json", config)
    assert load_captioner(tmp_path).vocabulary == Vocabulary(vocabulary.words, "ptb")


def test_damaged_weights_are_named(tmp_path: Path) -> None:
    save_captioner(tmp_path, trained("updown"))
    path = tmp_path / "captioner.safetensors"
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"captioner.safetensors: damaged"):
        load_captioner(tmp_path)
    path.unlink()
    with pytest.raises(DataError, match="there is no such file; train again or copy it anew"):
        load_captioner(tmp_path)
    (tmp_path / "captioner.json").write_text("{}")
    with pytest.raises(DataError, match="not a captioner's configuration"):
        load_captioner(tmp_path)


@pytest.mark.parametrize(
    "fields",
    [
        {"region_dim": 10**9},
        {"region_dim": -1},
        {"region_dim": "x"},
        {"options": {"hidden": 10**9}},
        {"options": {"dropout": 1e9}},
        {"options": {"hidden": None}},
        {"options": []},
        {"words": [1]},
    ],
)
def test_sizes_that_cannot_be_are_refused_before_they_are_allocated(
    tmp_path: Path, fields: dict[str, object]
) -> None:
    save_captioner(tmp_path, trained("updown"))
    config = read_sealed_json(tmp_path / "captioner.json", "")
    write_sealed_json(tmp_path / "captioner.json", config | fields)
    with pytest.raises(DataError, match=r"not a captioner's configuration|is not of the shape that"):
        load_captioner(tmp_path)


@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("value", [10**9, 0, -1, 7, 2.5, "x", None, []])
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_no_option_of_a_family_makes_loading_hang_or_crash(
    tmp_path: Path, family: str, value: object
) -> None:
    """Odd values of its numbers are refused, or harmless."""
    save_captioner(tmp_path, trained(family))
    config = read_sealed_json(tmp_path / "captioner.json", "")
    numbers = [name for name, own in config["options"].items() if type(own) in (int, float)]
    for name in numbers:
        write_sealed_json(
            tmp_path / "captioner.json", config | {"options": config["options"] | {name: value}}
        )
        with contextlib.suppress(DataError):
            load_captioner(tmp_path)


@pytest.mark.parametrize(
    "family, name, value, said",
    [
        ("aoanet", "heads", 0, "`heads` must be at least 1 and at most 4096, but is 0"),
        ("aoanet", "heads", 3, r"`hidden` must be a multiple of `heads` \(3\), but is "),
        ("aoanet", "refiner_layers", 20_000, "`refiner_layers` must be at least 0 and at most 256"),
        ("updown", "attention", 0, "`attention` must be at least 1"),
        ("updown", "output_states", "x", "`output_states` must be one of language, both, but is 'x'"),
    ],
)
def test_options_are_held_against_their_bounds(
    tmp_path: Path, family: str, name: str, value: object, said: str
) -> None:
    save_captioner(tmp_path, trained(family))
    config = read_sealed_json(tmp_path / "captioner.json", "")
    write_sealed_json(tmp_path / "captioner.json", config | {"options": config["options"] | {name: value}})
    with pytest.raises(DataError, match=f"captioner.json: not a captioner's configuration .{said}"):
        load_captioner(tmp_path)


def test_weights_of_another_architecture_are_refused(tmp_path: Path) -> None:
    save_captioner(tmp_path, trained("aoanet"))
    weights = (tmp_path / "captioner.safetensors").read_bytes()
    save_captioner(tmp_path, trained("updown"))
    (tmp_path / "captioner.safetensors").write_bytes(weights)
    with pytest.raises(DataError, match="tensors are not those of updown"):
        load_captioner(tmp_path)


def test_unknown_names_are_listed() -> None:
    with pytest.raises(ConfigError, match=r"`architecture` must be one of aoanet, .*updown, but is 'lstm'"):
        preset("lstm", "small")
    with pytest.raises(
        ConfigError, match="`size` must be one of big, medium, small, tiny, pocket, but is 'huge'"
    ):
        preset("updown", "huge")
    with pytest.raises(ConfigError, match="updown has no option heads"):
        options_of("updown", {"heads": 8})
