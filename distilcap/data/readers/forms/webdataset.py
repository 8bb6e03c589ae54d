"""WebDataset's and img2dataset's `.tar` files: 0001.jpg, 0001.txt, 0001.json, one sample after another."""

from __future__ import annotations

import functools
import posixpath
import tarfile
import zlib
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path, PurePath

from distilcap.archives import Member
from distilcap.data.readers.entries import Entry, ReadResult, is_text, known_split, split_in
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.sides import SIDE_ENDINGS, add_side_captions
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import decode_text
from distilcap.data.readers.unpacked import Unpacked
from distilcap.errors import DataError
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS
from distilcap.shown import some

__all__ = ["FORM"]

_ENDINGS = (".tar", ".tar.gz", ".tgz")
_LARGEST_TEXT, _LARGEST_IMAGE = 16 << 20, 512 << 20


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
    images: dict[str, Entry] = {}
    texts: dict[str, bytes] = {}
    try:
        with tarfile.open(path, tarinfo=Member) as tar:
            for member in _members(tar):
                bare = member.name.removeprefix("./")
                ending = posixpath.splitext(bare)[1].lower()
                if member.issparse():  # of any size in a few bytes
                    result.malformed(f"files that are whole, but {bare!r} is sparse", None)
                elif ending in SIDE_ENDINGS and member.size <= _LARGEST_TEXT:
                    texts[bare] = _content(tar, member)
                elif ending in IMAGE_FILE_ENDINGS:
                    name = f"{stem}/{bare}"
                    if not is_text(name):
                        result.problem("file name", f"{name!r} is not UTF-8; rename it.", None)
                        continue
                    if member.size > _LARGEST_IMAGE:
                        largest = f"images of at most {_LARGEST_IMAGE >> 20} MiB"
                        result.malformed(f"{largest}, but {bare!r} is larger", None)
                        continue
                    image = result.image(f"{stem}/{_key(bare)}", name, split, None)
                    if image is not None:
                        content = functools.partial(_content, tar, member)
                        image.path = unpacked.put(member.name, member.size, content)
                        images[bare] = image
        if path.suffix == ".tar" and any(_end_of(path)):
            raise EOFError("unexpected end of data")  # which `tarfile` passes over
    except (tarfile.TarError, OSError, EOFError, zlib.error, RecursionError) as error:
        if isinstance(error, OSError) and error.errno:
            raise
        result.malformed(f"an archive that is whole; what is before the damage was read ({error})", None)
    _add_captions(path, result, images, texts)


def _add_captions(path: Path, result: ReadResult, images: dict[str, Entry], texts: dict[str, bytes]) -> None:
    """Give images the texts that are called as they are, or as the sample; or any of a sample with one image.

    They need not lie side by side, as `tar` without `--sort=name` leaves them.
    """
    sides: dict[str, dict[str, str]] = defaultdict(dict)  # names of texts by what they are called, and ending
    loose: dict[str, dict[str, str]] = defaultdict(dict)  # by sample
    called = (
        {posixpath.splitext(name)[0] for name in images} | images.keys() | {_key(name) for name in images}
    )
    for name in texts:
        without, ending = posixpath.splitext(name)
        (sides[without] if without in called else loose[_key(name)])[ending.lower()] = name
    counts = Counter(map(_key, images))
    for name, image in images.items():
        key = _key(name)
        found = loose.pop(key, {}) if counts[key] == 1 else {}
        found |= sides.get(posixpath.splitext(name)[0]) or sides.get(name) or sides.get(key) or {}
        for ending in [ending for ending in SIDE_ENDINGS if ending in found][:1]:
            file = path / found[ending]
            try:
                text = decode_text(texts[found[ending]], file, result.notes.append)
            except DataError:
                result.problem("malformed entry", "expected a caption a line as UTF-8 text.", None, file)
            else:
                add_side_captions(result, image, {ending: text})
    unknown = [name for of_key in loose.values() for end, name in of_key.items() if end != ".json"]
    if unknown:
        are = "text belongs" if len(unknown) == 1 else "texts belong"
        result.notes.append(f"{path}: {len(unknown):,} {are} to no image: {some(unknown)}.")


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
    folder, base = posixpath.split(name)
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
