"""`CaptionSet`: the one type for references, pseudo-captions and model output.

Sequence-level distillation (Kim & Rush 2016) is then ordinary training on another `CaptionSet`.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from distilcap.errors import DataError
from distilcap.files import checksum_file, parse_json, sha256_of, verify_checksum, write_text
from distilcap.integrity import check_file

__all__ = [
    "WRITTEN_COLUMNS",
    "Caption",
    "CaptionSet",
    "captions_from",
    "is_written",
    "parse_captions",
    "record_of",
    "written_record",
]

WRITTEN_COLUMNS = ("image", "caption", "log_prob", "confidence")
"""Of a file of captions that `distilcap caption --to` writes."""


@dataclass(frozen=True)
class Caption:
    """One caption of one image.

    Attributes:
        text: as a person or a model wrote it.
        log_prob: the model's log-probability of the caption with its end token, in nats; None for people.
    """

    text: str
    log_prob: float | None = None


@dataclass(frozen=True)
class CaptionSet(Mapping[str, tuple[Caption, ...]]):
    """Captions by image id; iterates in the order given. A model's n-best list is sorted best first.

    Raises:
        DataError: an id is not text.
    """

    captions: Mapping[str, tuple[Caption, ...]]

    def __post_init__(self) -> None:
        for image_id in self.captions:
            if not isinstance(image_id, str):
                raise DataError(
                    f"Image ids of captions must be text, but {image_id!r} is of type "
                    f"{type(image_id).__name__}; write `str(id)`, as files of captions are read."
                )
        object.__setattr__(self, "captions", MappingProxyType(dict(self.captions)))

    def __getitem__(self, image_id: str) -> tuple[Caption, ...]:
        return self.captions[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.captions)

    def __len__(self) -> int:
        return len(self.captions)

    @staticmethod
    def of_texts(texts: Mapping[str, str | Iterable[str]]) -> CaptionSet:
        """Make a set from plain strings: of each image several, or one."""
        several = {id: (one,) if isinstance(one, str) else one for id, one in texts.items()}
        return CaptionSet({id: tuple(map(Caption, captions)) for id, captions in several.items()})

    def texts(self, image_id: str) -> list[str]:
        """The captions of one image as plain strings."""
        return [caption.text for caption in self.captions[image_id]]

    def only(self, image_ids: Iterable[str]) -> CaptionSet:
        """Keep the images named, in that order; an image without captions here raises KeyError."""
        return CaptionSet({image_id: self.captions[image_id] for image_id in image_ids})

    def top(self, count: int = 1) -> CaptionSet:
        """Keep each image's first `count` captions."""
        return CaptionSet({image_id: captions[:count] for image_id, captions in self.captions.items()})

    def save(self, path: str | os.PathLike[str]) -> None:
        """Write JSON lines: {"image": id, "captions": [{"text": …, "log_prob": …}]}.

        Raises:
            DataError: a log-probability is NaN or infinite; the message names the image.
        """
        path = Path(path)
        records = (record_of(image_id, captions) for image_id, captions in self.captions.items())
        lines = "".join(json.dumps(record, ensure_ascii=False) + "\n" for record in records)
        checksum_file(path).unlink(missing_ok=True)  # of the file that is now replaced
        write_text(path, lines)

    @staticmethod
    def load(path: str | os.PathLike[str]) -> CaptionSet:
        """Read what `save` wrote.

        Raises:
            DataError: missing file, a line that is not of that form, or an image that has two; the message
                names the line. Or the file has a checksum file beside it, or is a store's, and differs from
                what it was.
        """
        path = Path(path)
        if not path.is_file():
            raise DataError(f"{path}: there is no such captions file.")
        verify_checksum(path)
        check_file(path)
        captions: dict[str, tuple[Caption, ...]] = {}
        # Split on "\n" alone: `splitlines` would also cut at separators inside a caption, such as U+2028.
        for number, line in enumerate(path.read_bytes().split(b"\n"), 1):
            if not line:
                continue
            image_id, of_image = parse_captions(line, f"{path}:{number}")
            if image_id in captions:
                raise DataError(f"{path}:{number}: image {image_id!r} has a line already; keep one of them.")
            captions[image_id] = of_image
        return CaptionSet(captions)


def written_record(path: Path) -> Path:
    """What `distilcap caption --to` keeps beside a file of captions that it wrote (`CaptionRecord`)."""
    return path.with_name(f".{path.name}.captions.jsonl")


def is_written(path: Path) -> bool:
    """Whether a file of captions is as `distilcap caption --to` wrote it, by the record beside it."""
    record = written_record(path)
    return record.is_file() and sha256_of(path) in record.read_text("utf-8", errors="replace")


def record_of(image_id: str, captions: Sequence[Caption]) -> dict[str, Any]:
    """One line of a captions file, as JSON.

    Raises:
        DataError: a log-probability is NaN or infinite; the message names the image.
    """
    if not all(_is_log_prob(caption.log_prob) for caption in captions):
        raise DataError(
            f"The captioner gives image {image_id!r} a log-probability that is NaN or infinite; "
            "its weights or the features are damaged."
        )
    plain = [
        {"text": caption.text} | ({} if caption.log_prob is None else {"log_prob": caption.log_prob})
        for caption in captions
    ]
    return {"image": image_id, "captions": plain}


def captions_from(record: Any) -> tuple[str, tuple[Caption, ...]]:
    """The image's id and its captions, of what `record_of` gave.

    Raises:
        DataError: it is something else; the message says what was expected.
    """
    try:
        image_id, plain = record["image"], record["captions"]
        captions = tuple(Caption(caption["text"], caption.get("log_prob")) for caption in plain)
        texts = (image_id, *(caption.text for caption in captions))
        right = isinstance(plain, list) and all(isinstance(text, str) for text in texts)
    except (KeyError, TypeError, AttributeError):
        right = False
    if not right or not all(_is_log_prob(caption.log_prob) for caption in captions):
        raise DataError(
            'expected {"image": …, "captions": [{"text": …, "log_prob": …}]}; '
            "`image` and `text` are strings, `log_prob` is a finite number or left out."
        )
    return image_id, captions


def parse_captions(line: bytes, where: str) -> tuple[str, tuple[Caption, ...]]:
    """Read one line of a captions file: the image's id and its captions.

    Raises:
        DataError: it is not of that form; the message begins with `where`.
    """
    record = parse_json(line, where)
    try:
        return captions_from(record)
    except DataError as error:
        raise DataError(f"{where}: {error}") from None


def _is_log_prob(value: Any) -> bool:
    """Whether a value is a finite number, or None."""
    if value is None:
        return True
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) <= sys.float_info.max
