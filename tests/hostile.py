"""What hostile files hold, and what a person reads about them."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from typing import Any

from distilcap.errors import DistilCapError

# Whole data sets of three forms, to be broken value by value.
KARPATHY = {
    "images": [
        {"filename": f"{n}.jpg", "filepath": "images", "cocoid": n, "split": split, "imgid": n,
         "sentences": [{"raw": f"a dog {n}", "tokens": ["a"]}, {"tokens": ["a", "cat"]}]}
        for n, split in enumerate(("restval", "test"))
    ],
    "dataset": "x",
}  # fmt: skip
COCO = {
    "images": [{"id": 1, "file_name": "1.jpg"}, {"id": 2, "file_name": "2.jpg"}],
    "annotations": [{"image_id": 1, "id": 7, "caption": "a dog"}, {"image_id": 2, "id": 8, "caption": "b"}],
}
RECORDS = [
    {"image": "1.jpg", "captions": ["a dog", "a cat"], "split": "train"},
    {"file_name": "2.jpg", "caption": "a dog", "split": "val"},
    {"image": 3, "captions": [{"text": "a"}, {"raw": "b"}, {"caption": "c"}], "split": "test"},
]

DEEP, LONG = 100_000, 5_000
UNUSABLE: dict[str, bytes] = {
    "empty": b"",
    "cut": b'{"images": [{"filename": "a.jpg"',
    "deep list": b"[" * DEEP,
    "deep list, closed": b"[" * DEEP + b"]" * DEEP,
    "deep object": b'{"images":' * DEEP + b"1" + b"}" * DEEP,
    "deep inside": b'{"images": [' + b"[" * DEEP + b"]" * DEEP + b"]}",
    "long number": b'{"images": [{"id": ' + b"9" * LONG + b"}]}",
    "NaN": b'{"images": NaN}',
    "infinity": b'[{"image": "a.jpg", "caption": "x", "score": -Infinity}]',
    "not UTF-8": b'{"images": [{"filename": "\xff.jpg"}]}',
    "UTF-16": '{"images": []}'.encode("utf-16"),
    "zeros": b"\0" * 100,
    "picture": b"\x89PNG\r\n\x1a\n" + bytes(range(256)),
    "half a character": b'{"images": [{"filename": "\\ud800.jpg", "split": "train", "sentences": ["a"]}]}',
    "two values": b"{} {}",
    "escape": b'{"\x1b[31m": 1}',
    "number": b"1e400",
    "text": b'"images"',
    "null": b"null",
}
ODD = (
    None, True, -1, 0.5, 10**400, "", "\ud800", "\x1b[2J", "[/b]", "../../x", "a" * 5000, [], [[]], {},
    {"": None}, ["\udcff"], [None, 1], {"text": 3},
)  # fmt: skip


def error_of(work: Callable[[], object]) -> str | None:
    """What a person reads; anything else than a `DistilCapError` is a bug and fails the test."""
    try:
        work()
    except DistilCapError as error:
        return str(error)
    return None


def places(content: Any, way: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The ways to all values of JSON."""
    yield way
    inner = (
        content.items()
        if isinstance(content, dict)
        else enumerate(content)
        if isinstance(content, list)
        else ()
    )
    for key, value in inner:
        yield from places(value, (*way, key))


def changed(content: Any, way: tuple[Any, ...], value: Any) -> Any:
    """A copy with another value there; `...` leaves it out."""
    if not way:
        return None if value is ... else value
    content = copy.deepcopy(content)
    inner = content
    for key in way[:-1]:
        inner = inner[key]
    if value is ...:
        del inner[way[-1]]
    else:
        inner[way[-1]] = value
    return content
