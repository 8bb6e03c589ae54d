"""Stages that caption images: by a captioner or an ensemble."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.never_write import blocked_ids, paired
from distilcap.stages.captioner import CaptionerStage
from distilcap.stages.captions import CAPTIONS, CaptionsOfSplit, labelling_work
from distilcap.stages.data import ImportData
from distilcap.stages.decoding import ChooseDecoding
from distilcap.stages.features import ExtractFeatures, seen_ids
from distilcap.stages.train import Train
from distilcap.store.planning import Facts, Work
from distilcap.store.stage import Stage, added_later
from distilcap.store.store import Store

if TYPE_CHECKING:
    from distilcap.models.weights import TrainedCaptioner

__all__ = [
    "Generate",
    "GenerateTogether",
    "decode_options",
    "decoding_of",
]


@dataclass(frozen=True)
class Generate(CaptionsOfSplit):
    """Captions of a split by a trained captioner: a teacher's labels, or what is scored.

    Attributes:
        beam: width; 1 is greedy.
        n_best: captions kept of each image.
        length_penalty: see `decode.beam.BeamSearch`.
        data: whose images, if not those that it was trained on.
        decoding: chooses the length penalty on validation; None takes `length_penalty`.
        precision: number format of products, "float32" or "bfloat16".
        never_write: words of the vocabulary that the search leaves out, as `runtime.never_write.paired` takes
            them.
    """

    together: ClassVar[bool] = True
    captioner: CaptionerStage
    split: str
    beam: int = 5
    n_best: int = 1
    length_penalty: float = 0.0
    data: ImportData | None = added_later(None)  # noqa: RUF009
    decoding: ChooseDecoding | None = added_later(None)  # noqa: RUF009
    precision: str = added_later("float32")
    never_write: tuple[str, ...] = added_later(())

    @staticmethod
    def as_chosen(
        captioner: CaptionerStage,
        split: str,
        beam: int = 5,
        n_best: int = 1,
        data: ImportData | None = None,
        precision: str | None = None,
        never_write: tuple[str, ...] = (),
    ) -> Generate:
        """Captions by the length penalty that is best on validation; greedy captions need none.

        Args:
            precision: None is the run's own.
        """
        precision = precision or captioner.precision
        decoding = decoding_of(captioner, beam, precision, data) if beam > 1 else None
        return Generate(
            captioner,
            split,
            beam,
            n_best,
            data=data,
            decoding=decoding,
            precision=precision,
            never_write=never_write,
        )

    @property
    def source(self) -> ImportData:
        """See `CaptionsOfSplit.source`."""
        source = self.data or getattr(self.captioner, "data", None)
        assert isinstance(source, ImportData), self.captioner
        return source

    @property
    def tokenizer(self) -> str:
        """See `CaptionsOfSplit.tokenizer`."""
        return self.captioner.tokenizer

    def inputs(self) -> tuple[Stage, ...]:
        """The run, the features that it reads, other data than its own, and how it decodes."""
        return self.captioner, self.captioner.seen_in(self.data), *_given(self.data, self.decoding)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl` (a `CaptionSet` with log-probabilities)."""
        from distilcap.decode.beam import BeamSearch
        from distilcap.training.shares import caption_together, forget_logs

        trained = self.captioner.load(store)
        features = self.captioner.seen_in(self.data).load(store)
        ids = seen_ids(self.source, self.split, features, store)
        penalty = self.decoding.load(store).length_penalty if self.decoding else self.length_penalty
        captions = caption_together(
            store.processes,
            trained.captioner.to(store.processes.device),
            trained.vocabulary,
            features,
            ids,
            BeamSearch(
                self.beam,
                self.captioner.max_words,
                penalty,
                blocked=blocked_ids(paired(self.never_write), trained.vocabulary),
                precision=self.precision,
            ),
            n_best=self.n_best,
            progress=progress,
            description=f"Captioning {self.split}, beam {self.beam}",
            log=folder,
        )
        if store.processes.first:
            captions.save(folder / CAPTIONS)
            forget_logs(folder)

    def work(self, facts: Facts) -> Work:
        """Multiply-adds of the search."""
        per_image = self.captioner.decoding_work(facts, self.beam)
        return labelling_work(facts, self.split, per_image, self.n_best)

    def describe(self) -> str:
        """Of what, how and by whom."""
        return f"{self.split}, beam {self.beam}, by {self.captioner.key}"


def decoding_of(
    captioner: CaptionerStage, beam: int, precision: str | None = None, data: ImportData | None = None
) -> ChooseDecoding:
    """Chooses how a captioner decodes with so wide a beam, in a precision; None is the run's own.

    Args:
        data: on whose validation split, where the captioner has none of its own.
    """
    precision, data = precision or captioner.precision, None if isinstance(captioner, Train) else data
    whole, greedy = (
        Generate(captioner, "val", width, width, data=data, precision=precision) for width in (beam, 1)
    )
    return ChooseDecoding(whole, greedy, beam, captioner.max_words)


def decode_options(
    captioner: Train, store: Store, beam: int, penalty: float | None = None, progress: Progress = SILENT
) -> DecodeOptions:
    """How a run decodes: by the length penalty chosen on validation, now where that was not done yet.

    Where the store lacks what a choice takes, it is the penalty of the nearest beam that has one, or the
    default of `DecodeOptions`, with a remark. Greedy search, which it does not matter to, has the default.

    Args:
        penalty: is asked for: nothing is chosen.
    """
    options = DecodeOptions(beam, captioner.max_words)
    if penalty is not None:
        return dataclasses.replace(options, length_penalty=penalty)
    if beam == 1:  # whatever else was chosen by then: what is captioned is known by its penalty, too
        return options
    reason = _not_chosen(decoding_of(captioner, beam), store, progress)
    taken = "the default"
    for width in sorted({beam, *range(2, 11)}, key=lambda width: (abs(width - beam), width)):
        decoding = decoding_of(captioner, width)
        if store.has(decoding):
            options = dataclasses.replace(options, length_penalty=decoding.load(store).length_penalty)
            taken = f"that of beam {width}"
            break
    if reason:
        progress.note(
            f"{captioner.key}: captions are ranked by length penalty {options.length_penalty:g}, {taken}, "
            f"since none can be chosen for beam {beam} ({reason}); `length_penalty` sets another."
        )
    return options


def _not_chosen(decoding: ChooseDecoding, store: Store, progress: Progress) -> str:
    """Choose, unless that was done; why it cannot be, or nothing."""
    if store.has(decoding):
        return ""
    captions = decoding.candidates
    try:
        for needed in (*captions.inputs(), captions.source):
            if not store.has(needed, whole=True):
                return f"{needed.key} is not in {store.root}"
        store.build(decoding, progress)
    except (ConfigError, DataError, MissingError) as error:
        return str(error).removesuffix(".")
    return ""


def _given(*stages: Stage | None) -> tuple[Stage, ...]:
    return tuple(stage for stage in stages if stage is not None)


@dataclass(frozen=True)
class GenerateTogether(CaptionsOfSplit):
    """Captions of a split by an ensemble of captioners.

    Attributes:
        captioners: of one vocabulary. Where they read different features, these are of grids of equally many
            cells.
        data: whose images, if not those that they were trained on.
        length_penalty: see `decode.beam.BeamSearch`.
        decoding: chooses the length penalty on validation; None takes `length_penalty`.
    """

    removed: ClassVar[Mapping[str, Any]] = {"average": "log_probs"}
    captioners: tuple[Train, ...]
    split: str
    beam: int = 5
    n_best: int = 1
    data: ImportData | None = added_later(None)  # noqa: RUF009
    length_penalty: float = added_later(0.0)
    decoding: ChooseDecoding | None = added_later(None)  # noqa: RUF009

    @staticmethod
    def as_chosen(
        captioners: tuple[Train, ...],
        split: str,
        beam: int = 5,
        n_best: int = 1,
        data: ImportData | None = None,
    ) -> GenerateTogether:
        """See `Generate.as_chosen`."""
        together = GenerateTogether(captioners, split, beam, n_best, data=data)
        if beam == 1:
            return together
        validation = GenerateTogether(captioners, "val", beam, beam)
        greedy = dataclasses.replace(validation, beam=1, n_best=1)
        decoding = ChooseDecoding(validation, greedy, beam, captioners[0].max_words)
        return dataclasses.replace(together, decoding=decoding)

    @property
    def source(self) -> ImportData:
        """See `CaptionsOfSplit.source`."""
        return self.data or self.captioners[0].data

    @property
    def tokenizer(self) -> str:
        """See `CaptionsOfSplit.tokenizer`."""
        return self.captioners[0].vocabulary.tokenizer

    def _features(self) -> tuple[ExtractFeatures, ...]:
        """What the captioners read: of all the same, or of each its own."""
        if len({train.vocabulary.key for train in self.captioners}) != 1:
            raise ConfigError("The captioners of an ensemble must know the same words.")
        seen = tuple(train.seen_in(self.data) for train in self.captioners)
        return seen if len({features.key for features in seen}) > 1 else seen[:1]

    def inputs(self) -> tuple[Stage, ...]:
        """The runs, the features that they read, other data than their own, and how they decode."""
        seen = {features.key: features for features in self._features()}
        return *self.captioners, *seen.values(), *_given(self.data, self.decoding)

    def build(self, folder: Path, store: Store, progress: Progress) -> None:
        """Write `captions.jsonl`."""
        from distilcap.decode.beam import BeamSearch
        from distilcap.teachers.ensemble import Beside, Ensemble
        from distilcap.training.shares import caption_together, forget_logs

        trained: list[TrainedCaptioner] = [train.load(store) for train in self.captioners]
        stores = [features.load(store) for features in self._features()]
        beside = len(stores) > 1
        features = Beside(stores) if beside else stores[0]
        penalty = self.decoding.load(store).length_penalty if self.decoding else self.length_penalty
        captions: CaptionSet = caption_together(
            store.processes,
            Ensemble([member.captioner for member in trained], beside).to(store.processes.device),
            trained[0].vocabulary,
            features,
            seen_ids(self.source, self.split, features, store),
            BeamSearch(self.beam, self.captioners[0].max_words, penalty),
            n_best=self.n_best,
            progress=progress,
            description=f"Captioning {self.split} together, beam {self.beam}",
            log=folder,
        )
        captions.save(folder / CAPTIONS)
        forget_logs(folder)

    def work(self, facts: Facts) -> Work:
        """Multiply-adds of the search, of all captioners."""
        per_image = sum(captioner.decoding_work(facts, self.beam) for captioner in self.captioners)
        return labelling_work(facts, self.split, per_image, self.n_best)
