"""Captions of a data set's images from a file that names image files: which caption is whose."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from pathlib import Path

from distilcap.data.caption_files import read_references
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import ADDED, Dataset, ImageRecord
from distilcap.data.readers import Source, form_of
from distilcap.data.readers.entries import ReadResult, image_id_of, is_absolute
from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS

__all__ = ["by_ids_of", "captions_for"]


def captions_for(
    dataset: Dataset, path: Path, line_breaks: bool = False, progress: Progress = SILENT
) -> CaptionSet:
    """Read captions, each under the id that its image has in a data set; others keep the ids of the file.

    The ids of two files need not be the same: one counts its images, another names files. An image that the
    captions file knows by a file's name is the one whose file has that name, wherever just one has.

    Args:
        path, line_breaks, progress: see `read_references`.

    Raises:
        DataError: it cannot be read, or see `by_ids_of`.
    """
    return by_ids_of(dataset, read_references(path, line_breaks, progress), path)


def by_ids_of(dataset: Dataset, captions: CaptionSet, path: Path) -> CaptionSet:
    """The captions of a file, each under the id that its image has in a data set; see `captions_for`.

    Raises:
        DataError: an id is one image's and the file named with it another's, or it may be that of an image
            that was added to the data; or two entries are one image's.
    """
    known = {image.id: image for image in dataset.images}
    of_name: dict[str, list[ImageRecord]] = defaultdict(list)
    for image in dataset.images:
        of_name[image.path.name].append(image)
    names = _file_names(path, captions)
    ids: dict[str, str] = {}
    for id in captions:
        name = names.get(id, id).replace("\\", "/")
        so_called = _called(name, of_name)
        called = [known[name]] if name in known else so_called
        file = called[0] if len(called) == 1 else None
        fitted = id if id in known or file is None else file.id
        if id in known and id in names:
            if file is not None and file.id != id:
                raise DataError(
                    f"{path}: image {name!r} would be called {id!r}, which is the id of "
                    f"{known[id].path.name} in the data; the file {file.path.name} has id {file.id!r} there. "
                    "Write the data's ids: "
                    f'{{"image_id": "{file.id}", "caption": …}}.'
                )
            other = next((image for image in so_called if image.id.startswith(ADDED)), known[id])
            if other.id != id:
                raise DataError(
                    f"{path}: image {name!r} may be {known[id].path} or {other.path}. Write more of its "
                    f"path, such as {_distinct(other.path, known[id].path)!r}."
                )
            # A number counts images: it is a file's name by chance, unless the image's file is so called,
            # perhaps with zeros before, as COCO's 000000391895.jpg is.
            if (
                not called
                and id.isdecimal()
                and id == image_id_of(name)
                and not re.search(rf"(^|_)0*{id}$", known[id].path.stem)
            ):
                fitted = name
        if fitted in ids:
            raise DataError(
                f"{path}: images {ids[fitted]!r} and {id!r} are both image {fitted!r} of the data. Write the "
                f'data\'s ids: {{"image_id": "{fitted}", "caption": …}}.'
            )
        ids[fitted] = id
    return CaptionSet({fitted: captions[id] for fitted, id in ids.items()})


def _file_names(path: Path, captions: CaptionSet) -> dict[str, str]:
    """What a captions file calls images' files, by the ids that its reader makes; none where it has ids."""
    source, result = Source(path), ReadResult(path)
    try:
        form = form_of(source)
        if form is not None:
            form.read(source, result)
    except DataError:  # captions to score need not be of a data set's form
        return {}
    result.use_own_ids()
    names = {entry.id: entry.name for entry in result.entries.values()}
    if not names.keys() >= set(captions):  # the file's ids are its own
        return {}
    endings = {id: posixpath.splitext(name)[1].lower() for id, name in names.items()}
    return {id: name for id, name in names.items() if endings[id] in IMAGE_FILE_ENDINGS}


def _called(name: str, of_name: dict[str, list[ImageRecord]]) -> list[ImageRecord]:
    """The images whose files' paths end so; of a path of another machine, the last part counts."""
    name = posixpath.normpath(name)
    parts = tuple(name.split("/"))
    images = of_name.get(parts[-1], [])
    if whole := [image for image in images if image.path.absolute().as_posix() == name]:
        return whole
    parts = parts[-1:] if is_absolute(name) or "://" in name else parts
    return [image for image in images if image.path.parts[-len(parts) :] == parts]


def _distinct(path: Path, other: Path) -> str:
    """The end of a path, of two parts or more, which the other does not have."""
    ends = (path.parts[-count:] for count in range(2, len(path.parts)))
    return "/".join(next((end for end in ends if other.parts[-len(end) :] != end), path.parts[-2:]))
