"""`CaptionSet`: the one type for references, pseudo-captions and model output.

Sequence-level distillation (Kim & Rush 2016) is then ordinary training on another `CaptionSet`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from distilcap.errors import DataError
from distilcap.files import write_text
from distilcap.integrity import check_file

__all__ = ["Caption", "CaptionSet"]


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
    """Captions by image id; iterates in the order given. A model's n-best list is sorted best first."""

    captions: Mapping[str, tuple[Caption, ...]]

    def __post_init__(self) -> None:
        object.__setattr__(self, "captions", MappingProxyType(dict(self.captions)))

    def __getitem__(self, image_id: str) -> tuple[Caption, ...]:
        return self.captions[image_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.captions)

    def __len__(self) -> int:
        return len(self.captions)

    @staticmethod
    def of_texts(texts: Mapping[str, Iterable[str]]) -> CaptionSet:
        """Make a set from plain strings."""
        return CaptionSet({id: tuple(Caption(text) for text in several) for id, several in texts.items()})

    def texts(self, image_id: str) -> list[str]:
        """The captions of one image as plain strings."""
        return [caption.text for caption in self.captions[image_id]]

    def only(self, image_ids: Iterable[str]) -> CaptionSet:
        """Keep the images named, in that order; an image without captions here raises KeyError."""
        return CaptionSet({image_id: self.captions[image_id] for image_id in image_ids})

    def top(self, count: int = 1) -> CaptionSet:
        """Keep each image's first `count` captions."""
        return CaptionSet({image_id: several[:count] for image_id, several in self.captions.items()})

    def save(self, path: Path) -> None:
        """Write JSON lines: {"image": id, "captions": [{"text": …, "log_prob": …}]}."""
        lines = (
            json.dumps(
                {
                    "image": image_id,
                    "captions": [
                        {"text": one.text} | ({} if one.log_prob is None else {"log_prob": one.log_prob})
                        for one in several
                    ],
                },
                ensure_ascii=False,
            )
            for image_id, several in self.captions.items()
        )
        write_text(path, "".join(line + "\n" for line in lines))

    @staticmethod
    def load(path: Path) -> CaptionSet:
        """Read what `save` wrote.

        Raises:
            DataError: missing file, or a line that is not of that form; the message names it. Or the file is
                a store's, and damaged.
        """
        if not path.is_file():
            raise DataError(f"{path}: there is no such captions file.")
        check_file(path)
        captions: dict[str, tuple[Caption, ...]] = {}
        # Split on "\n" alone: `splitlines` would also cut at separators inside a caption, such as U+2028.
        for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
            if not line:
                continue
            try:
                record = json.loads(line)
                captions[record["image"]] = tuple(
                    Caption(one["text"], one.get("log_prob")) for one in record["captions"]
                )
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
                raise DataError(
                    f'{path}:{number}: expected {{"image": …, "captions": [{{"text": …}}]}}.'
                ) from None
        return CaptionSet(captions)
