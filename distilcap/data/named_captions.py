"""Captions of a data set's images from a file that names image files: which caption is whose."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path

from distilcap.data.caption_files import read_references
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import ADDED, Dataset, ImageRecord
from distilcap.data.readers import Source, form_of
from distilcap.data.readers.entries import ReadResult, image_id_of, is_absolute
from distilcap.data.readers.find import NEARLY, folded
from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS
from distilcap.shown import counted

__all__ = ["by_ids_of", "captions_for"]


def captions_for(
    dataset: Dataset, path: Path, line_breaks: bool = False, progress: Progress = SILENT
) -> CaptionSet:
    """Read captions, each under the id that its image has in a data set; others keep the ids of the file.

    The ids of two files need not be the same: one counts its images, another names files. An image that the
    captions file knows by a file's name is the one whose file has that name, wherever just one has; where
    none has, the one whose file's name or id differs by case or Unicode form alone.

    Args:
        path, line_breaks, progress: see `read_references`.

    Raises:
        DataError: it cannot be read, or see `by_ids_of`.
    """
    captions, nearly = by_ids_of(dataset, read_references(path, line_breaks, progress), path)
    if nearly:
        progress.note(f"{path}: {counted(nearly, 'image')} found {NEARLY}.")
    return captions


def by_ids_of(dataset: Dataset, captions: CaptionSet, path: Path) -> tuple[CaptionSet, int]:
    """The captions of a file, each under the id that its image has in a data set; see `captions_for`.

    Returns:
        Also how many are of images whose names are nearly the same.

    Raises:
        DataError: an id is one image's and the file named with it another's, or it may be that of an image
            that was added to the data; or two entries are one image's.
    """
    known = {image.id: image for image in dataset.images}
    files = _Files(dataset.images)
    names = _file_names(path, captions)
    fitted: dict[str, str] = {}
    for id in captions:
        name = names.get(id, id).replace("\\", "/")
        if id in known:
            fitted[id] = _of_known_id(id, name, known, files, path) if id in names else id
        else:
            called = [known[name]] if name in known else files.called(name)
            fitted[id] = called[0].id if len(called) == 1 else id
    exact, near = set(fitted.values()), defaultdict(list)
    for id in captions:
        if fitted[id] not in known and (image := files.nearly(names.get(id, id))) and image.id not in exact:
            near[image.id].append(id)
    nearly = {called[0]: image for image, called in near.items() if len(called) == 1}
    fitted |= nearly
    ids: dict[str, str] = {}
    for id, of_data in fitted.items():
        if of_data in ids:
            raise DataError(
                f"{path}: images {ids[of_data]!r} and {id!r} are both image {of_data!r} of the data. Write "
                f'the data\'s ids: {{"image_id": "{of_data}", "caption": …}}.'
            )
        ids[of_data] = id
    return CaptionSet({of_data: captions[id] for of_data, id in ids.items()}), len(nearly)


def _of_known_id(id: str, name: str, known: dict[str, ImageRecord], files: _Files, path: Path) -> str:
    """The id of what a file calls by a name, of which its reader made an id that an image of the data has."""
    so_called = files.called(name)
    called = [known[name]] if name in known else so_called
    file = called[0] if len(called) == 1 else None
    if file is not None and file.id != id:
        raise DataError(
            f"{path}: image {name!r} would be called {id!r}, which is the id of "
            f"{known[id].path.name} in the data; the file {file.path.name} has id {file.id!r} there. "
            f'Write the data\'s ids: {{"image_id": "{file.id}", "caption": …}}.'
        )
    other = so_called[0] if so_called and so_called[0].id.startswith(ADDED) else known[id]
    if other.id != id:
        raise DataError(
            f"{path}: image {name!r} may be {known[id].path} or {other.path}. Write more of its "
            f"path, such as {_distinct(other.path, known[id].path)!r}."
        )
    # A number counts images: it is a file's name by chance, unless the image's file is so called,
    # perhaps with zeros before, as COCO's 000000391895.jpg is.
    by_chance = not called and id.isdecimal() and id == image_id_of(name)
    return name if by_chance and not re.search(rf"(^|_)0*{id}$", known[id].path.stem) else id


class _Files:
    """Images by the names of their files, which are looked up by a name or the end of a path."""

    def __init__(self, images: Iterable[ImageRecord]) -> None:
        self._images = sorted(images, key=lambda image: not image.id.startswith(ADDED))
        self._found: dict[object, dict[str, list[ImageRecord]]] = {}

    def called(self, name: str) -> list[ImageRecord]:
        """The images whose files' paths end so, those that were added to the data first; of a path of another
        machine, the last part counts."""
        whole = self._by(None, lambda image: image.path.absolute().as_posix()) if is_absolute(name) else {}
        return whole.get(posixpath.normpath(name)) or self._ending(name, str)

    def nearly(self, name: str) -> ImageRecord | None:
        """The only image whose id, or else the end of its path, is so but for case and Unicode form."""
        of_id = self._by(folded, lambda image: folded(image.id)).get(folded(name))
        images = of_id or self._ending(name, folded)
        return images[0] if len(images) == 1 else None

    def _ending(self, name: str, form: Callable[[str], str]) -> list[ImageRecord]:
        name = form(name)
        name = posixpath.basename(name) if is_absolute(name) or "://" in name else posixpath.normpath(name)
        parts = name.count("/") + 1
        return self._by(
            (form, parts), lambda image: "/".join(form(image.path.as_posix()).split("/")[-parts:])
        ).get(name, [])

    def _by(self, key: object, of_image: Callable[[ImageRecord], str]) -> dict[str, list[ImageRecord]]:
        """Each way of looking up goes through all images once."""
        if key not in self._found:
            found = self._found[key] = defaultdict(list)
            for image in self._images:
                found[of_image(image)].append(image)
        return self._found[key]


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


def _distinct(path: Path, other: Path) -> str:
    """The end of a path, of two parts or more, which the other does not have."""
    ends = (path.parts[-count:] for count in range(2, len(path.parts)))
    return "/".join(next((end for end in ends if other.parts[-len(end) :] != end), path.parts[-2:]))
