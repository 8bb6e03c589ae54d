"""Captions to words, as the official COCO scorer does: Penn Treebank, lower case, punctuation dropped.

The official tokenizer reads all captions as one text, and at a caption's end looks ahead into the next: what
becomes of "letter x." depends on its neighbour. `tokenize` does not; `tokenize_stream` repeats it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Final

from distilcap.text.ptb import SPLIT_WORDS, lex_line

__all__ = ["PUNCTUATION", "tokenize", "tokenize_stream"]

PUNCTUATION: Final = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
"""Tokens that the official scorer leaves out. Brackets are lower-cased before, and so survive: `-lrb-`."""

_NEXT: Final = "\nA "
"""What `tokenize` takes to follow a caption: another, which begins as most do, and ends the sentence."""

_PLAIN: Final = re.compile(r"([A-Za-z ]*)(\.?) *")
"""What nine captions of ten look like: their words need no rules, unless the last is an abbreviation."""

_NEWLINES: Final = re.compile(r"[\n\x0b\x0c\r\u2028\u2029]")
_ASTRAL: Final = re.compile("[\U00010000-\U0010ffff]")


@functools.lru_cache(maxsize=2**16)
def _ends_sentence(word: str) -> bool:
    """Return whether a period after `word` is a token of its own, whatever follows."""
    return all(lex_line(f"{word}.\n{follows}", 0)[0] == [word, "."] for follows in ("A cat", "a cat"))


def _plain_words(text: str, start: int, end: int) -> list[str] | None:
    """Return the words of `text[start:end]` if it is a plain caption."""
    match = _PLAIN.fullmatch(text, start, end)
    if not match:
        return None
    body = match.group(1)
    words = body.lower().split()
    if not SPLIT_WORDS.isdisjoint(words):
        return None
    if match.group(2) and words and body[-1] != " " and not _ends_sentence(body[body.rfind(" ") + 1 :]):
        return None
    return words


def _lex(text: str, start: int) -> tuple[list[str], int]:
    """Return the words of the line that begins at `start`, and where the next begins."""
    tokens, start = lex_line(text, start)
    lowered = [token.lower() for token in tokens]
    return [word for word in lowered if word not in PUNCTUATION], start


def _split_astral(text: str) -> str:
    """Make two characters of each beyond U+FFFF, as the official tokenizer sees them; none is in a word."""
    return text if text.isascii() else _ASTRAL.sub("\ue000\ue000", text)


def tokenize(caption: str) -> list[str]:
    """Return the words of one caption, whatever its neighbours."""
    words = _plain_words(caption, 0, len(caption))
    if words is not None:
        return words
    return _lex(_split_astral(_NEWLINES.sub(" ", caption)) + _NEXT, 0)[0]


def tokenize_stream(captions: Sequence[str]) -> list[list[str]]:
    """Return the words of captions that follow one another in a file, as the official scorer reads them.

    A caption with a line separator other than "\\n" is more than one line there, and every later caption
    gets the words of an earlier line. So here.
    """
    text = _split_astral("\n".join(caption.replace("\n", " ") for caption in captions))
    by_caption: list[list[str]] = []
    start = 0
    while start < len(text):
        end = text.find("\n", start)
        end = len(text) if end < 0 else end
        words = _plain_words(text, start, end)
        if words is None:
            words, start = _lex(text, start)
        else:
            start = end + 1
        by_caption.append(words)
    return (by_caption + [[] for _ in captions])[: len(captions)]
