"""Which files are images, judged by their content, and how Pillow opens them: by a fixed list of formats.

What is an image but cannot be read here (HEIC without its package, JPEG XL, camera raw) is named with a way
to read it; what is no image is counted by ending.
"""

from __future__ import annotations

import functools
import io
import os
import struct
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError

from distilcap.errors import DataError
from distilcap.integrity import CHECKSUMS
from distilcap.shown import some

__all__ = [
    "FORMATS",
    "IMAGE_FILE_ENDINGS",
    "find_image_files",
    "is_image_file",
    "left_out",
    "open_image",
    "written_folders",
]

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "JPEG2000", "AVIF", "HEIF", "PPM", "TGA")
"""What is opened, in Pillow's names. EPS is never: it would start another program."""

_READ = frozenset(
    {".jpg", ".jpeg", ".jpe", ".jfif", ".mpo", ".png", ".webp", ".gif", ".bmp", ".dib", ".tif", ".tiff"}
    | {
        ".jp2",
        ".j2k",
        ".jpx",
        ".jpc",
        ".avif",
        ".heic",
        ".heif",
        ".hif",
        ".ppm",
        ".pgm",
        ".pbm",
        ".pnm",
        ".tga",
    }
)
_ADVICE = {
    "HEIC": "an HEIC photograph; `pip install 'distilcap[heic]'` reads it",
    "AVIF": "an AVIF image; Pillow 11.3 or newer reads it",
    "JPEG XL": "a JPEG XL image; save it as JPEG or PNG",
    "camera raw": "a camera's raw file; export it as JPEG",
    "PSD": "a Photoshop file; export it as JPEG or PNG",
}
_RAW = frozenset({".dng", ".cr2", ".cr3", ".nef", ".arw", ".raf", ".orf", ".rw2", ".pef", ".srw"})
IMAGE_FILE_ENDINGS = _READ | _RAW | {".jxl", ".psd"}
_HEIF = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")
_TIFF = (b"II*\0", b"MM\0*")
_SIGNATURES = (
    *((0, start, "") for start in (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", *_TIFF)),
    *((0, start, "") for start in (b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51")),
    (8, b"WEBPVP8", ""),
    *((4, b"ftyp" + brand, "HEIC") for brand in _HEIF),
    *((4, b"ftyp" + brand, "AVIF") for brand in (b"avif", b"avis")),
    *((0, start, "JPEG XL") for start in (b"\xff\x0a", b"\0\0\0\x0cJXL ")),
    *((0, start, "camera raw") for start in (b"FUJIFILMCCD", b"IIRO", b"IIU\0")),
    (4, b"ftypcrx", "camera raw"),
    (0, b"8BPS", "PSD"),
)
_TEXT = frozenset({".txt", ".caption", ".json", ".jsonl", ".csv", ".tsv", ".md", ".html", ".xml", ".parquet"})
_VIDEO = frozenset({".mov", ".mp4", ".m4v", ".avi", ".mkv", ".webm", ".3gp"})
_BARE, _LINKED, _WRITTEN = "without an ending", "linked folders", "written: "
_RESULTS = frozenset({"report.html", "results.json"}), frozenset({"stage.json", CHECKSUMS})
"""What is in folders that distilcap wrote: reports with pictures, and stages of a store."""
_DROPPED = {b"tEXt", b"zTXt", b"iTXt", b"iCCP"}  # of a PNG: none changes a pixel that we read

# Metadata of photographs are often broken, which is no remark for the terminal. A filter for all, since
# `warnings.catch_warnings` would not do: images are decoded in threads.
warnings.filterwarnings("ignore", category=UserWarning, module=r"PIL\.")


def open_image(source: Path | bytes, check_size: bool = True) -> Image.Image:
    """Open an image, without decoding it yet; its content says what it is, not its name.

    Args:
        check_size: have Pillow warn of large ones, and refuse larger ones.

    Raises:
        DataError: of a kind that cannot be read here, with how to; the message names no file.
        UnidentifiedImageError: no image, or of no known kind.
        OSError: no such file, and whatever Pillow raises about damaged ones.
    """
    kind, head = _kind_of(source)
    if kind == "camera raw":
        raise DataError(f"{_ADVICE[kind]}.")
    known = _registered() if kind != "HEIC" or not _heif_registered() else (*_registered(), "HEIF")
    if head.startswith(b"\x89PNG"):
        source = _without_texts(source if isinstance(source, bytes) else source.read_bytes())
    try:
        if not check_size:
            return _open_unchecked(source, head, known)
        return Image.open(source if isinstance(source, Path) else io.BytesIO(source), formats=known)
    except UnidentifiedImageError:
        if kind:
            raise DataError(f"{_ADVICE[kind]}.") from None
        raise


def _open_unchecked(source: Path | bytes, head: bytes, known: Iterable[str]) -> Image.Image:
    """`Image.open` without its check of the size, whose limit and warning are the whole program's."""
    for name in known:
        factory: Any
        factory, accept = Image.OPEN[name]
        accepted = accept is None or accept(head)  # text is why it cannot be read here
        if not accepted or isinstance(accepted, str):
            continue
        try:
            image: Image.Image = factory(str(source) if isinstance(source, Path) else io.BytesIO(source), "")
        except (SyntaxError, IndexError, TypeError, struct.error):  # as Pillow's formats tell another one
            continue
        return image
    raise UnidentifiedImageError


def _kind_of(source: Path | bytes) -> tuple[str, bytes]:
    """The key of `_ADVICE` that a file's first bytes say, or "", and these bytes."""
    if isinstance(source, bytes):
        head = source[:32]
    else:
        with source.open("rb") as file:
            head = file.read(32)
        if head.startswith(_TIFF) and source.suffix.lower() in _RAW:  # what Pillow reads is a thumbnail
            return "camera raw", head
    return next((kind for at, sign, kind in _SIGNATURES if head.startswith(sign, at)), ""), head


@functools.cache
def _registered() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN and name != "HEIF")


@functools.cache
def _heif_registered() -> bool:
    try:
        from pillow_heif import register_heif_opener
    except ImportError:
        return False
    register_heif_opener()
    return True


def _without_texts(png: bytes) -> bytes:
    """Drop a PNG's texts and colour profile, which Pillow unpacks up to a limit and else gives up."""
    if not any(name in png for name in _DROPPED):
        return png
    kept, at = [png[:8]], 8
    while at + 8 <= len(png):
        (length,) = struct.unpack_from(">I", png, at)
        if png[at + 4 : at + 8] not in _DROPPED:
            kept.append(png[at : at + 12 + length])
        at += 12 + length
    return b"".join(kept)


def is_image_file(path: Path) -> bool:
    """Whether a file is an image, read here or not: by its ending, or where that says nothing, by content.

    A file that cannot be opened is none.
    """
    ending = path.suffix.lower()
    if ending in IMAGE_FILE_ENDINGS or ending in _TEXT:
        return ending in IMAGE_FILE_ENDINGS
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with path.open("rb") as file:
            head = file.read(32)
    except OSError:
        return False
    return any(head.startswith(sign, at) for at, sign, _ in _SIGNATURES)


def find_image_files(folder: Path, others: Counter[str] | None = None) -> Iterator[Path]:
    """All images of a folder and its subfolders, sorted within each; hidden files and folders are left out.

    So are folders below it that distilcap wrote: their images are copies, some of test images.

    Args:
        others: receives what is left out, for `left_out`: files that are no images by ending, linked folders,
            which may lead round in a circle, and folders that cannot be read or that distilcap wrote.
    """
    others = Counter() if others is None else others

    def unreadable(error: OSError) -> None:
        others[f"folder {error.filename} cannot be read ({error.strerror})"] += 1

    for where, folders, names in os.walk(folder, onerror=unreadable):
        if any(marks.issubset(names) for marks in _RESULTS) and Path(where) != folder:
            others[f"{_WRITTEN}{Path(where).relative_to(folder).as_posix()}"] += 1
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        if linked := sum(os.path.islink(os.path.join(where, name)) for name in folders):
            others[_LINKED] += linked
        for name in sorted(names):
            path = Path(where, name)
            if name.startswith("."):
                continue
            if is_image_file(path):
                yield path
            else:
                others[path.suffix.lower() or _BARE] += 1


def left_out(others: Counter[str]) -> str:
    """What is no image, in words: "4 other files left out, of no image format: 3 .mov …"; "" for none."""
    files = Counter({kind: count for kind, count in others.items() if kind.startswith((".", _BARE))})
    said = []
    if files:
        counted = ", ".join(f"{count:,} {ending}" for ending, count in files.most_common())
        hint = " (of videos, save frames as JPEG)" if _VIDEO & files.keys() else ""
        plural = "s" * (files.total() > 1)
        said.append(f"{files.total():,} other file{plural} left out, of no image format: {counted}{hint}")
    if linked := others[_LINKED]:
        said.append(f"{linked:,} linked folder{'s' * (linked > 1)} not entered (links are not followed)")
    if written := written_folders(others):
        said.append(f"not read, since distilcap wrote it: {some(written, 5)}")
    told = (*files, _LINKED, *(f"{_WRITTEN}{name}" for name in written))
    return "; ".join([*said, *(kind for kind in others if kind not in told)])


def written_folders(others: Counter[str]) -> list[str]:
    """Of what `find_image_files` left out, the folders that distilcap wrote, as paths from the folder."""
    return sorted(kind.removeprefix(_WRITTEN) for kind in others if kind.startswith(_WRITTEN))
