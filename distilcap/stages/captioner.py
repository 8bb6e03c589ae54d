"""Captioners as stages: what captions need of them, and those that were trained outside the store."""

from __future__ import annotations

import abc
import functools
import hashlib
import json
import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Union, get_type_hints

from distilcap.box import LICENCE, box_training
from distilcap.box import NAME as BOX
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.files import expected, parse_json, sha256_of, write_bytes, write_json
from distilcap.integrity import read_sealed_json
from distilcap.progress import Progress
from distilcap.stages.data import ImportData
from distilcap.stages.features import TUNED, ExtractFeatures
from distilcap.stages.vocabulary import WORDS
from distilcap.store.planning import Facts
from distilcap.store.record import RECORD, check_artifact
from distilcap.store.stage import Stage, added_later, not_in_key
from distilcap.store.store import Store
from distilcap.training.options import EXTRA_WORDS

if TYPE_CHECKING:
    from distilcap.models.families import CaptionerOptions
    from distilcap.models.weights import TrainedCaptioner

__all__ = ["CONFIG", "DRAWN_WORDS", "CaptionerStage", "ImportCaptioner", "box_folder"]

DRAWN_WORDS = 17  # of a caption that an unfinished model draws
CONFIG, _WEIGHTS = "captioner.json", "captioner.safetensors"


def box_folder() -> Path | None:
    """The folder of the weights from which the captioner in the box is trained further.

    It holds the files of a run: `captioner.json`, `captioner.safetensors` (of any number format) and, where
    its encoder was tuned, `encoder-tuned.safetensors`. The environment variable DISTILCAP_BOX names another.

    Returns:
        None where this installation has none.
    """
    try:
        folder = Path(os.environ.get("DISTILCAP_BOX") or box_training())
    except MissingError:
        return None
    return folder if (folder / CONFIG).is_file() else None


def _digest_of(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in (CONFIG, _WEIGHTS, TUNED):
        if (folder / file).is_file():
            digest.update(f"{file} {sha256_of(folder / file)}\n".encode())
    return digest.hexdigest()


@functools.cache
def _types_with(kind: type[CaptionerStage], known: tuple[type[CaptionerOptions], ...]) -> dict[str, Any]:
    return get_type_hints(kind, localns={"CaptionerOptions": Union.__getitem__(known)})


class CaptionerStage(Stage, abc.ABC):
    """A trained captioner: what can caption, and what a training can begin from.

    Attributes:
        architecture: its family.
        options: its widths.
    """

    architecture: str
    options: CaptionerOptions

    @classmethod
    def field_types(cls) -> dict[str, Any]:
        """See `Stage.field_types`: a captioner's options are those of any family, and need PyTorch."""
        from distilcap.models.families import families

        known = tuple(family.options for family in families().values())
        return _types_with(cls, known)

    @property
    @abc.abstractmethod
    def max_words(self) -> int:
        """Most words that it writes."""

    @property
    @abc.abstractmethod
    def tokenizer(self) -> str:
        """By which its captions become words."""

    @property
    @abc.abstractmethod
    def precision(self) -> str:
        """Number format of products in which it captions, unless another is asked for."""

    @property
    @abc.abstractmethod
    def licence(self) -> dict[str, str] | None:
        """Of its weights, by part, where it began from a captioner whose licence is known."""

    @abc.abstractmethod
    def seen_in(self, data: ImportData | None) -> ExtractFeatures:
        """What it reads of data; None is what it was trained on, where that is known.

        Data of which captions or splits alone were changed have the features of those that they were made of.
        """

    @abc.abstractmethod
    def load(self, store: Store) -> TrainedCaptioner:
        """Read the weights."""

    def decoding_work(self, facts: Facts, width: int) -> float:
        """Multiply-adds of captioning an image with so many hypotheses."""
        from distilcap.models.presets import multiply_adds

        regions, word, _ = multiply_adds(
            self.architecture, self.options, facts.words, facts.dim, facts.regions
        )
        return regions + width * DRAWN_WORDS * word


@dataclass(frozen=True)
class ImportCaptioner(CaptionerStage):
    """A captioner that was trained elsewhere, such as the one in the box: its weights are its identity.

    Attributes:
        sha256: of its configuration, its weights and its encoder's, where that was tuned.
        recipe_json: of the features that it reads, as JSON.
        words_written: see `CaptionerStage.max_words`.
        split_by: its tokenizer.
        tuned: whether it brings an encoder of its own.
        name: for people.
        path: of its folder.
        weights: file of the weights of an encoder that was not tuned, if not the published ones.
        engine: what runs the encoder, see `encoders.engines`.
        terms: of a run that itself began from weights with a licence, see `licence`.
    """

    packable: ClassVar[bool] = False
    sha256: str
    architecture: str
    options: CaptionerOptions
    recipe_json: str
    words_written: int
    split_by: str
    tuned: bool
    name: str = not_in_key()
    path: str = not_in_key()
    weights: str | None = not_in_key()
    engine: str = added_later("torch")
    terms: tuple[tuple[str, str], ...] = field(default=(), compare=False, metadata={"in_key": False})

    @staticmethod
    def of(folder: Path, name: str, engine: str = "torch") -> ImportCaptioner:
        """Look at a run's folder, wherever it lies.

        Raises:
            DataError: there is no captioner, or it is damaged.
        """
        from distilcap.models.presets import options_of
        from distilcap.stages.folders import run_of
        from distilcap.text.tokenizers import PTB

        if not (folder / CONFIG).is_file():
            raise DataError(f"{folder}: there is no trained captioner (no {CONFIG} in it).")
        fix, weights, max_words = "copy it anew", None, 16 + EXTRA_WORDS
        terms: dict[str, str] | None = None
        if (folder / RECORD).is_file():
            check_artifact(folder)
            run = run_of(folder)
            weights, max_words, terms = run.features.weights, run.max_words, run.licence
        config = read_sealed_json(folder / CONFIG, fix)
        with expected(folder / CONFIG, "a captioner's configuration"):
            try:
                options = options_of(config["architecture"], config["options"])
            except ConfigError as error:
                raise DataError(f"{folder / CONFIG}: {error}") from None
            recipe = dict(config["features"])
            if str(recipe.get("weights", "")).startswith("random"):
                weights = "random"
            digest = _digest_of(folder)
            if terms is None and name != BOX and (box := box_folder()) and digest == _digest_of(box):
                terms = LICENCE  # a copy of the captioner in the box
            return ImportCaptioner(
                digest,
                str(config["architecture"]),
                options,
                json.dumps(recipe, sort_keys=True),
                max_words,
                str(config.get("tokenizer", PTB)),
                (folder / TUNED).is_file(),
                name,
                str(folder),
                weights,
                engine,
                tuple((terms or {}).items()),
            )

    @property
    def max_words(self) -> int:
        """See `CaptionerStage.max_words`."""
        return self.words_written

    @property
    def tokenizer(self) -> str:
        """See `CaptionerStage.tokenizer`."""
        return self.split_by

    @property
    def precision(self) -> str:
        """See `CaptionerStage.precision`."""
        return "float32"

    @property
    def licence(self) -> dict[str, str] | None:
        """See `CaptionerStage.licence`."""
        return dict(LICENCE) if self.name == BOX else dict(self.terms) or None

    def seen_in(self, data: ImportData | None) -> ExtractFeatures:
        """See `CaptionerStage.seen_in`; the data are always needed."""
        assert data is not None, self.name
        recipe = parse_json(self.recipe_json, self.path)
        with expected(Path(self.path), "the recipe of a captioner's features"):
            size = int(recipe["preprocessing"]["size"])
            encoder, form = str(recipe["encoder"]), str(recipe["form"])
            own_decoding = str(recipe["preprocessing"].get("decoding", "whole"))
        tuned_by = self if self.tuned else None
        seen = ExtractFeatures(
            data.same_images, self.recipe_json, tuned_by, encoder, size, self.weights, form
        )
        # A tuned encoder is kept with the decoding that it was tuned on.
        return seen.by(self.engine, own_decoding if self.tuned else "reduced")

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Copy what is needed, and write `words.json`."""
        from distilcap.models.weights import load_captioner

        source = Path(self.path)
        if ImportCaptioner.of(source, self.name, self.engine) != self:
            raise DataError(f"{source}: changed since the plan was made; start again.")
        write_json(folder / WORDS, list(load_captioner(source).vocabulary.words))
        for file in (CONFIG, _WEIGHTS, *([TUNED] if self.tuned else [])):
            write_bytes(folder / file, (source / file).read_bytes())

    def load(self, store: Store) -> TrainedCaptioner:
        """See `CaptionerStage.load`."""
        from distilcap.models.weights import load_captioner

        return load_captioner(store.open(self))

    def describe(self) -> str:
        """Its name."""
        return self.name
