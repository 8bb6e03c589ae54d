"""A run as a bundle, as a stage."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from distilcap.progress import Progress
from distilcap.stages.decoding import ChooseDecoding
from distilcap.stages.train import Train
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later
from distilcap.store.store import Store

__all__ = ["Export"]

SECONDS, IMAGE_SECONDS = 30.0, 0.5


@dataclass(frozen=True)
class Export(Stage):
    """A run as a bundle: in the smallest of the given precisions that keeps its scores.

    Attributes:
        precisions: tried in this order; the first that does not clearly lose more than 1 % of CIDEr is kept.
        images: of the validation split, for calibration and scores.
        decoding: chooses how the bundle searches, which avoids repeats; None takes `DecodeOptions`.
    """

    version: ClassVar[int] = 2  # 1 did not avoid repeats
    measures: ClassVar[bool] = True
    packable: ClassVar[bool] = False
    rate: ClassVar[float] = 1.0  # seconds in a second
    captioner: Train
    precisions: tuple[str, ...] = ("int8", "float16", "float32")
    images: int = 100
    decoding: ChooseDecoding | None = added_later(None)  # noqa: RUF009

    def inputs(self) -> tuple[Stage, ...]:
        """The run, the features that made its encoder, and how it decodes."""
        stages: tuple[Stage, ...] = (self.captioner, self.captioner.seen)
        return stages if self.decoding is None else (*stages, self.decoding)

    def work(self, facts: Facts) -> Work:
        """Seconds: tracing and compressing take the same of all data, checks and calibration are by image."""
        images = min(facts.images["val"], self.images)
        return Work(SECONDS + IMAGE_SECONDS * images, 10.0)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `bundle/`, checked against PyTorch."""
        from distilcap.errors import BundleError
        from distilcap.export.bundle import export_bundle
        from distilcap.export.options import ExportOptions

        for index, precision in enumerate(self.precisions):
            try:
                export_bundle(
                    store.open(self.captioner),
                    folder / "bundle",
                    ExportOptions(precision, limit=self.images),
                    encoder=self.captioner.seen.create(store),
                    data=self.captioner.data.load(store),
                    decode=self.decoding.load(store).options(self.captioner.max_words)
                    if self.decoding
                    else None,
                    licence=self.captioner.licence,
                    progress=progress,
                )
                return
            except BundleError as error:
                if index + 1 == len(self.precisions):
                    raise
                progress.note(f"{error} Trying {self.precisions[index + 1]}.")
