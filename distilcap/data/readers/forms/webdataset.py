"""WebDataset's and img2dataset's `.tar` files: 0001.jpg, 0001.txt, 0001.json, one sample after another."""

from __future__ import annotations

import functools
import itertools
import posixpath
import tarfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePath

from distilcap.data.readers.entries import ReadResult, is_text, known_split, split_in
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.sides import SIDE_ENDINGS, add_side_captions
from distilcap.data.readers.source import Source
from distilcap.data.readers.unpacked import Unpacked
from distilcap.errors import DataError
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS

__all__ = ["FORM"]

_ENDINGS = (".tar", ".tar.gz", ".tgz")
_LARGEST_TEXT = 16 << 20


def _tars(source: Source) -> list[Path]:
    if not source.path.is_dir():
        return [source.path] if source.path.name.lower().endswith(_ENDINGS) else []
    files = (file for home in (source, *map(source.within, source.folders)) for file in home.files)
    return [file for file in files if file.name.lower().endswith(_ENDINGS)]


def _read(source: Source, result: ReadResult) -> None:
    """An image's id is the archive's name and the sample's, as where the archive is a folder."""
    for tar in _tars(source):
        result.where = tar
        inside = tar.parent.relative_to(source.path) if source.path.is_dir() else PurePath()
        told = next((split for part in inside.parts if (split := known_split(part))), None)
        stem = (inside / tar.name.partition(".")[0]).as_posix()
        _read_tar(tar, stem, result, source.split or told or split_in(tar.name))
    if not result.entries:
        raise DataError(f"{source.path}: there is no image in it.")


def _read_tar(path: Path, stem: str, result: ReadResult, split: str | None) -> None:
    unpacked = Unpacked(path)
    try:
        with tarfile.open(path) as tar:
            for key, sample in itertools.groupby(_members(tar), lambda member: _key(member.name)):
                texts: dict[str, str] = {}
                images: list[tarfile.TarInfo] = []
                for member in sample:
                    ending = posixpath.splitext(member.name)[1].lower()
                    if ending in SIDE_ENDINGS and member.size <= _LARGEST_TEXT:
                        texts[ending] = _content(tar, member).decode("utf-8-sig", errors="replace")
                    elif ending in IMAGE_FILE_ENDINGS:
                        images.append(member)
                for member in images:
                    name = f"{stem}/{member.name.removeprefix('./')}"
                    if not is_text(name):
                        result.problem("file name", f"{name!r} is not UTF-8; rename it.", None)
                        continue
                    image = result.image(f"{stem}/{key}", name, split, None)
                    if image is not None:
                        content = functools.partial(_content, tar, member)
                        image.path = unpacked.put(member.name, member.size, content)
                        add_side_captions(result, image, texts)
        if path.suffix == ".tar" and any(_end_of(path)):
            raise EOFError("unexpected end of data")  # which `tarfile` passes over
    except (tarfile.TarError, OSError, EOFError, zlib.error) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        result.malformed(f"an archive that is whole; what is before the damage was read ({error})", None)


def _end_of(path: Path) -> bytes:
    """Of a whole archive these are zeros."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - 1024))
        return file.read()


def _members(tar: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    return (
        member for member in tar if member.isfile() and not posixpath.basename(member.name).startswith(".")
    )


def _key(name: str) -> str:
    """The sample that a file belongs to: its path up to the first dot of its name."""
    folder, base = posixpath.split(name.removeprefix("./"))
    return posixpath.join(folder, base.partition(".")[0])


def _content(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    file = tar.extractfile(member)
    assert file is not None
    content = file.read()
    if len(content) < member.size:
        raise EOFError(f"{member.name} ends too early")
    return content


FORM = DataForm(
    "WebDataset and img2dataset archives",
    "00000.tar: 0001.jpg, 0001.txt",
    lambda source: bool(_tars(source)),
    _read,
)
register_form(FORM)
