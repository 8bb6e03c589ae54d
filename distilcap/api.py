"""What `import distilcap` offers: the commands of the command line as functions.

Keywords have the names, bounds and defaults of the commands' options. Paths may be text. Remarks, and steps
with their seconds, go to the logger "distilcap" at level INFO. What a person can fix is raised as a
`DistilCapError`, whose message is one line: what is wrong, where, and the fix.

PyTorch is imported by `train`, `distill`, `label`, and by `load` for a run; never for a bundle.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from distilcap.box import NAME
from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.dataset import Dataset
from distilcap.data.readers import Columns
from distilcap.data.readers import read_dataset as read_dataset_at
from distilcap.errors import DistilCapError
from distilcap.keywords import AnyPath, DistillKeywords, TrainKeywords
from distilcap.options import check_names, filled, keywords_checked, path_of
from distilcap.pipeline.captioned import Captioned
from distilcap.pipeline.captioning import ImageCaptioner
from distilcap.pipeline.scoring import compare, evaluate
from distilcap.progress import LOGGED
from distilcap.runtime.decode_options import DecodeChoice

if TYPE_CHECKING:
    from distilcap.pipeline.distill import Distilled
    from distilcap.pipeline.train import TrainedRun
    from distilcap.stages.data import DataOptions
    from distilcap.store.store import Store

__all__ = [
    "Caption",
    "CaptionSet",
    "Captioned",
    "Dataset",
    "DistilCapError",
    "ImageCaptioner",
    "compare",
    "distill",
    "evaluate",
    "label",
    "load",
    "read_dataset",
    "train",
]


@keywords_checked
def load(
    path: AnyPath = NAME,
    *,
    beam_size: int | None = None,
    n_best: int = 1,
    max_words: int | None = None,
    length_penalty: float | None = None,
    never_write: Sequence[str] = (),
    neutral_people: bool = False,
    avoid_repeats: bool | None = None,
    threads: int = 1,
    workers: int | None = None,
) -> ImageCaptioner:
    """Open a bundle or a trained run, to caption images with `ImageCaptioner.caption`.

    Args:
        path: of a bundle's folder or its manifest.json, hf:user/name of the Hugging Face Hub, or a run's
            folder in a store; by default the captioner in the box, which is for research alone.
        beam_size: number of hypotheses kept while searching; 1 is greedy. None is the bundle's, of a run 3.
        n_best: number of captions of each image.
        max_words: at which a caption stops; None is the bundle's or the run's own number.
        length_penalty: exponent p: captions are ranked by log-probability / length^p; None is the exponent
            that was chosen on validation, or the bundle's.
        never_write: words that captions never have, beside those of the bundle; or .txt files with a word a
            line. A word that the captioner does not know is told to the log.
        neutral_people: write "person" and "child" instead of words of gender (English only).
        avoid_repeats: whether hypotheses that write a pair of words twice rank behind all others of their
            beam; None is as the bundle has it, of a run False.
        threads: of each operation of a bundle; PyTorch has a setting of its own.
        workers: so many batches of images are captioned by a bundle side by side; None is one for each of the
            processor's cores that `threads` leave.

    Raises:
        DataError: neither a bundle nor a trained run is there.
        BundleError: the bundle is damaged or of a newer version.
        ConfigError: a number is out of its range, or `n_best` above `beam_size`.
        MissingError: a bundle, but ONNX Runtime is not installed.
        ModuleNotFoundError: a run, but PyTorch is not installed.
    """
    return ImageCaptioner.open(
        path_of(path),
        filled(
            DecodeChoice,
            {
                "beam_size": beam_size,
                "n_best": n_best,
                "max_words": max_words,
                "length_penalty": length_penalty,
                "never_write": never_write,
                "neutral_people": neutral_people,
                "avoid_repeats": avoid_repeats,
            },
        ),
        threads,
        LOGGED,
        workers,
    )


@keywords_checked
def read_dataset(
    path: AnyPath,
    images: AnyPath | None = None,
    split: str | None = None,
    *,
    image_column: str | None = None,
    caption_column: Sequence[str] = (),
    split_column: str | None = None,
    need_images: bool = True,
) -> Dataset:
    """Read images, splits and captions; the form is seen from the content (docs/data.md).

    Args:
        path: a captions file (JSON, JSON Lines, CSV, TSV, Parquet, tar), a folder that holds one, or a
            folder of images.
        images: the folder that the images' names start from; looked for beside the captions by default.
        split: "train", "val" or "test", for entries that name none.
        image_column, caption_column, split_column: columns of a table, or keys of objects, whose names do not
            say what they hold.
        need_images: refuse a data set of which no image file is there.

    Raises:
        DataError: it cannot be read as it is; the message names file and line.
        ConfigError: there is no such split.
    """
    return read_dataset_at(
        Path(path),
        Path(images) if images else None,
        split,
        columns=filled(
            Columns,
            {"image_column": image_column, "caption_column": caption_column, "split_column": split_column},
        ),
        need_images=need_images,
        progress=LOGGED,
    )


def train(
    data: AnyPath,
    *,
    images: AnyPath | None = None,
    store: AnyPath = "runs",
    **options: Unpack[TrainKeywords],
) -> TrainedRun:
    """Train a captioner: cross-entropy, then self-critical (SCST, Rennie et al. 2017).

    A killed training goes on where it stopped, to the same weights; a finished one is not done again.

    Args:
        data: a data set, see `read_dataset`.
        images: the folder of its images, if not beside the captions.
        store: folder of all artifacts: each lies there under the hash of its recipe.
        options: those of `distilcap train --help`, such as `captioner="updown-small", epochs=15`.

    Returns:
        The folder of the run, for `load` and `label`, and what the training came to.

    Raises:
        ConfigError: there is no such option or captioner, or a value cannot work.
        DataError: the data cannot be read, or can teach nothing.
        TrainingError: the loss is not finite any more; the last good checkpoint is kept.
    """
    from distilcap.pipeline.train import RunOptions, run_to_train, train_run
    from distilcap.stages.features import EncoderOptions
    from distilcap.study.announce import announce
    from distilcap.training.options import TrainingOptions

    check_names(options, (Columns, EncoderOptions, RunOptions, TrainingOptions), "distilcap train")
    stage = run_to_train(
        _data_options(data, images, filled(Columns, options)),
        filled(EncoderOptions, options),
        filled(RunOptions, options),
        options,
        Path(store),
        (kept := _store_at(store)).processes.device,
    )
    announce([stage], kept, LOGGED)
    return train_run(stage, kept, LOGGED)


def distill(
    data: AnyPath,
    *,
    images: AnyPath | None = None,
    store: AnyPath = "runs",
    to: AnyPath | None = None,
    export: bool = True,
    **options: Unpack[DistillKeywords],
) -> Distilled:
    """Train a teacher, let it caption the training images, and train a student on its captions.

    This is sequence-level knowledge distillation (Kim & Rush 2016). Beside it the same student learns from
    people's captions alone, and both are scored on the test split.

    Args:
        data, images, store: see `train`.
        to: the folder that results.json, report.html and bundle/ are written into; None writes none of them.
        export: make a bundle of the student.
        options: those of `distilcap distill --help`, such as `teacher="aoanet-big", student="updown-small"`.
            `teacher_model`, `teacher_captions` or `teacher_run` bring a teacher that is there already.

    Returns:
        The rows of the table, what the distilled student gained, and the folder of the bundle.

    Raises:
        ConfigError, DataError, TrainingError: see `train`.
    """
    from distilcap.pipeline.distill import check_distilled_folder, write_distilled
    from distilcap.pipeline.distill import distill as run_plan
    from distilcap.pipeline.own_images import NOT_OF_DISTILL, DistillOptions, plan_own_images
    from distilcap.stages.features import EncoderOptions
    from distilcap.stages.vocabulary import judge_data
    from distilcap.study.announce import announce
    from distilcap.training.options import TrainingOptions

    check_names(
        options,
        (Columns, EncoderOptions, DistillOptions, TrainingOptions),
        "distilcap distill",
        without=NOT_OF_DISTILL,
    )
    title, plan = plan_own_images(
        _data_options(data, images, filled(Columns, options)),
        filled(EncoderOptions, options),
        filled(DistillOptions, options),
        options,
        Path(store),
        (kept := _store_at(store)).processes.device,
    )
    if to is not None:
        check_distilled_folder(Path(to), plan, export)
    judge_data(plan.stages(export), kept)
    announce(plan.stages(export), kept, LOGGED)
    distilled = run_plan(plan, kept, LOGGED, export=export)
    if to is not None and kept.processes.first:
        write_distilled(title, plan, distilled, kept.alone(), Path(to), LOGGED)
        if distilled.bundle is not None:
            distilled = dataclasses.replace(distilled, bundle=Path(to) / "bundle")
    return distilled


@keywords_checked
def label(
    run: AnyPath,
    *,
    split: str = "train",
    beam_size: int = 5,
    n_best: int = 1,
    length_penalty: float | None = None,
    precision: str | None = None,
    never_write: Sequence[str] = (),
    neutral_people: bool = False,
) -> CaptionSet:
    """Caption a split of the data set that a run was trained on: labels for a student, or captions to score.

    The captions are kept in the run's store, and not made again. For images of no data set see
    `ImageCaptioner.caption`, and `distilcap generate --images` where there are very many.

    Args:
        run: folder of the trained run, in its store.
        split: "train", "val" or "test".
        beam_size: number of hypotheses kept while searching; 1 is greedy.
        n_best: number of captions of each image.
        length_penalty: see `load`.
        precision: number format of products, "float32", "bfloat16" or "auto"; None is the run's own.
        never_write: see `load`; the captions are those of a search without these words.
        neutral_people: rewrite captions with neutral words for people, "person" and "child" (English only);
            the captions that change lose their log-probability.

    Returns:
        Captions by image id, best first, with log-probabilities in nats; without the images that could not
        be read.

    Raises:
        DataError: no trained run is there.
        ConfigError: there is no such split, or a number is out of its range.
    """
    from distilcap.pipeline.labelling import label_split
    from distilcap.teachers.options import LabelOptions

    options = filled(
        LabelOptions,
        {
            "beam_size": beam_size,
            "n_best": n_best,
            "length_penalty": length_penalty,
            "precision": precision,
            "never_write": never_write,
            "neutral_people": neutral_people,
        },
    )
    return label_split(Path(run), split, options, _store_at(Path(run).resolve().parent), LOGGED)


def _data_options(data: AnyPath, images: AnyPath | None, columns: Columns) -> DataOptions:
    from distilcap.stages.data import DataOptions

    return DataOptions(Path(data), Path(images) if images else None, columns)


def _store_at(root: AnyPath) -> Store:
    """A store in which all processes of a launch build together, on GPUs where there are any."""
    from distilcap.store.store import Store
    from distilcap.training.processes import launched

    return Store(Path(root), launched(), LOGGED)
