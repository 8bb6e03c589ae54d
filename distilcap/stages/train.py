"""A captioner, trained: teacher and student are roles, both are `Train`."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from distilcap.data.captions import CaptionSet
from distilcap.data.trainable import Variety
from distilcap.encoders.recipes import TORCH
from distilcap.errors import ConfigError, DataError
from distilcap.files import expected, read_json, write_bytes, write_json
from distilcap.progress import Progress
from distilcap.stages.captioner import DRAWN_WORDS, CaptionerStage
from distilcap.stages.captions import Labels
from distilcap.stages.data import ImportData
from distilcap.stages.features import TUNED, ExtractFeatures
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later
from distilcap.store.store import Store
from distilcap.text.vocabulary import BOS, UNK
from distilcap.training.options import EXTRA_WORDS, TokenDistillation, TrainingOptions

if TYPE_CHECKING:
    from distilcap.decode.captions import RegionSource
    from distilcap.encoders.base import Encoder
    from distilcap.encoders.tuned import ImageRegions
    from distilcap.models.families import CaptionerOptions
    from distilcap.models.weights import TrainedCaptioner
    from distilcap.training.imitation import TokenTeacher

__all__ = ["Train"]

SUMMARY, STAYED = "training.json", "stayed"
WORDS = 12  # of a caption with its end token
EPOCH_SECONDS = 7e-8  # for a parameter: a checkpoint of it and of its two moments is written


@dataclass(frozen=True)
class Train(CaptionerStage):
    """A captioner, trained. As a student it has `labels`; without them it learns from the references.

    Attributes:
        options: widths of the captioner.
        training: phases and rates.
        labels: where its captions come from; None is the data's own.
        keep_originals: learn from labels and references together.
        scst_references: what the self-critical reward compares with: "original" or "pseudo".
        tune_encoder: train the encoder along, from images instead of features.
        tune_stages: only its last so many stages; 0 is all.
        views: of each image, of which the last stages see a random one each time; see `LastStages`.
        start: a captioner of the same widths to begin from, instead of random weights: a run, or any from
            outside the store. Words that it knows begin as they are there; see `models.transfer`.
        token_teacher: a run whose distribution of every next word is imitated in the cross-entropy phase
            (token-level distillation), on whatever captions are learnt from.
        token_distillation: how much of the loss that is.
        stays_with: a run that begins alike. Where that stayed what it began from, so does this one, and is
            not trained: it could not be told to be better by the same validation images, but by chance.
    """

    together: ClassVar[bool] = True
    on_gpu: ClassVar[bool] = True
    timed: ClassVar[tuple[str, ...]] = (SUMMARY, "log.json")  # the loop's LOG
    results_of: ClassVar[tuple[str, ...]] = ("stays_with",)
    rate: ClassVar[float] = 2e10  # multiply-adds a second
    data: ImportData
    vocabulary: BuildVocabulary
    features: ExtractFeatures
    architecture: str
    options: CaptionerOptions
    training: TrainingOptions
    labels: Labels | None = None
    keep_originals: bool = False
    scst_references: str = "original"
    tune_encoder: bool = False
    start: CaptionerStage | None = None
    tune_stages: int = added_later(0)
    views: int = added_later(1)
    token_teacher: Train | None = added_later(None)  # noqa: RUF009
    token_distillation: TokenDistillation = added_later(TokenDistillation())  # noqa: RUF009
    stays_with: Train | None = added_later(None)  # noqa: RUF009

    @property
    def licence(self) -> dict[str, str] | None:
        """See `CaptionerStage.licence`."""
        begun = self.start.licence if self.start is not None else None
        if begun is None:
            return None
        return begun | {"captioner": f"{begun['captioner']}; then trained on other captions"}

    def inputs(self) -> tuple[Stage, ...]:
        """All stages among the fields, and the features that a teacher of tokens reads."""
        teacher = self.token_teacher
        return super().inputs() + ((teacher.seen,) if teacher is not None else ())

    def work(self, facts: Facts) -> Work:
        """Multiply-adds of both phases and of their validations; a backward pass costs as much as two forward
        ones. What each epoch takes beside them decides where images are few."""
        from distilcap.models.presets import multiply_adds

        regions, word, parameters = multiply_adds(
            self.architecture, self.options, facts.words, facts.dim, facts.regions
        )
        options = self.training
        of_labels = facts.captions if self.labels is None or self.keep_originals else 0.0
        of_labels += getattr(self.labels, "n_best", 1) if self.labels is not None else 0
        captions = min(options.captions_per_image, of_labels)
        crossed = 3 * regions + 3 * captions * WORDS * word
        # Drawing is one pass more, word by word.
        drawn = 4 * regions + 4 * options.self_critical.samples * DRAWN_WORDS * word
        epochs = options.cross_entropy.epochs * crossed + options.self_critical.epochs * drawn
        # The encoder's work is not counted where that learns too, nor known how many epochs were made.
        comparable = not (self.tune_encoder or options.patience or self.stays_with)
        images = facts.captioned if self.labels is None else facts.images["train"]
        phases = [phase.epochs for phase in (options.cross_entropy, options.self_critical) if phase.epochs]
        validations = sum(-(-epochs // options.validation_every) for epochs in phases)
        validated = min(facts.images["val"], options.validation_images or facts.images["val"])
        validation = validated * (regions + options.validation_beam * DRAWN_WORDS * word)
        kept = self.rate * sum(phases) * EPOCH_SECONDS * parameters
        return Work(images * epochs + validations * validation + kept, 4e-6 * parameters + 0.1, comparable)

    def describe(self) -> str:
        """The captioner, its seed and what it learns from."""
        labels = f", labels {self.labels.key}" if self.labels is not None else ""
        return f"{self.architecture} {self.options.hidden} wide, seed {self.training.seed}{labels}"

    @property
    def seen(self) -> ExtractFeatures:
        """The features that the trained captioner reads: those of its own encoder, where that was tuned."""
        if not self.tune_encoder:
            return self.features
        return dataclasses.replace(self.features, tuned_by=self)

    @property
    def max_words(self) -> int:
        """Most words that it writes: a few more than it learnt, so that captions may end."""
        return self.training.max_words + EXTRA_WORDS

    @property
    def tokenizer(self) -> str:
        """See `CaptionerStage.tokenizer`."""
        return self.vocabulary.tokenizer

    @property
    def precision(self) -> str:
        """That of its training."""
        return self.training.precision

    def seen_in(self, data: ImportData | None) -> ExtractFeatures:
        """See `CaptionerStage.seen_in`."""
        return self.seen if data is None else dataclasses.replace(self.seen, data=data.same_images)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Train in the folder (see `training.loop.Training`) and write `training.json`."""
        from distilcap.encoders.tuned import ImageRegions, LastStages
        from distilcap.metrics.reward import CiderReward
        from distilcap.models.presets import build_captioner
        from distilcap.models.transfer import begin_from
        from distilcap.models.weights import TrainedCaptioner, load_captioner
        from distilcap.training.batches import encode_captions
        from distilcap.training.loop import CHECKPOINT, Training

        # The checkpoint goes last: a build that was killed after that has only to be taken over.
        ended = (folder / SUMMARY).exists() and not (folder / CHECKPOINT).exists()
        if store.processes.agree(ended):
            load_captioner(folder)  # damage since then is told now
            return
        if self.stays_with is not None and self.stays_with.stayed(store):
            progress.note(
                f"Not trained: {self.stays_with.key} stayed what it began from, and so does this run."
            )
            self._take_over(self.stays_with, folder, store)
            return
        dataset, features = self.data.load(store), self.features.load(store)
        vocabulary = self.vocabulary.load(store)
        readable = {image.id for image in dataset.images if image.id in features}
        references = dataset.references("train")
        originals = references.only(id for id in references if id in readable)
        validation = dataset.references("val")
        validation = validation.only(id for id in validation if id in readable)
        if not validation:
            raise DataError(f"{self.data.path}: the validation split has no captioned image.")
        learnt = readable.intersection(image.id for image in dataset.split("train"))
        labels = self._labels(originals, learnt, store)

        def reward() -> CiderReward:
            # An image without references of its own is rewarded by its labels.
            captions = labels if self.scst_references == "pseudo" else CaptionSet({**labels, **originals})
            # Nobody draws the begin token, so that it is no word that could be rewarded.
            unknown = BOS if self.training.self_critical.unk_is_wrong else UNK
            return CiderReward(encode_captions(captions, vocabulary, None, unknown))

        captioner = build_captioner(
            self.architecture, self.options, len(vocabulary), features.dim, self.training.seed
        )
        trained = TrainedCaptioner(captioner, self.architecture, self.options, vocabulary, features.recipe)
        if self.start is not None:
            begin_from(trained, self.start.load(store))
        captioner.to(store.processes.device)
        source: RegionSource = features
        if self.tune_encoder:
            begin = self.features if self.start is None else self.start.seen_in(self.data)
            encoder = begin.create(store)
            # What made the features runs the frozen stages: it is part of their key, and so of this one.
            engine = begin.engine if store.processes.device == "cpu" else TORCH
            source = (
                LastStages(encoder, dataset.images, self.tune_stages, self.views, engine, progress)
                if self.tune_stages
                else ImageRegions(encoder, dataset.images)
            ).to(store.processes.device)
        tuned = None
        if self.features.tuned_by is not None and not self.tune_encoder:
            tuned = store.open(self.features.tuned_by) / TUNED
        run = Training(trained, source, labels, validation, reward, self.training, folder, progress)
        run.token_teacher, run.processes = self._token_teacher(store), store.processes
        position = run.run()
        if not store.processes.first:
            return
        if isinstance(source, ImageRegions):
            _keep_tuned(source, folder)
        elif tuned is not None:  # the run's folder is all that an export needs
            write_bytes(folder / TUNED, tuned.read_bytes())
        write_json(
            folder / SUMMARY,
            {
                "parameters": captioner.parameter_count(),
                "train_seconds": round(position.seconds, 2),
                "images_seen": position.images,
                "best_validation_cider": position.best_score,
                "device": position.device,
                STAYED: bool(position.start_scores),
            },
        )
        (folder / CHECKPOINT).unlink(missing_ok=True)

    def device(self, store: Store) -> str:
        """By name, or several that it was on one after another; empty where an older version trained it."""
        return str(read_json(store.open(self, SUMMARY) / SUMMARY).get("device", ""))

    def stayed(self, store: Store) -> bool:
        """Whether it is what it began from, since it was no better on validation."""
        from distilcap.training.loop import LOG

        folder = store.open(self, SUMMARY, LOG)
        summary, log = read_json(folder / SUMMARY), read_json(folder / LOG)
        if STAYED in summary:
            return bool(summary[STAYED])
        # Earlier versions did not write it.
        best = round(summary["best_validation_cider"], 6)
        return self.training.validate_start and best not in [epoch.get("validation_cider") for epoch in log]

    def _take_over(self, other: Train, folder: Path, store: Store) -> None:
        """Be the other run, but for what it cost."""
        from distilcap.models.weights import CONFIG, WEIGHTS
        from distilcap.training.loop import CHECKPOINT, LOG

        kept = store.open(other)  # by all processes
        summary = read_json(kept / SUMMARY) | {"train_seconds": 0.0, "images_seen": 0}
        if not store.processes.first:
            return
        for name in (WEIGHTS, TUNED, CONFIG):
            if (kept / name).exists():
                write_bytes(folder / name, (kept / name).read_bytes())
        write_json(folder / LOG, [])
        write_json(folder / SUMMARY, summary)
        (folder / CHECKPOINT).unlink(missing_ok=True)  # of a build that was killed before the other stayed

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
            raise DataError(
                f"{self.labels.key}: has no caption of a training image of {self.data.path}; `distilcap data "
                "check` shows the images, and what `--clean-labels` drops."
            )
        variety = Variety.of(text for id in pseudo for text in pseudo.texts(id))
        if not variety.different:
            raise DataError(
                f"{self.labels.key}: {variety.hardly_any()}; their teacher has learnt nothing yet."
            )
        if not self.keep_originals:
            return pseudo
        ids = dict.fromkeys([*originals, *pseudo])
        return CaptionSet({id: (*originals.get(id, ()), *pseudo.get(id, ())) for id in ids})

    def load(self, store: Store) -> TrainedCaptioner:
        """Read the best weights."""
        from distilcap.models.weights import load_captioner

        return load_captioner(store.open(self))

    def encoder_in(self, folder: Path) -> Encoder:
        """The encoder that the trained captioner reads through; the run's folder may lie anywhere."""
        from distilcap.encoders.registry import create_encoder

        if self.seen.tuned_by is not None:
            return create_encoder(str(folder / TUNED))
        return self.seen.create(Store(folder.parent))

    def summary(self, store: Store) -> dict[str, Any]:
        """Parameters, training seconds, images seen, best validation CIDEr."""
        path = store.open(self, SUMMARY) / SUMMARY
        content = read_json(path)
        with expected(path, "the summary of a training"):
            numbers = {name: value for name, value in content.items() if name not in ("device", STAYED)}
            sum(numbers.values())
            return numbers


def _keep_tuned(source: ImageRegions, folder: Path) -> None:
    """Write the best tuned encoder in the form that `create_encoder` reads, and its recipe."""
    from distilcap.encoders.registry import create_encoder, save_encoder
    from distilcap.models.weights import load_captioner, save_captioner
    from distilcap.tensors import load_tensors
    from distilcap.training.best import ENCODER

    source.load_state_dict(load_tensors(folder / ENCODER, f"delete the folder {folder}")[0])
    save_encoder(source.encoder, folder / TUNED)
    recipe = create_encoder(str(folder / TUNED)).recipe()
    save_captioner(folder, dataclasses.replace(load_captioner(folder), features=recipe))
