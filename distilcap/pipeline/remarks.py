"""What a person should know at once: of captions that are learnt from, and of what was learnt."""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from distilcap.data.caption_files import read_references
from distilcap.data.cleaning import clean_captions
from distilcap.data.dataset import ImageRecord
from distilcap.data.trainable import Variety
from distilcap.encoders.loader import readable_again
from distilcap.errors import DataError
from distilcap.progress import Progress
from distilcap.reports.results import Member, System
from distilcap.runtime.pixels import read_image
from distilcap.shown import some
from distilcap.stages.captioner import CaptionerStage, ImportCaptioner
from distilcap.stages.captions import CleanLabels, ImportCaptions, Labels, NeutralLabels
from distilcap.stages.changed_data import ChangedData
from distilcap.stages.data import CleanReferences, ImportData
from distilcap.stages.folders import run_of
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary, judge_data
from distilcap.store.record import RECORD
from distilcap.store.store import Store
from distilcap.training.options import LEARNT_NOTHING

__all__ = [
    "note_data",
    "note_labels",
    "note_learnt_tests",
    "note_plan",
    "note_training",
    "remarks_on_captions",
]

LOOKED_AT = 1000
"""Images whose captions are looked at for a large model's manners."""

MOST_UNKNOWN = 0.01
"""Share of a teacher's words that the vocabulary lacks, from which on they are named."""
NAMED = 8  # of these words

_TRAIN_LONGER = "train it longer (`--epochs`) or on more images"
_OTHER_TEACHER = (
    f"{_TRAIN_LONGER}, or bring a teacher that can caption (`--teacher-run`, `--teacher-model`, "
    "`--teacher-captions`)"
)


def note_plan(run: Train, store: Store, progress: Progress) -> None:
    """Say of a run that is only planned what is said of its data before it trains, and how many images are
    missing. The store stays as it is: words are counted in a folder of their own.

    Raises:
        DataError: the data can teach nothing.
    """
    with tempfile.TemporaryDirectory() as scratch:
        apart = Store(Path(scratch), progress=progress)
        judge_data([run.vocabulary], apart)  # a teacher's words are counted already
        note_data(run, apart, progress)
        images = run.data.load(apart).images
    missing = [image.path for image in images if not image.path.is_file()]
    if missing and not store.has(run.features):
        progress.note(
            f"{run.data.path}: {len(missing):,} of {len(images):,} image files are not there and would be "
            f"skipped: {some(missing)}. `distilcap data check` names them all."
        )
    _note_skipped(run, images, store, progress)


def _note_skipped(run: Train, images: Sequence[ImageRecord], store: Store, progress: Progress) -> None:
    """Say whether an image that is not among features that are there already can be read by now."""
    if store.processes.agree(store.has(run.features, whole=True)):
        again = None
        # Damage is told where they are needed: not by a run that is there.
        with contextlib.suppress(DataError):
            again = readable_again(run.features.load(store).skipped, images, read_image)
        if again is not None:
            progress.note(
                f"{run.data.path}: image {again!r} could not be read when the features in {store.root} were "
                "made, and can now. Next step: take another `--store`, which learns from it."
            )


def note_data(run: Train, store: Store, progress: Progress) -> None:
    """Say what was made of a run's data, of their captions by cleaning and of their images, and what they
    lack."""
    data = run.data
    _note_changes(data, run, store, progress)
    _note_skipped(run, data.load(store).images, store, progress)
    if len(_validated(run, store)) == 1:
        _note_one_image(run, progress)


def _note_one_image(run: Train, progress: Progress) -> None:
    progress.note(
        f"{run.data.path}: validation has only one image that has captions and can be read. CIDEr takes two, "
        "and of one it is always 0: no epoch can be told to be better than another, nor than what training "
        "begins from. Next step: caption more images, or give more of them split val."
    )


def _validated(run: Train, store: Store) -> list[str]:
    """The images that a run validates on; before there are features, with those that cannot be read."""
    ids = list(run.data.load(store).references("val"))
    if store.processes.agree(store.has(run.features, whole=True)):
        with contextlib.suppress(DataError):  # damage is told where features are needed
            features = run.features.load(store)
            ids = [id for id in ids if id in features]
    return ids[: run.training.validation_images or None]


def _note_changes(data: ImportData, run: Train, store: Store, progress: Progress) -> None:
    if isinstance(data, ChangedData):
        _note_changes(data.whole, run, store, progress)
        progress.note(data.note(store))
    elif isinstance(data, CleanReferences):
        progress.note(f"{data.path}: `--clean-labels` {data.cleaning(store)}.")
    else:
        references = data.as_written(line_breaks=True).references("train")
        first = references.only(itertools.islice(references, LOOKED_AT))
        _, cleaning = clean_captions(first, run.training.max_words, run.tokenizer)
        if cleaning.unlike_people:
            progress.note(
                f"{data.path}: of the first {cleaning.captions:,} training captions {cleaning.unplain:,} are "
                f"not plain sentences, as if a large model wrote them; `--clean-labels` {cleaning}."
            )


def note_learnt_tests(
    data: ImportData, captioners: Iterable[CaptionerStage], store: Store, progress: Progress
) -> None:
    """Say of captioners that are there already, and have learnt images that test here, that they have.

    `train` holds out no test images where the data have none; `distill` does.
    """
    tests = {os.path.realpath(image.path) for image in data.load(store).split("test")}
    for captioner in dict.fromkeys(captioners):
        run, home = captioner, store
        if isinstance(captioner, ImportCaptioner) and (Path(captioner.path) / RECORD).is_file():
            run, home = run_of(Path(captioner.path)), Store(Path(captioner.path).resolve().parent)
        if not isinstance(run, Train) or run.data == data or not home.has(run.data):
            continue
        learnt = sum(os.path.realpath(image.path) in tests for image in run.data.load(home).split("train"))
        if learnt:
            progress.note(
                f"{home.path(run)} has learnt {learnt:,} of the {len(tests):,} test images: its scores here, "
                "and those of what begins from it, are too good. Next step: name the splits in the data, "
                "test among them, and train it anew."
            )


def note_labels(labels: Labels, run: Train, store: Store, progress: Progress, teacher: str = "") -> None:
    """Say what cleaning did to labels, or would do to those of a file, and what is wrong with them.

    Args:
        run: that learns from them.
        teacher: its name; labels from a file are called by that.

    Raises:
        DataError: those of the training images are all empty, or cleaning dropped them all.
    """
    captions = labels.load(store)
    cleaned = labels.labels if isinstance(labels, NeutralLabels) else labels
    given = cleaned.labels if isinstance(cleaned, CleanLabels) else cleaned
    whose, step = teacher or given.key, _OTHER_TEACHER
    if isinstance(given, ImportCaptions):
        whose, step = given.path, "look into the file"
    if isinstance(cleaned, CleanLabels):
        progress.note(f"{whose}: `--clean-labels` {cleaned.cleaning(store)}.")
    elif isinstance(cleaned, ImportCaptions):
        written = read_references(Path(cleaned.path), line_breaks=True)
        _, cleaning = clean_captions(written, run.training.max_words, run.tokenizer)
        if cleaning.changed or cleaning.dropped:
            progress.note(f"{whose}: learnt from as it is; `--clean-labels` {cleaning}.")
    described = [image.id for image in run.data.load(store).split("train") if image.id in captions]
    if isinstance(cleaned, CleanLabels) and not described:
        raise DataError(
            f"{whose}: `--clean-labels` {cleaned.cleaning(store)}, so that no caption of a training image is "
            f"left. Next step: {step}, or leave `--clean-labels` out."
        )
    texts = [text for id in described for text in captions.texts(id)]
    variety = Variety.of(texts)
    said = f"{whose}, training images: {{}}. Next step: {step}."
    if variety.captions and not variety.different:
        raise DataError(said.format(variety.hardly_any()))
    if variety.empty:
        progress.note(
            said.format(f"{variety.empty:,} of {variety.captions:,} captions are empty and left out")
        )
    if variety.hardly_any():
        progress.note(said.format(variety.hardly_any()))
    _note_unknown_words(f"{whose}, training images", texts, run.vocabulary, store, progress)


def _note_unknown_words(
    whose: str, texts: Sequence[str], vocabulary: BuildVocabulary, store: Store, progress: Progress
) -> None:
    """Name words of labels that the data's own captions do not have, if they are more than a few."""
    known = vocabulary.load(store)
    words = Counter(word for text in texts for word in known.words_of(text)[: vocabulary.max_words])
    unknown = words - Counter({word: words[word] for word in known.words})
    if unknown.total() < MOST_UNKNOWN * max(words.total(), 1):
        return
    named = some([f"{word!r} {count:,}" for word, count in unknown.most_common()], NAMED)
    start = f" and of {vocabulary.start.describe()}" if vocabulary.start else ""
    progress.note(
        f"{whose}: {unknown.total() / words.total():.1%} of the words become <unk> and are not learnt, for "
        f"the vocabulary is of the data's own captions (`--min-count` {vocabulary.min_count}){start}: "
        f"{named}. Next step: add captions with these words to the data, or lower `--min-count` where "
        "they are there but rare."
    )


def note_training(name: str, run: Train, store: Store, progress: Progress, teaches: bool = False) -> None:
    """Say so if a trained captioner has learnt next to nothing, as far as validation can tell.

    Args:
        teaches: whether others are to learn from it.
    """
    score = run.summary(store)["best_validation_cider"]
    if len(_validated(run, store)) == 1:
        if len(run.data.load(store).references("val")) > 1:  # the others cannot be read; else it is said
            _note_one_image(run, progress)
    elif score < LEARNT_NOTHING:
        step = _OTHER_TEACHER if teaches else _TRAIN_LONGER
        progress.note(
            f"{name} has learnt next to nothing (validation CIDEr {100 * score:.1f}). Next step: {step}."
        )


def remarks_on_captions(systems: Sequence[System], store: Store) -> list[str]:
    """Say which trained captioners write the same of nearly every test image."""
    remarks = []
    for member in (system for system in systems if isinstance(system, Member)):
        captions = member.scored("greedy")[0].load(store)
        remark = Variety.of(text for id in captions for text in captions.texts(id)).hardly_any()
        if remark:
            remarks.append(f"{member.name} has learnt next to nothing: {remark} (test images, greedy).")
    return remarks
