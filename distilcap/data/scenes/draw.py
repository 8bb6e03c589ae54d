"""Write the drawn data set into a folder, in Karpathy's layout, described in one of the languages."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import SPLITS, Dataset, ImageRecord
from distilcap.data.readers import read_dataset
from distilcap.data.scenes import chinese, german, grammar
from distilcap.data.scenes.compose import Scene, compose
from distilcap.data.scenes.paint import paint
from distilcap.data.scenes.stickers import find_stickers
from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json, write_json
from distilcap.progress import SILENT, Progress
from distilcap.text.tokenizers import tokenizer_of

__all__ = ["LANGUAGES", "VERSION", "draw_scenes"]

VERSION = 1  # of the world: raised when the same seed gives other pictures or captions
_FILE = "dataset_scenes.json"


@dataclass(frozen=True)
class Language:
    """How scenes are described.

    Attributes:
        describe: writes the captions of a scene, without a full stop.
        words: of such a caption.
        ends: what people put at its end.
    """

    describe: Callable[[Scene, random.Random], list[str]]
    words: Callable[[str], list[str]]
    ends: tuple[str, ...] = (" .", ".", "", "")


LANGUAGES: Final = {
    "en": Language(grammar.describe, str.split),
    "de": Language(german.describe, tokenizer_of("unicode").words),
    "zh": Language(chinese.describe, tokenizer_of("characters").words, ("。", "。", "", "")),
}


def draw_scenes(
    folder: Path,
    images: Sequence[int] = (1200, 200, 300),
    seed: int = 1,
    size: int = 160,
    language: str = "en",
    progress: Progress = SILENT,
) -> Dataset:
    """Draw images with five captions each into `folder`: `images/*.jpg` and `dataset_scenes.json`.

    Every image depends on seed, split and number alone, so a larger training split leaves the others as
    they are. The JSON file is written last: a folder that has it is whole, and a call with the same
    parameters returns at once; a call after an interrupt draws everything again.

    Args:
        folder: made if it is not there.
        images: how many for train, val and test.
        seed: another seed, other images.
        size: side of the square images in pixels, 32 or more.
        language: of the captions, of `LANGUAGES`; the images are the same.
        progress: reports every image.

    Raises:
        ConfigError: an argument cannot work.
        DataError: the folder holds scenes of other parameters.
        MissingError: the package with the stickers is not installed.
    """
    if len(images) != len(SPLITS) or min(images) < 0 or sum(images) == 0:
        given = ", ".join(str(count) for count in images)
        raise ConfigError(f"`images` must be three counts, for train, val and test, but is {given}.")
    if not 32 <= size <= 2048:
        raise ConfigError(f"`size` must be 32 to 2048 pixels, but is {size}.")
    if language not in LANGUAGES:
        raise ConfigError(f"`language` must be one of {', '.join(LANGUAGES)}, but is {language!r}.")
    recipe = {"version": VERSION, "images": list(images), "seed": seed, "size": size}
    recipe |= {"language": language} if language != "en" else {}
    if (folder / _FILE).exists():
        return _drawn_before(folder, recipe)
    stickers = find_stickers()
    (folder / "images").mkdir(parents=True, exist_ok=True)
    plan = [(split, index) for split, count in zip(SPLITS, images, strict=True) for index in range(count)]
    entries: list[dict[str, Any]] = []
    for split, index in progress.track(plan, "Drawing scenes", len(plan)):
        name = f"{split}_{index:05d}.jpg"
        rng = random.Random(f"scenes {seed} {split} {index}")
        scene = compose(rng)
        captions = grammar.describe(scene, rng)  # in any case, so that the pictures are the same
        if language != "en":
            own = random.Random(f"scenes {seed} {split} {index} {language}")
            captions = LANGUAGES[language].describe(scene, own)
        # The captions' draw must not depend on the picture's size.
        picture = paint(scene, size, stickers, random.Random(rng.getrandbits(64)))
        picture.save(folder / "images" / name, quality=90)
        entries.append(_entry(len(entries), name, split, captions, LANGUAGES[language], rng))
    content = {
        "dataset": "scenes",
        "recipe": recipe,
        "credit": "Stickers: Twemoji by Twitter, Inc and other contributors, CC-BY 4.0.",
        "images": entries,
    }
    write_json(folder / _FILE, content)
    return _dataset(folder, entries)


def _entry(
    number: int, name: str, split: str, captions: Sequence[str], language: Language, rng: random.Random
) -> dict[str, Any]:
    sentences = []
    for index, caption in enumerate(captions):
        raw = caption[0].upper() + caption[1:] if rng.random() < 0.7 else caption
        raw += rng.choice(language.ends)
        sentences.append(
            {
                "tokens": language.words(caption),
                "raw": raw,
                "imgid": number,
                "sentid": number * len(captions) + index,
            }
        )
    sentids = [sentence["sentid"] for sentence in sentences]
    return {"filename": name, "imgid": number, "split": split, "sentids": sentids, "sentences": sentences}


def _drawn_before(folder: Path, recipe: dict[str, Any]) -> Dataset:
    content = read_json(folder / _FILE)
    existing = content.get("recipe") if isinstance(content, dict) else None
    if existing != recipe:
        raise DataError(
            f"{folder / _FILE}: holds scenes of other parameters ({existing}, not {recipe}). "
            "Name another folder, or remove this folder."
        )
    return read_dataset(folder / _FILE, folder / "images")


def _dataset(folder: Path, entries: Sequence[dict[str, Any]]) -> Dataset:
    records = []
    texts: dict[str, list[str]] = {}
    for entry in entries:
        path = folder / "images" / entry["filename"]
        records.append(ImageRecord(path.stem, path, entry["split"]))
        texts[path.stem] = [sentence["raw"] for sentence in entry["sentences"]]
    return Dataset("scenes", tuple(records), CaptionSet.of_texts(texts))
