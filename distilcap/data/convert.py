"""A data set written in a form that other programs read; reading it again gives the same data set."""

from __future__ import annotations

import csv
import io
import itertools
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.data.readers.columns import texts_of
from distilcap.errors import ConfigError, DataError
from distilcap.files import write_json, write_text
from distilcap.progress import SILENT, Progress
from distilcap.runtime.large import opened
from distilcap.shown import some
from distilcap.text.tokenize import tokenize

__all__ = ["FORMS", "Converted", "convert"]

_ENDINGS = {".json": "karpathy", ".jsonl": "jsonl", ".csv": "csv", "": "imagefolder"}


@dataclass(frozen=True)
class Converted:
    """What was written: the name of its form, and how many images and captions."""

    form: str
    images: int
    captions: int


def convert(dataset: Dataset, to: Path, form: str | None = None, progress: Progress = SILENT) -> Converted:
    """Write a data set.

    Args:
        to: the file; for "imagefolder" the folder, into which the images are copied. Else images stay where
            they are: their names start from the file's folder if they lie in it, and from the root if not.
        form: of `FORMS`; by default what the ending of `to` says.
        progress: receives a remark on what an imagefolder lacks: files that are missing, or no images.

    Raises:
        ConfigError: there is no such form, or the ending says none.
        DataError: the file or folder exists already, or there is nothing to copy into it.
    """
    form = form or _ENDINGS.get(to.suffix.lower())
    if form is None:
        raise ConfigError(
            f"{to}: the ending {to.suffix} says no form; name it by `--form` ({', '.join(FORMS)})."
        )
    if form not in FORMS:
        raise ConfigError(f"`form` must be one of {', '.join(FORMS)}, but is {form!r}.")
    # It may be the data itself, or captions that somebody wrote; a pipe or an empty file loses nothing.
    if to.is_dir() or (to.is_file() and (to.stat().st_size or form == "imagefolder")):
        raise DataError(f"{to}: exists already; give another name, or remove it.")
    if form == "imagefolder":
        dataset = _copyable(dataset, to, progress)
    FORMS[form](dataset, to, progress)
    captions = sum(len(dataset.captions.get(image.id, ())) for image in dataset.images)
    return Converted(form, len(dataset.images), captions)


def _rows(dataset: Dataset, to: Path) -> Iterator[tuple[ImageRecord, str, list[str]]]:
    """Each image with its name and captions."""
    home = Path(os.path.realpath(to)).parent
    for image in dataset.images:
        path = Path(os.path.realpath(image.path))  # `resolve` raises where links lead round in a circle
        name = path.relative_to(home) if path.is_relative_to(home) else path
        texts = dataset.captions.texts(image.id) if image.id in dataset.captions else []
        yield image, name.as_posix(), texts


def _number(image_id: str) -> int | str:
    """COCO's ids are numbers."""
    is_number = image_id.isascii() and image_id.isdigit() and len(image_id) < 19
    return int(image_id) if is_number and str(int(image_id)) == image_id else image_id


def _karpathy(dataset: Dataset, to: Path, progress: Progress) -> None:
    images: list[dict[str, Any]] = []
    sentence = 0
    for number, (image, name, texts) in enumerate(_rows(dataset, to)):
        sentences = [
            {"tokens": tokenize(text), "raw": text, "imgid": number, "sentid": sentence + index}
            for index, text in enumerate(texts)
        ]
        sentence += len(texts)
        images.append(
            {
                "filename": name,
                "imgid": number,
                "cocoid": _number(image.id),
                "split": image.split,
                "sentids": [one["sentid"] for one in sentences],
                "sentences": sentences,
            }
        )
    write_json(to, {"images": images, "dataset": dataset.name})


def _coco(dataset: Dataset, to: Path, progress: Progress) -> None:
    rows = list(_rows(dataset, to))
    said = [(image, text) for image, _, texts in rows for text in texts]
    content = {
        "info": {"description": dataset.name},
        "images": [
            {"id": _number(image.id), "file_name": name, "split": image.split} for image, name, _ in rows
        ],
        "annotations": [
            {"id": number, "image_id": _number(image.id), "caption": text}
            for number, (image, text) in enumerate(said)
        ],
    }
    write_json(to, content)


def _lines(dataset: Dataset, to: Path, progress: Progress) -> None:
    write_text(
        to,
        "".join(
            _line({"image_id": image.id, "image": name, "captions": texts, "split": image.split})
            for image, name, texts in _rows(dataset, to)
        ),
    )


def _line(record: dict[str, Any]) -> str:
    return json.dumps(record, ensure_ascii=False) + "\n"


def _csv(dataset: Dataset, to: Path, progress: Progress) -> None:
    """A row for each caption; an image without captions has one, with an empty caption.

    Raises:
        DataError: a name begins or ends with a space, which readers of tables take for padding.
    """
    table = io.StringIO(newline="")
    writer = csv.writer(table)
    writer.writerow(["image_id", "image", "caption", "split"])
    for image, name, texts in _rows(dataset, to):
        if (image.id, name) != (image.id.strip(), name.strip()):
            raise DataError(f"{to}: a table loses the space at an end of '{image.id}'; write .jsonl instead.")
        for text in texts or [""]:
            # What a reader would take for no caption, or for more than one, is written as a list.
            cell = text if texts_of(text) == [text] else json.dumps([text], ensure_ascii=False)
            writer.writerow([image.id, name, cell, image.split])
    write_text(to, table.getvalue())


def _copyable(dataset: Dataset, to: Path, progress: Progress) -> Dataset:
    """The images that can be copied into a new folder.

    What is no image by its content is not copied: a stranger's captions may name any file of this machine.
    """
    images: list[ImageRecord] = []
    missing: list[Path] = []
    others: list[Path] = []
    for image in dataset.images:
        if image.path.is_file() and _is_image(image.path):
            images.append(image)
        else:
            (others if image.path.is_file() else missing).append(image.path)
    left_out = [
        *([f"{len(missing):,} images whose file is missing are left out"] if missing else []),
        *([f"{len(others):,} files that are no images are left out: {some(others, 10)}"] if others else []),
    ]
    if not images:
        raise DataError(f"{to}: no image to copy; {'; '.join(left_out) or 'the data set has none'}.")
    for remark in left_out:
        progress.note(f"{remark}.")
    captioned = dataset.captions.only(image.id for image in images if image.id in dataset.captions)
    return Dataset(dataset.name, tuple(images), captioned)


def _is_image(path: Path) -> bool:
    try:
        opened(path).close()
    except DataError:  # of a kind that is not read here
        return True
    except Exception:  # Pillow raises whatever it meets in damaged files
        return False
    return True


def _imagefolder(dataset: Dataset, to: Path, progress: Progress) -> None:
    """The Hub's: train/, validation/ and test/ with the images and metadata.jsonl."""
    scratch = to.with_name(f".{to.name}.{os.getpid()}.partial")
    lines: dict[str, list[str]] = {}
    taken: set[tuple[str, str]] = set()
    try:
        scratch.mkdir(parents=True)
        for image, _, texts in progress.track(
            list(_rows(dataset, to)), "Copying images", len(dataset.images)
        ):
            split = "validation" if image.split == "val" else image.split
            others = (f"{number}-{image.path.name}" for number in itertools.count(len(taken)))
            names = itertools.chain([image.path.name], others)
            name = next(name for name in names if (split, name.casefold()) not in taken)
            taken.add((split, name.casefold()))  # there are disks that do not know case
            (scratch / split).mkdir(exist_ok=True)
            shutil.copyfile(image.path, scratch / split / name)
            record = {"file_name": name, "image_id": image.id, "captions": texts}
            lines.setdefault(split, []).append(_line(record))
        for split, records in lines.items():
            write_text(scratch / split / "metadata.jsonl", "".join(records))
        os.replace(scratch, to)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


FORMS: Final[dict[str, Callable[[Dataset, Path, Progress], None]]] = {
    "karpathy": _karpathy,
    "coco": _coco,
    "jsonl": _lines,
    "csv": _csv,
    "imagefolder": _imagefolder,
}
"""Writers by the name of their form."""
