"""What an encoder sees in every image, as a stage."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from distilcap.data.features import FeatureStore, store_bytes
from distilcap.files import parse_json
from distilcap.options import Options, option
from distilcap.progress import Progress
from distilcap.runtime.limits import MAX_SIZE
from distilcap.stages.data import ImportData
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, Store, not_in_key

if TYPE_CHECKING:
    from distilcap.encoders.base import Encoder

__all__ = ["TUNED", "EncoderOptions", "ExtractFeatures", "seen_ids"]

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
    encoder_form: str = option("grid", "Form of the features; see `distilcap models --encoders`.")
    encoder_weights: Path | None = option(None, "File of the encoder's weights.  [default: its own]")

    def stage(self, data: ImportData) -> ExtractFeatures:
        """What the encoder sees in a data set."""
        weights = str(self.encoder_weights) if self.encoder_weights else None
        return ExtractFeatures.of(data, self.encoder, self.image_size, weights, self.encoder_form)


@dataclass(frozen=True)
class ExtractFeatures(Stage):
    """What an encoder sees in every image of the data.

    Attributes:
        recipe_json: the encoder's recipe (name, weights' checksum, preprocessing, form), as JSON.
        tuned_by: the stage that trained the encoder further (a `Train`).
        encoder, size, weights, form: what `create_encoder` takes.
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

    def create(self, store: Store) -> Encoder:
        """The encoder itself."""
        from distilcap.encoders.registry import create_encoder

        if self.tuned_by is not None:
            return create_encoder(str(store.open(self.tuned_by) / TUNED))
        return create_encoder(self.encoder, size=self.size, weights=self.weights, form=self.form)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Fill the folder's `FeatureStore`; images that cannot be read are skipped and named."""
        from distilcap.encoders.extract import extract_features

        encoder, images = self.create(store), self.data.load(store).images
        device = store.processes.device
        for skipped in extract_features(encoder, images, folder, progress, device=device):
            progress.note(f"skipped image {skipped.id}: {skipped.reason}")

    def work(self, facts: Facts) -> Work:
        """Pixels."""
        megabytes = store_bytes(facts.all_images, facts.regions, facts.dim) / 1e6
        return Work(facts.all_images * facts.pixels, megabytes)

    def describe(self) -> str:
        """The encoder."""
        return str(parse_json(self.recipe_json, self.key).get("encoder", self.encoder))

    def check_rows(self, folder: Path) -> None:
        """See `Stage.check_rows`."""
        FeatureStore.open(folder).check_rows()

    def load(self, store: Store) -> FeatureStore:
        """Open the artifact."""
        return FeatureStore.open(store.open(self))


def seen_ids(data: ImportData, split: str, features: FeatureStore, store: Store) -> list[str]:
    """The images of a split that have features: unreadable ones were skipped."""
    return [image.id for image in data.load(store).split(split) if image.id in features]
