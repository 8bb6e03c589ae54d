"""Tables and objects with an image and its captions, whatever their columns are called."""

from __future__ import annotations

import functools
import posixpath
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from distilcap.data.readers.entries import ReadResult, image_id_of, is_text
from distilcap.errors import DataError
from distilcap.files import parse_json
from distilcap.options import Options, option
from distilcap.runtime.formats import IMAGE_FILE_ENDINGS

__all__ = ["BY_NAME", "Columns", "Roles", "add_record", "id_text", "roles_of", "texts_of"]

# What people call the columns of tables and the keys of objects, the likeliest first.
IMAGE_NAMES = (
    *("image", "filename", "file_name", "file", "image_name", "image_path", "path", "img"),
    *("filepath", "file_path", "img_path", "image_file", "image_id", "id"),
)
ID_NAMES = ("image_id", "id", "image")
_IDS = frozenset({"image_id", "id"})
CAPTION_NAMES = ("caption", "captions", "text", "sentence", "comment", "description")
# Such as caption_de and "text (en)"; not what counts and numbers captions, as comment_number does.
_NUMBERS = "ids?|no|num|number|index|count|length|len"
_OF_CAPTIONS = re.compile(rf"(?:{'|'.join(CAPTION_NAMES)})[\W_](?!(?:{_NUMBERS})$).*")
SPLIT_NAMES = ("split", "set")
NULLS = frozenset({"nan", "null", "none", "<na>", "n/a", "#n/a"})  # as pandas, R and Excel write them
_QUOTED = r"""'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\""""
_LIST = re.compile(rf"\[\s*(?:(?:{_QUOTED}|None|nan)(?:\s*,\s*|\s+)?)+\]", re.DOTALL)
_ITEM = re.compile(rf"{_QUOTED}|None|nan", re.DOTALL)


@dataclass(frozen=True)
class Columns(Options):
    """Columns of a table, or keys of objects, where their names do not say what they hold."""

    image_column: str | None = option(
        None, "Column, or key, with the image's file.  [default: image, file_name, path, …]"
    )
    caption_column: tuple[str, ...] = option(
        (), "Column, or key, with captions; may be given more than once.  [default: caption, text, …]"
    )
    split_column: str | None = option(None, "Column, or key, with train, val or test.  [default: split]")


BY_NAME: Final = Columns()
"""Columns are told by their names."""


@dataclass(frozen=True)
class Roles:
    """Which names hold what, of a table's header or an object's keys.

    Attributes:
        images: of the image's file or id, the likeliest first.
        captions: all of them hold captions.
        unread: others that may hold captions too.
    """

    images: tuple[str, ...]
    captions: tuple[str, ...]
    split: str | None
    unread: tuple[str, ...]

    @property
    def file_names(self) -> tuple[str, ...]:
        """Those of `images` that hold files; ids only where there are no others."""
        return tuple(name for name in self.images if name.casefold() not in _IDS) or self.images


@functools.lru_cache(maxsize=256)
def roles_of(names: tuple[str, ...], columns: Columns = BY_NAME, titles: bool = False) -> Roles:
    """Tell columns by their names, without case; those that a person named come before all.

    Captions are the first of `CAPTION_NAMES` that is there, and the same with a number (caption2, caption_3).
    Those with more behind them (caption_de) are for a person to choose from.

    Args:
        titles: `title` may hold captions too, if nothing else does.
    """
    folded = {name.strip().casefold(): name for name in reversed(names)}
    images = [folded[name] for name in IMAGE_NAMES if name in folded]
    captions: list[str] = []
    others: list[str] = []
    for stem in (*CAPTION_NAMES, "title") if titles else CAPTION_NAMES:
        same = [name for key, name in folded.items() if re.fullmatch(rf"{stem}([ _-]?\d+)?", key)]
        (others if captions else captions).extend(reversed(same))
    told = {*captions, *others}
    others += [name for key, name in folded.items() if name not in told and _OF_CAPTIONS.fullmatch(key)][::-1]
    split = next((folded[name] for name in SPLIT_NAMES if name in folded), None)
    if columns.caption_column:
        captions, others = list(columns.caption_column), []
    return Roles(
        (columns.image_column,) if columns.image_column else tuple(images),
        tuple(captions),
        columns.split_column or split,
        tuple(others),
    )


def add_record(
    result: ReadResult,
    record: Mapping[str, Any],
    roles: Roles,
    split: str | None,
    line: int | None,
    file: Path | None = None,
) -> bool:
    """Add an image and its captions from one row or object; False if it names no image.

    Where it has a path and an id, the image is found by the path and called by the id.

    Args:
        file: the image's, if it is known already.
    """
    values = {name: id_text(record.get(name)) for name in roles.images}
    given = {name: value for name, value in values.items() if value is not None}
    paths = {name: value for name, value in given.items() if name.casefold() not in _IDS} or given
    key = next((name for name, value in paths.items() if _is_file(value)), next(iter(paths), None))
    if key is None:
        return False
    name = result.prefix + paths[key]
    own = next(
        (value for other, value in given.items() if other.casefold() in ID_NAMES and other != key), None
    )
    own_split = _null_free(record.get(roles.split)) if roles.split else None
    image = result.image(
        image_id_of(name),
        name,
        split if own_split is None else own_split,
        line,
        repeats=True,
        own_id=own,
        split_column=roles.split or "split",
    )
    if image is not None:
        image.path = file or image.path
        texts = [text for column in roles.captions if column in record for text in texts_of(record[column])]
        if len(roles.captions) > 1 and any(texts):  # the last columns are empty where an image has fewer
            texts = [text for text in texts if text is not None and text != ""]
        result.captions(image, texts, line)
    return True


def texts_of(value: Any) -> list[Any]:
    """The captions in a cell or under a key: one, or a list, also as Python or JSON writes it into a cell.

    Null, NaN and, alone, the words for it are None; what is no caption stays what it is.
    """
    if isinstance(value, list):
        return [None if item != item else item for item in value]
    if not isinstance(value, str):
        return [None if value is None or value != value else value]
    text = value.strip()
    if text.casefold() in NULLS:
        return [None]
    if text.startswith("[") and text.endswith("]"):
        return _listed(text) or [value]
    return [value]


def _listed(text: str) -> list[Any]:
    """The strings of a list that is written as JSON, as Python, or as numpy (without commas)."""
    try:
        items = parse_json(text, "")
        return items if all(isinstance(item, str | None) for item in items) else []
    except DataError:
        pass
    if not _LIST.fullmatch(text):
        return []
    found = [item[1:-1] if item[0] in "'\"" else None for item in _ITEM.findall(text)]
    return [item and re.sub(r"\\(.)", _unescaped, item, flags=re.DOTALL) for item in found]


def _unescaped(match: re.Match[str]) -> str:
    return {"n": "\n", "t": "\t", "r": "\r"}.get(match[1], match[1])


def id_text(value: Any) -> str | None:
    """An id or a name as text; a whole number that some program wrote as 7.0 is 7. None if it is neither."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int | str):
        return None
    text = str(value)
    if text.endswith(".0") and text[:-2].isdecimal():
        text = text[:-2]
    return text if text and is_text(text) else None


def _is_file(name: str) -> bool:
    return posixpath.splitext(name)[1].lower() in IMAGE_FILE_ENDINGS


def _null_free(value: Any) -> Any:
    """An empty cell of the column of splits is no split."""
    if isinstance(value, str):
        value = value.strip()
    return None if value == "" or value is None or value != value else value
