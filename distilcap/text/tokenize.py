"""Captions to words, as the official COCO scorer does: Penn Treebank, lower case, punctuation dropped."""

from __future__ import annotations

import re
from collections.abc import Sequence

__all__ = ["PUNCTUATION", "tokenize", "tokenize_stream"]

PUNCTUATION = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""Tokens that the official scorer leaves out. Brackets are lower-cased before, and so survive."""

_WORD = re.compile(r"(?:\w+(?:[-'.]\w+)*|[^\w\s])")


def tokenize(caption: str) -> list[str]:
    """Return the words of one caption."""
    return [word for word in _WORD.findall(caption.lower()) if word not in PUNCTUATION]


def tokenize_stream(captions: Sequence[str]) -> list[list[str]]:
    """Return the words of captions that follow one another in a file, as the official scorer sees them."""
    return [tokenize(caption) for caption in captions]
