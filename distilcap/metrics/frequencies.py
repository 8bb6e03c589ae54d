"""Document frequencies of n-grams: in how many images' references each occurs, for CIDEr-D."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from distilcap.errors import DataError
from distilcap.integrity import canonical_json, read_sealed_json, write_sealed_json
from distilcap.metrics.ngrams import ORDERS, split_words
from distilcap.text.tokenizers import PTB

__all__ = ["END_WORD", "DocumentFrequencies"]

FORM = "distilcap document frequencies 2"  # 1 had no checksum
END_WORD = "<eos>"
"""The end token as a word: no caption has it, since the tokenizer splits it."""


@dataclass(frozen=True)
class DocumentFrequencies:
    """In how many of a corpus's images an n-gram occurs.

    Attributes:
        name: the corpus, such as "coco-train".
        images: how many images it has.
        counts: of each n-gram (words, or token ids, joined with spaces), where it is 2 or more: CIDEr-D
            takes any n-gram to occur in one image at least, so 1 need not be kept.
        end: an end token was counted as the last word of every caption.
        tokenizer: by which captions became words; files of older versions do not say it (None).
    """

    name: str
    images: int
    counts: Mapping[str, int]
    end: bool = False
    tokenizer: str | None = PTB

    @cached_property
    def label(self) -> str:
        """What signatures call them: the name, and 8 digits of the content's hash, since names are files'."""
        content = canonical_json([self.images, dict(self.counts)])
        return f"{self.name}-{hashlib.sha256(content.encode()).hexdigest()[:8]}"

    @staticmethod
    def of(
        name: str,
        references: Iterable[Sequence[Sequence[str]]],
        end: bool = False,
        tokenizer: str = PTB,
    ) -> DocumentFrequencies:
        """Count over images, given the words of each image's references."""
        counts: Counter[str] = Counter()
        images = 0
        for captions in references:
            images += 1
            ngrams: set[str] = set()
            for words in map(split_words, captions):
                words += [END_WORD] if end else []
                for order in range(1, ORDERS + 1):
                    ngrams.update(
                        " ".join(words[start : start + order]) for start in range(len(words) - order + 1)
                    )
            counts.update(ngrams)
        often = {ngram: count for ngram, count in counts.items() if count > 1}
        return DocumentFrequencies(name, images, often, end, tokenizer)

    def save(self, path: Path) -> None:
        """Write JSON."""
        made = {"format": FORM, "name": self.name, "tokenizer": self.tokenizer}
        counts = {"images": self.images, "end": self.end, "counts": dict(self.counts)}
        write_sealed_json(path, {**made, **counts})

    @staticmethod
    def load(path: Path) -> DocumentFrequencies:
        """Read what `save` wrote.

        Raises:
            DataError: missing, not of that form, or damaged.
        """
        content = read_sealed_json(path, "count them again by `distilcap metrics df`", regular=False)
        try:
            counts = {str(ngram): int(count) for ngram, count in content["counts"].items()}
            tokenizer = content.get("tokenizer")
            return DocumentFrequencies(
                str(content["name"]),
                int(content["images"]),
                counts,
                bool(content["end"]),
                tokenizer and str(tokenizer),
            )
        except (KeyError, TypeError, ValueError, AttributeError):
            raise DataError(
                f"{path}: not document frequencies; `distilcap metrics df` writes them."
            ) from None
