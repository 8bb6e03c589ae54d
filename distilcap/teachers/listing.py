"""Which images are to be captioned, under which names: of a folder, of a list, or of packed files."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from distilcap.data.readers import read_dataset
from distilcap.data.readers.entries import image_id_of
from distilcap.errors import DataError
from distilcap.locks import LOCK, LockedError, lock_folder, remove_locked
from distilcap.runtime.formats import find_image_files, is_image_file, left_out
from distilcap.teachers.shard_files import Shard

__all__ = ["Listing", "NamedImage", "escaped", "find_images", "list_ahead", "named_images"]

PACKED = (".tar", ".parquet")
"""Endings of files that hold many images."""

_HELD = 200_000  # names in memory, at most, before they go to their parts' files


def find_images(source: Path, others: Counter[str] | None = None) -> Iterator[Path]:
    """All images of a folder and its subfolders, or those that a text file lists, a path a line.

    Args:
        source: the folder, the list, or a single image.
        others: receives how many files of each ending in the folder are no images.

    Raises:
        DataError: there is no such folder or file, or it is no text.
    """
    if source.is_dir():
        yield from find_image_files(source, others)
        return
    try:
        if is_image_file(source):
            yield source
            return
        # Names of files are bytes; those that are not UTF-8 are kept as Python keeps them.
        listed = os.fsdecode(source.read_bytes()).removeprefix("\ufeff")
    except FileNotFoundError:
        raise DataError(f"{source}: there is no such folder of images, nor a list of them.") from None
    if "\0" in listed:
        raise DataError(f"{source}: not a list of images, a path a line in UTF-8.")
    yield from (source.parent / line.strip() for line in listed.split("\n") if line.strip())


@dataclass(frozen=True)
class NamedImage:
    """An image to be captioned.

    Attributes:
        name: in its folder, its list or its packed file. It may hold bytes that are not UTF-8.
        unpacked: whether it lies in this machine's cache.
    """

    name: str
    path: Path
    unpacked: bool = False

    @property
    def id(self) -> str:
        """The name without the ending of an image."""
        return image_id_of(escaped(self.name))


def escaped(text: str) -> str:
    """A file's name may hold bytes that are not UTF-8, which a file of captions cannot."""
    return text.encode("utf-8", "xmlcharrefreplace").decode()


def named_images(source: Path, others: Counter[str] | None = None) -> Iterator[NamedImage]:
    """The images of `find_images`, or of `.tar` or Parquet files.

    These are one file, or a folder that holds such files and no image, or paths in a list; they are unpacked
    into the cache. Names are paths in the folder; or in the packed file; or the list's folder with what
    the list says, and there with a packed file's folder, since two may have images of one name.

    Args:
        source, others: see `find_images`.

    Raises:
        DataError: there is no image at all.
    """
    others = Counter() if others is None else others
    image = None
    for image in _named(source, others):
        yield image
    if image is None:
        reason = f" ({left_out(others)})" if others else ""
        raise DataError(f"{source}: there are no images{reason}.")


def _named(source: Path, others: Counter[str]) -> Iterator[NamedImage]:
    if _is_packed(source):
        yield from _unpacked(source)
    elif source.is_dir():
        loose, above = False, f"{source.as_posix().rstrip('/')}/"
        for path in find_images(source, others):
            loose = True
            yield NamedImage(path.as_posix().removeprefix(above), path)  # `relative_to` takes 20 us
        if not loose and any(others[ending] for ending in PACKED):
            others.clear()
            yield from _unpacked(source)
    else:
        for path in find_images(source):
            # A packed file of a list that cannot be read is skipped and named as an image would be.
            yield from _unpacked_of_list(path) if _is_packed(path) else (NamedImage(str(path), path),)


def _is_packed(path: Path) -> bool:
    return path.suffix.lower() in PACKED and path.is_file()


def _unpacked(source: Path, before: str = "") -> Iterator[NamedImage]:
    for image in read_dataset(source).images:
        yield NamedImage(before + image.id, image.path, unpacked=True)


def _unpacked_of_list(path: Path) -> Iterator[NamedImage]:
    try:
        yield from _unpacked(path, f"{path.parent}/")
    except DataError:
        yield NamedImage(str(path), path)


@dataclass(frozen=True)
class Listing:
    """All images of a labelling, listed once for all of its parts.

    Attributes:
        folder: has a file for each part, a line of JSON an image.
        images: how many there are in all parts.
        others: see `find_images`.
    """

    folder: Path
    images: int
    others: Counter[str]

    def of(self, shard: Shard) -> Iterator[NamedImage]:
        """A part's images.

        Raises:
            DataError: the list is gone.
        """
        try:
            lines = (self.folder / str(shard)).open()
        except FileNotFoundError:
            raise DataError(
                f"{self.folder / str(shard)}: the list of this part is gone; run it again."
            ) from None
        with lines:
            for line in lines:
                name, path = json.loads(line)
                yield NamedImage(name, Path(path))


@contextmanager
def list_ahead(source: Path, folder: Path, shards: int) -> Iterator[Listing | None]:
    """List the images of all parts: a part that lists by itself must look at the images of all others, too.

    Until the end of the block the lists lie in a hidden folder of `folder`. None for packed files, which each
    machine unpacks into its own cache.

    Raises:
        DataError: another process lists into this folder; or see `named_images`.
    """
    lists = folder / ".lists"
    lists.mkdir(parents=True, exist_ok=True)
    try:
        lock = lock_folder(lists)
    except FileNotFoundError:  # another process has just removed it
        raise LockedError(lists) from None
    try:
        for left in lists.iterdir():  # of a killed process
            if left.name != LOCK:
                left.unlink()
        yield _listed(source, lists, shards)
    finally:
        remove_locked(lists, lock)


def _listed(source: Path, lists: Path, shards: int) -> Listing | None:
    held: dict[int, list[str]] = {}
    others = Counter[str]()
    images = 0
    for image in named_images(source, others):
        if image.unpacked:
            return None
        number = Shard.number_of(image.id, shards)
        held.setdefault(number, []).append(json.dumps([image.name, str(image.path)]) + "\n")
        images += 1
        if images % _HELD == 0:
            _append(held, lists, shards)
    _append(held, lists, shards)
    for number in range(shards):
        (lists / str(Shard(number, shards))).touch()
    return Listing(lists, images, others)


def _append(held: dict[int, list[str]], lists: Path, shards: int) -> None:
    for number, lines in held.items():
        with (lists / str(Shard(number, shards))).open("a") as file:
            file.writelines(lines)
    held.clear()
