"""What an encoder sees in every image, as a stage."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from distilcap.data.features import FeatureStore, store_bytes
from distilcap.encoders.recipes import (
    ENGINES,
    TORCH,
    default_engine,
    installed_engines,
    recipe_by,
    without_engine,
)
from distilcap.errors import DataError
from distilcap.files import parse_json
from distilcap.integrity import read_sealed_json, rebuild
from distilcap.options import Options, option
from distilcap.progress import Progress
from distilcap.runtime.limits import MAX_SIZE
from distilcap.stages.data import ImportData
from distilcap.store.planning import Facts, Work
from distilcap.store.record import read_record
from distilcap.store.stage import Stage, added_later, not_in_key
from distilcap.store.store import Store

if TYPE_CHECKING:
    from distilcap.encoders.base import Encoder

__all__ = ["TUNED", "EncoderOptions", "ExtractFeatures", "seen_ids"]

_WEIGHTS = "weights"  # checksum of an encoder's, in its recipe
FEATURES, TUNED = "features.safetensors", "encoder-tuned.safetensors"


@dataclass(frozen=True)
class EncoderOptions(Options):
    """The encoder, and how it looks at images."""

    encoder: str = option(
        "efficientnet-lite0", "Name of the encoder that sees the images; see `distilcap models --encoders`."
    )
    image_size: int | None = option(
        None, "Side of the encoder's input in pixels.  [default: the encoder's own]", least=32, most=MAX_SIZE
    )
    encoder_form: str | None = option("grid", "Form of the features; see `distilcap models --encoders`.")
    encoder_weights: Path | None = option(None, "File of the encoder's weights.  [default: its own]")
    encoder_engine: str | None = option(
        None,
        "What runs the encoder: onnxruntime or openvino on a CPU, two to three times as fast as torch, with "
        "the same features to four digits.  [default: what made the features that are there already; else "
        "onnxruntime on a CPU, torch on a GPU]",
        choices=ENGINES,
    )

    def ways(self, device: str = "cpu") -> list[tuple[str, str]]:
        """Engines and decodings to take the features of, if they are there already; the first makes new ones.

        The last is how features were made before there was a choice.
        """
        first = self.encoder_engine or default_engine(device)
        ways = [(first, "reduced"), (TORCH, "reduced"), (TORCH, "whole")]
        return [way for way in dict.fromkeys(ways) if self.encoder_engine in (None, way[0])]

    def of_elsewhere(self) -> list[tuple[str, str]]:
        """Those to take besides the `ways` where they are complete: made on another device, or by packages
        that are gone. What is made of them later, such as a tuned encoder's, an installed engine makes."""
        engines = installed_engines() if self.encoder_engine is None else []
        return [(engine, "reduced") for engine in engines]

    def stage(self, data: ImportData, store: Path | None = None, device: str = "cpu") -> ExtractFeatures:
        """What the encoder sees in a data set.

        Args:
            store: whose features are taken where it has them, or began them, in one of the `ways`, or has
                them complete from elsewhere.
            device: that new features are made on.
        """
        weights = str(self.encoder_weights) if self.encoder_weights else None
        plain = ExtractFeatures.of(data, self.encoder, self.image_size, weights, self.encoder_form)
        stages = [plain.by(*way) for way in self.ways(device)]
        elsewhere = [plain.by(*way) for way in self.of_elsewhere()]
        return stages[0] if store is None else Store(store).furthest(stages, elsewhere)


@dataclass(frozen=True)
class ExtractFeatures(Stage):
    """What an encoder sees in every image of the data.

    Attributes:
        recipe_json: the encoder's recipe (name, weights' checksum, preprocessing, form), as JSON.
        tuned_by: the stage that trained the encoder further (a `Train`).
        encoder, size, weights, form: what `create_encoder` takes.
        engine: what runs the encoder, see `encoders.engines`.
    """

    on_gpu: ClassVar[bool] = True
    checked_by_row: ClassVar[tuple[str, ...]] = (FEATURES,)
    packable: ClassVar[bool] = False
    rate: ClassVar[float] = 8e5  # pixels a second
    data: ImportData
    recipe_json: str
    tuned_by: Stage | None
    encoder: str = not_in_key()
    size: int | None = not_in_key()
    weights: str | None = not_in_key()
    form: str | None = not_in_key()
    engine: str = added_later(TORCH)

    @staticmethod
    def of(
        data: ImportData,
        encoder: str,
        size: int | None = None,
        weights: str | None = None,
        form: str | None = "grid",
    ) -> ExtractFeatures:
        """Create the encoder once to know its recipe."""
        from distilcap.encoders.registry import create_encoder

        recipe = create_encoder(encoder, size=size, weights=weights, form=form).recipe()
        return ExtractFeatures(data, json.dumps(recipe, sort_keys=True), None, encoder, size, weights, form)

    def by(self, engine: str, decoding: str) -> ExtractFeatures:
        """The same encoder run by an engine, on pictures decoded so (see `Preprocessing`)."""
        recipe = without_engine(recipe_by(parse_json(self.recipe_json, "recipe"), engine, decoding))
        return dataclasses.replace(self, recipe_json=json.dumps(recipe, sort_keys=True), engine=engine)

    def create(self, store: Store) -> Encoder:
        """The encoder itself, as PyTorch runs it.

        Raises:
            DataError: its file has other weights by now than those in the key.
        """
        from distilcap.encoders.registry import create_encoder

        if self.tuned_by is not None:
            return create_encoder(str(store.open(self.tuned_by) / TUNED))
        recipe = parse_json(self.recipe_json, self.key)
        decoding = recipe.get("preprocessing", {}).get("decoding", "whole")
        if self.encoder.endswith(".safetensors"):  # it brings all; older records hold what was ignored
            encoder = create_encoder(self.encoder, decoding=decoding)
        else:
            encoder = create_encoder(
                self.encoder, size=self.size, weights=self.weights, form=self.form, decoding=decoding
            )
        # Random weights stand in for those of an encoder that is not tuned yet, where shapes are enough.
        if self.weights != "random" and encoder.recipe().get(_WEIGHTS) != recipe.get(_WEIGHTS):
            raise DataError(
                f"{self.weights or self.encoder}: other weights than those of {self.key} (SHA-256 "
                f"{str(recipe.get(_WEIGHTS))[:16]}…); bring these back, or begin anew with the others."
            )
        return encoder

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Fill the folder's `FeatureStore`; images that cannot be read are skipped and named."""
        from distilcap.encoders.engines import run_by
        from distilcap.encoders.extract import extract_features

        images = self.data.load(store).images
        if images and not any(os.path.exists(image.path) for image in images):
            raise DataError(
                f"{images[0].path}: there is no such image, nor any of the others; bring them back."
            )
        encoder = run_by(self.engine, self.create(store), progress)
        device = store.processes.device
        known = self._of_other_data(store)
        for skipped in extract_features(encoder, images, folder, progress, device=device, known=known):
            progress.note(f"skipped image {skipped.id}: {skipped.reason}")

    def _of_other_data(self, store: Store) -> Iterator[FeatureStore]:
        """What the same encoder saw in other data, such as the same photographs with other captions."""
        for folder in sorted(store.root.glob(f"{self.key.rpartition('-')[0]}-*")):
            try:
                if read_record(folder)["recipe"] | {"data": None} == self.recipe() | {"data": None}:
                    yield FeatureStore.open(folder)
            except (DataError, LookupError, OSError):  # who reads that data set's features says what is wrong
                continue

    def timed_whole(self, store: Store) -> bool:
        """See `Stage.timed_whole`."""
        return not self.load(store).copied

    def work(self, facts: Facts) -> Work:
        """Pixels."""
        megabytes = store_bytes(facts.all_images, facts.regions, facts.dim) / 1e6
        return Work(facts.all_images * facts.pixels, megabytes)

    def describe(self) -> str:
        """The encoder."""
        return str(parse_json(self.recipe_json, self.key).get("encoder", self.encoder))

    def needed_with_inputs(self) -> bool:
        """See `Stage.needed_with_inputs`: the captions of a run that tuned its encoder are made of these."""
        return self.tuned_by is not None

    def check_rows(self, folder: Path) -> None:
        """See `Stage.check_rows`."""
        FeatureStore.open(folder).check_rows()

    def load(self, store: Store) -> FeatureStore:
        """Open the artifact.

        Raises:
            DataError: another encoder made it, as where the run that tuned it was deleted and trained anew.
        """
        from distilcap.stages.captioner import CONFIG

        features = FeatureStore.open(folder := store.open(self))
        recipe = parse_json(self.recipe_json, self.key)
        if self.tuned_by is not None and store.has(self.tuned_by):
            config = store.open(self.tuned_by, CONFIG) / CONFIG
            recipe = read_sealed_json(config, rebuild(config.parent))["features"]
        if features.recipe.get(_WEIGHTS) != recipe.get(_WEIGHTS):
            name = self.encoder if self.tuned_by is None else f"that of {self.tuned_by.key}"
            raise DataError(
                f"{folder}: features of another encoder than {name} is by now; {rebuild(folder)}."
            )
        return features


def seen_ids(data: ImportData, split: str, features: Container[str], store: Store) -> list[str]:
    """The images of a split that have features: unreadable ones were skipped."""
    return [image.id for image in data.load(store).split(split) if image.id in features]
