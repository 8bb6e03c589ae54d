"""The stages of a distillation experiment: data, vocabulary, features, training, labels, bundle.

Teacher and student are roles: both are `Train`. Pseudo-captions and test captions are both `Generate`.
"""

from __future__ import annotations

import abc
import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

from distilcap.data.caption_files import read_references
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.data.features import FeatureStore
from distilcap.errors import ConfigError, DataError
from distilcap.experiments.stage import Stage, Store, added_later, not_in_key
from distilcap.files import read_json, sha256_of, write_bytes, write_json
from distilcap.progress import Progress
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import Vocabulary
from distilcap.training.options import TokenDistillation, TrainingOptions

if TYPE_CHECKING:
    from distilcap.decode.captions import RegionSource
    from distilcap.encoders.base import Encoder, GridEncoder
    from distilcap.encoders.detector import DetectorEncoder
    from distilcap.encoders.tuned import ImageRegions
    from distilcap.models.presets import Options
    from distilcap.models.weights import TrainedCaptioner
    from distilcap.training.imitation import TokenTeacher

__all__ = [
    "BuildVocabulary",
    "CaptionsOfSplit",
    "Export",
    "ExtractFeatures",
    "Generate",
    "ImportCaptions",
    "ImportData",
    "Labels",
    "Train",
    "seen_ids",
]

TUNED = "encoder-tuned.safetensors"


@dataclass(frozen=True)
class ImportData(Stage):
    """A person's data set in one form: images with splits, and references.

    Attributes:
        path: the file or folder that `read_dataset` understands.
        images: where the images lie, if not beside it.
        fingerprint: of the content (`Dataset.fingerprint`).
    """

    fingerprint: str
    name: str
    path: str = not_in_key()
    images: str | None = not_in_key()

    @staticmethod
    def of(path: Path, images: Path | None = None) -> ImportData:
        """Read the data set once to know its fingerprint."""
        from distilcap.data.readers import read_dataset

        dataset = read_dataset(path, images)
        return ImportData(dataset.fingerprint(), dataset.name, str(path), str(images) if images else None)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `images.json` and `references.jsonl`."""
        from distilcap.data.readers import read_dataset

        dataset = read_dataset(Path(self.path), Path(self.images) if self.images else None)
        if dataset.fingerprint() != self.fingerprint:
            raise DataError(f"{self.path}: changed while it was being read; start again.")
        dataset.captions.save(folder / "references.jsonl")
        images = [[image.id, str(image.path.resolve()), image.split] for image in dataset.images]
        write_json(folder / "images.json", {"name": self.name, "images": images})

    def load(self, store: Store) -> Dataset:
        """Read the artifact."""
        folder = store.path(self)
        content = read_json(folder / "images.json")
        images = tuple(ImageRecord(id, Path(path), split) for id, path, split in content["images"])
        return Dataset(content["name"], images, CaptionSet.load(folder / "references.jsonl"))


@dataclass(frozen=True)
class BuildVocabulary(Stage):
    """The words of the training references; students share it with their teacher."""

    data: ImportData
    min_count: int = 5
    max_words: int = 16

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `words.json`."""
        references = self.data.load(store).references("train")
        if not references:
            raise DataError(f"{self.data.path}: the training split has no captions.")
        captions = (tokenize(text)[: self.max_words] for id in references for text in references.texts(id))
        write_json(folder / "words.json", Vocabulary.build(captions, self.min_count).words)

    def load(self, store: Store) -> Vocabulary:
        """Read the artifact."""
        return Vocabulary(tuple(read_json(store.path(self) / "words.json")))


@dataclass(frozen=True)
class ExtractFeatures(Stage):
    """What an encoder sees in every image of the data.

    Attributes:
        recipe_json: the encoder's recipe (name, weights' checksum, preprocessing, form), as JSON.
        tuned_by: the stage that trained the encoder further (`Train`, `DistillEncoder`).
        encoder, size, weights, form: what `create_encoder` takes.
    """

    on_gpu: ClassVar[bool] = True
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
            return create_encoder(str(store.path(self.tuned_by) / TUNED))
        return create_encoder(self.encoder, size=self.size, weights=self.weights, form=self.form)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Fill the folder's `FeatureStore`; images that cannot be read are skipped and named."""
        from distilcap.encoders.extract import extract_features

        encoder, images = self.create(store), self.data.load(store).images
        device = store.processes.device
        for skipped in extract_features(encoder, images, folder, progress, device=device):
            progress.note(f"skipped image {skipped.id}: {skipped.reason}")

    def load(self, store: Store) -> FeatureStore:
        """Open the artifact."""
        return FeatureStore.open(store.path(self))


@dataclass(frozen=True)
class Labels(Stage):
    """A stage that writes `captions.jsonl`: a teacher's labels, or captions that are scored."""

    on_gpu: ClassVar[bool] = True

    def load(self, store: Store) -> CaptionSet:
        """Read the artifact."""
        return CaptionSet.load(store.path(self) / "captions.jsonl")


class CaptionsOfSplit(Labels):
    """Captions of one split of a data set, by anybody: what can be learnt from, or scored."""

    split: str

    @property
    @abc.abstractmethod
    def source(self) -> ImportData:
        """The data set whose images they describe."""


@dataclass(frozen=True)
class ImportCaptions(Labels):
    """Pseudo-captions from a file: any teacher at all."""

    on_gpu: ClassVar[bool] = False
    sha256: str
    path: str = not_in_key()

    @staticmethod
    def of(path: Path) -> ImportCaptions:
        """Look at a captions file to know its checksum.

        Raises:
            DataError: it is not there.
        """
        if not path.is_file():
            raise DataError(f"{path}: there is no such captions file.")
        return ImportCaptions(sha256_of(path), str(path))

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write the file's captions as `captions.jsonl`, in whatever form they came."""
        read_references(Path(self.path)).save(folder / "captions.jsonl")


@dataclass(frozen=True)
class Train(Stage):
    """A captioner, trained. As a student it has `labels`; without them it learns from the references.

    Attributes:
        options: widths of the captioner.
        training: phases and rates.
        labels: where its captions come from; None is the data's own.
        keep_originals: learn from labels and references together.
        scst_references: what the self-critical reward compares with: "original" or "pseudo".
        tune_encoder: train the encoder along, from images instead of features.
        tune_stages: only its last so many stages; 0 is all.
        start: a run of the same captioner to begin from, instead of random weights.
        token_teacher: a run whose distribution of every next word is imitated in the cross-entropy phase
            (token-level distillation), on whatever captions are learnt from.
        token_distillation: how much of the loss that is.
    """

    together: ClassVar[bool] = True
    on_gpu: ClassVar[bool] = True
    data: ImportData
    vocabulary: BuildVocabulary
    features: ExtractFeatures
    architecture: str
    options: Options
    training: TrainingOptions
    labels: Labels | None = None
    keep_originals: bool = False
    scst_references: str = "original"
    tune_encoder: bool = False
    start: Train | None = None
    tune_stages: int = added_later(0)
    token_teacher: Train | None = added_later(None)  # noqa: RUF009
    token_distillation: TokenDistillation = added_later(TokenDistillation())  # noqa: RUF009

    def inputs(self) -> tuple[Stage, ...]:
        """All stages among the fields, and the features that a teacher of tokens reads."""
        teacher = self.token_teacher
        return super().inputs() + ((teacher.seen,) if teacher is not None else ())

    @property
    def seen(self) -> ExtractFeatures:
        """The features that the trained captioner reads: those of its own encoder, where that was tuned."""
        if not self.tune_encoder:
            return self.features
        return dataclasses.replace(self.features, tuned_by=self)

    def seen_in(self, data: ImportData | None) -> ExtractFeatures:
        """What it reads of other data than those it was trained on; None is its own."""
        return self.seen if data is None else dataclasses.replace(self.seen, data=data)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Train in the folder (see `training.loop.Training`) and write `training.json`."""
        from distilcap.encoders.tuned import ImageRegions, LastStages
        from distilcap.metrics.reward import CiderReward
        from distilcap.models.presets import build_captioner
        from distilcap.models.weights import TrainedCaptioner
        from distilcap.training.batches import encode_captions
        from distilcap.training.loop import Training

        dataset, features = self.data.load(store), self.features.load(store)
        vocabulary = self.vocabulary.load(store)
        readable = {image.id for image in dataset.images if image.id in features}
        references = dataset.references("train")
        originals = references.only(id for id in references if id in readable)
        validation = dataset.references("val")
        validation = validation.only(id for id in validation if id in readable)
        if not validation:
            raise DataError(f"{self.data.path}: the validation split has no captioned image.")
        learnt = set(seen_ids(self.data, "train", features, store))
        labels = self._labels(originals, learnt, store)

        def reward() -> CiderReward:
            # An image without references of its own is rewarded by its labels.
            captions = labels if self.scst_references == "pseudo" else CaptionSet({**labels, **originals})
            return CiderReward(encode_captions(captions, vocabulary, max_words=None))

        captioner = build_captioner(
            self.architecture, self.options, len(vocabulary), features.dim, self.training.seed
        )
        if self.start is not None:
            captioner.load_state_dict(self.start.load(store).captioner.state_dict())
        captioner.to(store.processes.device)
        trained = TrainedCaptioner(captioner, self.architecture, self.options, vocabulary, features.recipe)
        source: RegionSource = features
        if self.tune_encoder:
            begin = self.features if self.start is None else self.start.seen
            encoder = begin.create(store)
            source = (
                LastStages(encoder, dataset.images, self.tune_stages)
                if self.tune_stages
                else ImageRegions(encoder, dataset.images)
            ).to(store.processes.device)
        run = Training(trained, source, labels, validation, reward, self.training, folder, progress)
        run.token_teacher, run.processes = self._token_teacher(store), store.processes
        position = run.run()
        if not store.processes.first:
            return
        if isinstance(source, ImageRegions):
            _keep_tuned(source, folder)
        elif self.features.tuned_by is not None:  # the run's folder is all that an export needs
            write_bytes(folder / TUNED, (store.path(self.features.tuned_by) / TUNED).read_bytes())
        write_json(
            folder / "training.json",
            {
                "parameters": captioner.parameter_count(),
                "train_seconds": round(position.seconds, 2),
                "images_seen": position.images,
                "best_validation_cider": position.best_score,
            },
        )

    def _token_teacher(self, store: Store) -> TokenTeacher | None:
        from distilcap.training.imitation import TokenTeacher

        teacher = self.token_teacher
        if teacher is None:
            return None
        if teacher.vocabulary != self.vocabulary:
            raise ConfigError(
                "A teacher of tokens must have its student's vocabulary; train it with the same."
            )
        captioner = teacher.load(store).captioner
        return TokenTeacher(captioner, teacher.seen.load(store), self.token_distillation)

    def _labels(self, originals: CaptionSet, learnt: set[str], store: Store) -> CaptionSet:
        if self.labels is None:
            return originals
        pseudo = self.labels.load(store)
        # Somebody's file may describe the images of validation and test too.
        pseudo = pseudo.only(id for id in pseudo if id in learnt)
        if not pseudo:
            raise DataError(f"{self.labels.key}: none of its images is a training image of {self.data.path}.")
        if not self.keep_originals:
            return pseudo
        ids = dict.fromkeys([*originals, *pseudo])
        return CaptionSet({id: (*originals.get(id, ()), *pseudo.get(id, ())) for id in ids})

    def load(self, store: Store) -> TrainedCaptioner:
        """Read the best weights."""
        from distilcap.models.weights import load_captioner

        return load_captioner(store.path(self))

    def summary(self, store: Store) -> dict[str, Any]:
        """Parameters, training seconds, images seen, best validation CIDEr."""
        content: dict[str, Any] = read_json(store.path(self) / "training.json")
        return content


def _keep_tuned(source: ImageRegions, folder: Path) -> None:
    """Write the best tuned encoder in the form that `create_encoder` reads, and its recipe."""
    from safetensors.torch import load_file

    from distilcap.encoders.registry import create_encoder, save_encoder
    from distilcap.models.weights import load_captioner, save_captioner
    from distilcap.training.loop import ENCODER

    source.load_state_dict(load_file(folder / ENCODER))
    save_encoder(cast("GridEncoder | DetectorEncoder", source.encoder), folder / TUNED)
    recipe = create_encoder(str(folder / TUNED)).recipe()
    save_captioner(folder, dataclasses.replace(load_captioner(folder), features=recipe))


def seen_ids(data: ImportData, split: str, features: FeatureStore, store: Store) -> list[str]:
    """The images of a split that have features: unreadable ones were skipped."""
    return [image.id for image in data.load(store).split(split) if image.id in features]


@dataclass(frozen=True)
class Generate(CaptionsOfSplit):
    """Captions of one split by a trained captioner: a teacher's labels, or what is scored.

    Attributes:
        beam: width; 1 is greedy.
        n_best: captions kept of each image.
        length_penalty: see `decode.beam.BeamSearch`.
        data: whose images, if not those that it was trained on.
    """

    together: ClassVar[bool] = True
    captioner: Train
    split: str
    beam: int = 5
    n_best: int = 1
    length_penalty: float = 0.0
    data: ImportData | None = added_later(None)  # noqa: RUF009

    @property
    def source(self) -> ImportData:
        """See `CaptionsOfSplit.source`."""
        return self.data or self.captioner.data

    def inputs(self) -> tuple[Stage, ...]:
        """The run and the features that it reads."""
        return self.captioner, self.captioner.seen_in(self.data)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl` (a `CaptionSet` with log-probabilities)."""
        from distilcap.decode.beam import BeamSearch
        from distilcap.training.shares import caption_together

        trained = self.captioner.load(store)
        features = self.captioner.seen_in(self.data).load(store)
        ids = seen_ids(self.source, self.split, features, store)
        max_words = self.captioner.training.max_words + 4
        captions = caption_together(
            store.processes,
            trained.captioner.to(store.processes.device),
            trained.vocabulary,
            features,
            ids,
            BeamSearch(self.beam, max_words, self.length_penalty),
            n_best=self.n_best,
            progress=progress,
            description=f"Captioning {self.split}, beam {self.beam}",
        )
        if store.processes.first:
            captions.save(folder / "captions.jsonl")


@dataclass(frozen=True)
class Export(Stage):
    """A run as a bundle: in the smallest of the given precisions that keeps its scores.

    Attributes:
        precisions: tried in this order; the first that loses at most 1 % of CIDEr is kept.
        images: of the validation split, for calibration and scores.
    """

    captioner: Train
    precisions: tuple[str, ...] = ("int8", "float16", "float32")
    images: int = 100

    def inputs(self) -> tuple[Stage, ...]:
        """The run, and the features that made its encoder."""
        return self.captioner, self.captioner.seen

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `bundle/`, checked against PyTorch."""
        from distilcap.errors import BundleError
        from distilcap.export.bundle import export_bundle

        for place, precision in enumerate(self.precisions):
            try:
                export_bundle(
                    store.path(self.captioner),
                    folder / "bundle",
                    encoder=self.captioner.seen.create(store),
                    precision=precision,
                    data=self.captioner.data.load(store),
                    images=self.images,
                    progress=progress,
                )
                return
            except BundleError as error:
                if place + 1 == len(self.precisions):
                    raise
                progress.note(f"{error} Trying {self.precisions[place + 1]}.")
