"""Photographs captioned by a run or a model: one part in this process, or all parts on a Ray cluster."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.data.neutral import neutral_captions
from distilcap.encoders.recipes import default_engine
from distilcap.errors import ConfigError, DataError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.decode_options import DecodeChoice
from distilcap.runtime.formats import left_out
from distilcap.runtime.never_write import blocked_words, never_written
from distilcap.stages.folders import run_of
from distilcap.stages.label import Generate, decode_options
from distilcap.store.engine import EngineOptions, call_side_by_side
from distilcap.store.store import Store
from distilcap.teachers.listing import Listing, list_ahead
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import Labelled, Shard, begun_by, merge_shards
from distilcap.teachers.shards import PhotoCaptioner, label_shard
from distilcap.text.people import check_english
from distilcap.training.precision import resolved_precision
from distilcap.training.processes import Processes, launched, processes_asked_for

__all__ = ["MERGED", "Labelling", "label_side_by_side", "label_split"]

MERGED = "labels.jsonl"
"""The file of all parts."""


@dataclass(frozen=True)
class Labelling:
    """Which photographs are captioned, and by whom.

    Attributes:
        images: a folder, a list, or a packed file; see `teachers.listing.named_images`.
        to: folder of the parts.
        run: a trained run's folder.
        model: instead of it, a model of `transformers` or a registered teacher.
    """

    images: Path
    to: Path
    options: LabelOptions
    run: Path | None = None
    model: str | None = None

    def label(self, progress: Progress) -> Labelled:
        """Caption the part that the options name; see `label_shard`."""
        if processes_asked_for()[1] > 1:
            raise ConfigError(
                "With `images`, start one process for each shard, without a launcher (see docs/scale.md)."
            )
        return label_shard(self.captioner(progress), self.images, self.to, self.options, progress)

    def captioner(self, progress: Progress) -> PhotoCaptioner:
        """Load the run or the model."""
        if self.model is not None:
            if self.options.never_write:
                raise ConfigError("`never_write` is for a run; a `model` has a vocabulary of its own.")
            if self.options.length_penalty is not None:
                raise ConfigError("`length_penalty` is for a run; a `model` ranks its captions itself.")
            from distilcap.teachers.registry import load_teacher

            return load_teacher(self.model)
        from distilcap.pipeline.photographs import RunCaptioner

        assert self.run is not None
        device, options = launched().device, self.options
        captioner = RunCaptioner.load(
            self.run,
            DecodeChoice(
                options.beam_size,
                length_penalty=self.length_penalty(progress),
                never_write=options.never_write,
            ),
            device,
            options.encoder_engine or default_engine(device),
            resolved_precision(options.precision or "float32", device),
            progress,
        )
        if options.neutral_people:
            check_english(captioner.trained.vocabulary.tokenizer)
        return captioner

    def length_penalty(self, progress: Progress) -> float:
        """By which a run's captions are ranked: as asked for, else as in the parts of the folder, which are
        to be merged, else as is best on validation (see `decode_options`)."""
        from distilcap.pipeline.photographs import penalty_in

        assert self.run is not None
        options = self.options
        if options.length_penalty is not None:
            return options.length_penalty
        run = run_of(self.run, whole=True)
        begun = penalty_in(begun_by(self.to, options.part) or "", run)
        if begun is not None:
            progress.note(f"{self.to}: goes on with the length penalty {begun:g} of its parts.")
            return begun
        store = Store(self.run.resolve().parent, Processes(device=launched().device))
        return decode_options(run, store, options.beam_size, progress=progress).length_penalty


def label_split(run: Path, split: str, options: LabelOptions, store: Store, progress: Progress) -> CaptionSet:
    """Captions of a split of the data set that a run was trained on; they are kept in the store.

    Args:
        store: that the run lies in.

    Raises:
        DataError: there is no trained run, or not under its name in the store.
        ConfigError: words or precision cannot be.
    """
    trained = run_of(run)
    if not store.finds(trained, run):
        raise DataError(f"{run}: a run is found by its name; rename this folder to {trained.key}.")
    vocabulary = trained.vocabulary.load(store)
    if options.neutral_people:
        check_english(vocabulary.tokenizer)
    words = never_written(blocked_words(options.never_write, False, vocabulary, progress), vocabulary)
    precision = options.precision and resolved_precision(options.precision, store.processes.device)
    stage = Generate.as_chosen(
        trained,
        split,
        options.beam_size,
        options.n_best,
        precision=precision,
        never_write=tuple(f"{word}={instead}" if instead else word for word, instead in words.items()),
    )
    if options.length_penalty is not None:
        stage = replace(stage, length_penalty=options.length_penalty, decoding=None)
    store.build(stage, progress)
    captions = stage.load(store)
    return neutral_captions(captions) if options.neutral_people else captions


def label_side_by_side(labelling: Labelling, engine: EngineOptions, progress: Progress) -> Labelled:
    """Caption all parts, several at a time, and merge them into `labels.jsonl` in their folder.

    All machines of a cluster must see run, images and folder under the same paths. A part whose worker dies
    goes on where it was, on another worker; so does the whole command where this process died.

    Raises:
        as `label_shard` and `store.engine.build_side_by_side`.
    """
    options = labelling.options
    if options.shard:
        raise ConfigError("`shard` names the part that one process captions; an `engine` captions all parts.")
    if labelling.run is not None:  # chosen once, and told here: workers are silent
        options = replace(options, length_penalty=labelling.length_penalty(progress))
    parts = [replace(labelling, options=replace(options, shard=number)) for number in range(options.shards)]
    with list_ahead(labelling.images, labelling.to, options.shards) as listing:
        if listing and listing.others:
            progress.note(f"{labelling.images}: {left_out(listing.others)}.")
        calls = {str(Shard(part.options.shard, options.shards)): (part, listing) for part in parts}
        call_side_by_side(_label, calls, engine, progress, "Parts")
    return merge_shards(labelling.to, labelling.to / MERGED)


def _label(part: Labelling, listing: Listing | None) -> None:
    """Caption a part on a worker, which keeps its captioner for the next."""
    whole = replace(part, options=replace(part.options, shard=0))
    label_shard(_captioner(whole), part.images, part.to, part.options, SILENT, listing)


@functools.lru_cache(maxsize=1)
def _captioner(labelling: Labelling) -> PhotoCaptioner:
    return labelling.captioner(SILENT)
