"""Captions as JSON: Karpathy's form, COCO's, a list of objects, an object a line.

Each reader fills a `ReadResult` and goes on past bad entries; it raises only where the file as a whole cannot
be read.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distilcap.data.readers.entries import (
    CAPTION_NAMES,
    IMAGE_NAMES,
    ReadResult,
    image_id_of,
    is_text,
    split_in,
)
from distilcap.data.readers.located import Located, read_located_json, read_utf8_lines
from distilcap.errors import DataError
from distilcap.files import parse_json

__all__ = ["read_json_file", "read_lines"]


def read_json_file(path: Path, result: ReadResult, split: str | None = None) -> None:
    """Read any of the JSON forms; the form is seen from its keys. `split` counts where entries have none.

    Raises:
        DataError: it is not JSON, or none of the forms.
    """
    located = read_located_json(path, _without_tokens)
    images = located.lists.get("images", [])
    if "annotations" in located.lists:
        _read_coco(located, result, split or split_in(path.name))
    elif any(isinstance(value, dict) and "sentences" in value for value, _ in images):
        _read_karpathy(images, result, split)
    elif "" in located.lists:
        _read_records(located.lists[""], result, split)
    else:
        raise DataError(
            f"{path}: not a captions file. Expected Karpathy's form (a list `images` with `filename`, "
            "`split` and `sentences`), COCO's (`images` and `annotations`), or a list of objects with "
            "`image` and `caption`."
        )


def _read_karpathy(images: Sequence[tuple[Any, int]], result: ReadResult, split: str | None) -> None:
    """Karpathy's dataset_*.json; ids are COCO's numbers where there are any, else the file's stem."""
    for value, line in images:
        entry = value if isinstance(value, dict) else {}
        name, sentences = entry.get("filename"), entry.get("sentences")
        if not is_text(name) or not name or not isinstance(sentences, list):
            result.malformed('{"filename": …, "split": …, "sentences": […]}', line)
            continue
        number = entry.get("cocoid")
        image_id = str(number) if _is_id(number) else image_id_of(posixpath.basename(name))
        folder = entry.get("filepath")
        path = f"{folder}/{name}" if is_text(folder) and folder else name
        image = result.image(image_id, path, entry.get("split", split), line)
        if image is not None:
            texts = (" ".join(text["tokens"]) if _has_only_tokens(text) else text for text in sentences)
            result.captions(image, texts, line)


def _without_tokens(value: Any) -> Any:
    """Karpathy's file has every caption twice; as tokens it takes a gigabyte that nobody looks at."""
    sentences = value.get("sentences") if isinstance(value, dict) else None
    for sentence in sentences if isinstance(sentences, list) else ():
        if isinstance(sentence, dict) and "raw" in sentence:
            sentence.pop("tokens", None)
    return value


def _has_only_tokens(sentence: Any) -> bool:
    if not isinstance(sentence, dict) or "raw" in sentence:
        return False
    tokens = sentence.get("tokens")
    return isinstance(tokens, list) and all(isinstance(token, str) for token in tokens)


def _read_coco(located: Located, result: ReadResult, split: str | None) -> None:
    """COCO's captions_*.json; ids are its numbers."""
    for value, line in located.lists.get("images", []):
        entry = value if isinstance(value, dict) else {}
        name, number = entry.get("file_name"), entry.get("id")
        if not is_text(name) or not name or not _is_id(number):
            result.malformed('{"id": …, "file_name": …}', line)
            continue
        result.image(str(number), name, entry.get("split", split), line)
    for value, line in located.lists["annotations"]:
        entry = value if isinstance(value, dict) else {}
        number, text = entry.get("image_id"), entry.get("caption")
        if not _is_id(number) or not is_text(text):
            result.malformed('{"image_id": …, "caption": …}', line)
        elif str(number) not in result.entries:
            result.problem(
                "unknown image", f"there is a caption for image '{number}', which is not listed.", line
            )
        else:
            assert isinstance(text, str)
            result.caption(result.entries[str(number)], text, line)


def read_lines(path: Path, result: ReadResult, split: str | None = None) -> None:
    """Read JSON lines: an object a line, with `image`, and `caption` or `captions`, and perhaps `split`."""
    _read_records(_records(path), result, split)


def _records(path: Path) -> Iterator[tuple[Any, int]]:
    """The value and the number of each line; None where it is not JSON."""
    for number, line in enumerate(read_utf8_lines(path), 1):
        if line.strip():
            try:
                yield parse_json(line, path), number
            except DataError:
                yield None, number


def _read_records(records: Iterable[tuple[Any, int]], result: ReadResult, split: str | None) -> None:
    """Objects with `image` and `caption` or `captions`; an image may have more than one of them."""
    for value, line in records:
        record = value if isinstance(value, dict) else {}
        name = next((record[key] for key in IMAGE_NAMES if key in record), None)
        texts: Any = next((record[key] for key in CAPTION_NAMES if key in record), [])
        name = str(name) if _is_id(name) else name
        if not isinstance(name, str) or not is_text(name) or not name or not isinstance(texts, str | list):
            result.malformed('{"image": …, "caption": …}', line)
            continue
        image = result.image(image_id_of(name), name, record.get("split", split), line, repeats=True)
        if image is not None:
            result.captions(image, texts if isinstance(texts, list) else [texts], line)


def _is_id(value: Any) -> bool:
    """Whether a value is a number or a name; True and False are numbers to Python."""
    return (
        isinstance(value, int | str) and not isinstance(value, bool) and value != "" and is_text(str(value))
    )
