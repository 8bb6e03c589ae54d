"""Where a training begins: at the captioner in the box, at a run, or at random weights."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from distilcap.box import NAME as BOX
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import parse_json
from distilcap.runtime.manifest import MANIFEST
from distilcap.stages.captioner import CONFIG, CaptionerStage, ImportCaptioner, box_folder
from distilcap.stages.data import ImportData
from distilcap.stages.features import EncoderOptions, ExtractFeatures
from distilcap.stages.folders import run_of
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.record import RECORD
from distilcap.store.store import Store

if TYPE_CHECKING:
    from distilcap.models.families import CaptionerOptions

__all__ = ["NOTHING", "START_HELP", "USUAL_CAPTIONER", "Beginning", "beginning"]

NOTHING = "none"
USUAL_CAPTIONER = "updown-small"
START_HELP = (
    "What to begin from: the folder of a run, whose captioner and encoder are taken; box, the captioner that "
    "comes with the package; or none, random weights."
)


@dataclass(frozen=True)
class Beginning:
    """What a captioner is before it learns.

    Attributes:
        family, size, options: of the captioner.
        vocabulary: that it learns.
        features: that it reads.
        start: whose weights it has; None is random weights.
        name: of the start, for people; "" is random weights.
    """

    family: str
    size: str
    options: CaptionerOptions
    vocabulary: BuildVocabulary
    features: ExtractFeatures
    start: CaptionerStage | None = None
    name: str = ""


def beginning(
    start: Path | None,
    captioner: str,
    vocabulary: BuildVocabulary,
    encoder: EncoderOptions,
    images: ImportData,
    store: Path | None,
    device: str,
) -> Beginning:
    """What a captioner begins from.

    Args:
        start: a run's folder, "box", or "none".
        captioner: that is begun at random weights, such as "updown-small"; "" is that of the start.
        vocabulary: of the data alone; the words of a start from outside the store stay beside them.
        images: the data whose images are seen.
        store: see `EncoderOptions.stage`.

    Raises:
        ConfigError: the start is another captioner, or sees through another encoder, than was asked for.
        MissingError: there is no box.
        DataError: the folder holds no trained captioner.
    """
    from distilcap.models.presets import captioner_name, preset, size_of

    if start is None or str(start) == NOTHING:
        family, size = captioner_name(captioner)
        features = encoder.stage(images, store, device)
        return Beginning(family, size, preset(family, size), vocabulary, features)
    folder, name = _folder(start)
    if captioner:
        _check_captioner(folder, name, captioner)
    if (folder / RECORD).is_file() and store is not None and _lies_in(folder, store):
        run, features = run_of(folder), encoder.stage(images, store, device)
        if (run.vocabulary, run.seen) == (vocabulary, features):
            size = size_of(run.options)
            return Beginning(run.architecture, size, run.options, vocabulary, features, run, name)
    captioning = ImportCaptioner.of(folder, name, encoder.ways(device)[0][0])
    features = captioning.seen_in(images)
    if store is not None:
        here, elsewhere = (
            {one.seen_in(images): one for one in _run_by(captioning, ways)}
            for ways in (encoder.ways(device), encoder.of_elsewhere())
        )
        features = Store(store).furthest(list(here), list(elsewhere))
        captioning = (elsewhere | here)[features]
    _check_encoder(encoder, features, name)
    if captioning.tokenizer != vocabulary.tokenizer:
        raise ConfigError(
            f"`start` {name} splits captions by the tokenizer {captioning.tokenizer}, but `tokenizer` is "
            f"{vocabulary.tokenizer}; give `--tokenizer {captioning.tokenizer}` or `--start {NOTHING}`."
        )
    size = name if name == BOX else size_of(captioning.options)
    together = dataclasses.replace(vocabulary, start=captioning)
    return Beginning(captioning.architecture, size, captioning.options, together, features, captioning, name)


def _run_by(captioning: ImportCaptioner, ways: list[tuple[str, str]]) -> list[ImportCaptioner]:
    """The captioner with each engine of these ways to see; its decoding is its own."""
    return [dataclasses.replace(captioning, engine=engine) for engine, _ in ways]


def _folder(start: Path) -> tuple[Path, str]:
    """The folder of what is begun from, and its name for people.

    Raises:
        DataError: no run lies there.
        MissingError: there is no box.
    """
    if str(start) != BOX:
        _check_folder(start)
        return start, start.name
    folder = box_folder()
    if folder is None:
        raise MissingError(
            "This installation has no captioner in the box to begin from; give a run's folder, or "
            f"`--start {NOTHING}`."
        )
    return folder, BOX


def _check_folder(start: Path) -> None:
    ways = (
        f"`--start` takes `{BOX}`, `{NOTHING}`, or the folder of a run in a store, such as runs/train-0f3a…, "
        "which `distill` and `train` print"
    )
    if not start.is_dir():
        raise DataError(f"{start}: there is no such folder; {ways}.")
    if any((start / name).is_file() for name in (RECORD, CONFIG)):
        return
    if any((folder / MANIFEST).is_file() for folder in (start, start / "bundle")):
        raise DataError(f"{start}: holds a bundle, which cannot be trained further; {ways}.")
    raise DataError(f"{start}: there is no trained captioner in it; {ways}.")


def _lies_in(folder: Path, store: Path) -> bool:
    return Store(store).root.resolve() == folder.resolve().parent


def _check_captioner(folder: Path, name: str, captioner: str) -> None:
    from distilcap.models.presets import captioner_name, preset

    family, size = captioner_name(captioner)
    there = ImportCaptioner.of(folder, name)
    if (there.architecture, there.options) != (family, preset(family, size)):
        raise ConfigError(
            f"`start` {name} is {there.architecture}, {there.options}, and not {captioner}; leave the "
            f"captioner's name out, or give `--start {NOTHING}`."
        )


def _check_encoder(encoder: EncoderOptions, features: ExtractFeatures, name: str) -> None:
    """A start brings its encoder; one that was asked for by name must be that.

    Raises:
        ConfigError: it is another.
    """
    recipe, usual = parse_json(features.recipe_json, name), EncoderOptions()
    given = {
        "encoder": (encoder.encoder, usual.encoder, recipe["encoder"]),
        "image_size": (encoder.image_size, None, recipe["preprocessing"]["size"]),
        "encoder_form": (encoder.encoder_form, usual.encoder_form, recipe["form"]),
        "encoder_weights": (encoder.encoder_weights, None, features.weights and Path(features.weights)),
    }
    for option, (value, default, own) in given.items():
        if value not in (default, own):
            raise ConfigError(
                f"`start` {name} brings its own encoder, with {option} {own}, but `{option}` is {value}; "
                "leave it out."
            )
