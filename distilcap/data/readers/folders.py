"""A folder of images, with captions in text files of the same names or without."""

from __future__ import annotations

from pathlib import Path

from distilcap.data.readers.entries import IMAGE_ENDINGS, Entry, ReadResult, image_id_of, is_text, known_split
from distilcap.data.readers.located import read_utf8_lines
from distilcap.errors import DataError

__all__ = ["read_folder"]


def read_folder(folder: Path, result: ReadResult, split: str | None = None) -> None:
    """Read a folder of images; a text file of the same name holds an image's captions, a caption a line.

    Images in a first-level folder called train, val or test belong to that split.
    """
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not file.name.startswith("."))
    names = {file: file.relative_to(folder).as_posix() for file in files}
    texts = {file.with_suffix(""): file for file in files if file.suffix.lower() == ".txt"}
    for file in files:
        if file.suffix.lower() not in IMAGE_ENDINGS:
            continue
        name = names[file]
        top = known_split(name.partition("/")[0]) if "/" in name else None
        if not is_text(name):
            result.malformed(f"UTF-8 in the file name {name!r}", None)
            continue
        image = result.image(image_id_of(name), name, top or split, None)
        captions = texts.pop(file.with_suffix(""), None)
        if image is not None and captions is not None:
            _read_text(captions, result, image)
    for file in texts.values():
        if not file.stem.lower().startswith(("readme", "license", "licence")):
            result.problem(
                "unknown image", f"'{names[file]}' has captions, but there is no image of that name.", None
            )


def _read_text(path: Path, result: ReadResult, image: Entry) -> None:
    """A caption a line; a bad file must not hide the problems of the others."""
    home, result.where = result.where, path
    try:
        lines = list(read_utf8_lines(path)) or [""]  # an empty file is an empty caption
        while len(lines) > 1 and not lines[-1]:
            lines.pop()
        for number, text in enumerate(lines, 1):
            result.caption(image, text, number)
    except DataError:
        result.malformed("a caption a line as UTF-8 text", None)
    result.where = home
