"""Tokenizers by name: how captions of a language become words, and words a caption again.

A further one is one call: `register_tokenizer(Tokenizer("mine", "…", my_words, spaced=False))`.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Final

from distilcap.errors import ConfigError
from distilcap.plugins import load_plugins
from distilcap.text.tokenize import tokenize
from distilcap.text.unspaced import join_words, starts_unspaced
from distilcap.text.word_breaks import split_at_boundaries, split_characters

__all__ = [
    "PTB",
    "TOKENIZER_HELP",
    "Tokenizer",
    "advice_on_tokenizer",
    "register_tokenizer",
    "suggest_tokenizer",
    "tokenizer_names",
    "tokenizer_of",
]

PTB: Final = "ptb"
_UNK: Final = "<unk>"


@dataclass(frozen=True)
class Tokenizer:
    """How captions become words.

    Attributes:
        name: what `--tokenizer` takes, and what runs, bundles and signatures say.
        about: for which languages.
        words: of a caption; none holds white space, and those of `join(words)` are the same again.
        spaced: whether captions have spaces between all words; see `join_words`.
    """

    name: str
    about: str
    words: Callable[[str], list[str]] = field(repr=False)
    spaced: bool = True

    def join(self, words: list[str]) -> str:
        """The caption of these words."""
        return join_words(words, self.spaced)

    def written_words(self, caption: str) -> list[str]:
        """The words of a caption that a captioner wrote, its own `<unk>` among them."""
        if self.spaced:
            return caption.split()
        first, *others = (self.words(part) for part in caption.split(_UNK))
        return first + [word for part in others for word in (_UNK, *part)]


_tokenizers: Final[dict[str, Tokenizer]] = {}


def register_tokenizer(tokenizer: Tokenizer) -> None:
    """Make a tokenizer known.

    Raises:
        ConfigError: its name is taken.
    """
    if tokenizer.name in _tokenizers:
        raise ConfigError(f"The tokenizer {tokenizer.name} cannot be registered: there is one of that name.")
    _tokenizers[tokenizer.name] = tokenizer


register_tokenizer(Tokenizer(PTB, "English, as the official scores", tokenize))
register_tokenizer(Tokenizer("unicode", "any language with spaces between words", split_at_boundaries))
register_tokenizer(
    Tokenizer("characters", "Chinese, Japanese, Thai and others without spaces", split_characters, False)
)

TOKENIZER_HELP: Final = (
    "How captions become words: "
    + ", ".join(f"{tokenizer.name} ({tokenizer.about})" for tokenizer in _tokenizers.values())
    + "."
)


def tokenizer_names() -> tuple[str, ...]:
    """All tokenizers, PTB's first, those of plugins last."""
    load_plugins()
    return tuple(_tokenizers)


def tokenizer_of(name: str) -> Tokenizer:
    """Return a tokenizer.

    Raises:
        ConfigError: there is none of this name.
    """
    if name not in _tokenizers and name not in tokenizer_names():  # plugins only where they are needed
        raise ConfigError(f"`tokenizer` must be one of {', '.join(tokenizer_names())}, but is {name!r}.")
    return _tokenizers[name]


def suggest_tokenizer(captions: Iterable[str]) -> str:
    """Return the name of the tokenizer for what the captions look like.

    English has hardly a letter beyond ASCII (below 2 % of its words); other languages have them, and those
    of scripts without spaces show which kind it is. A language that writes in ASCII alone looks like
    English, and PTB's words of it are nearly Unicode's.
    """
    words = foreign = unspaced = 0
    for caption in captions:
        parts = caption.split()
        words += len(parts)
        if caption.isascii():
            continue
        for part in unicodedata.normalize("NFC", caption).split():  # "u" and its dots are one letter
            letters = [letter for letter in part if letter > "\x7f" and letter.isalpha()]
            foreign += bool(letters)
            unspaced += any(map(starts_unspaced, letters))
    if foreign <= 0.02 * words:
        return PTB
    return "characters" if 2 * unspaced >= foreign else "unicode"


def advice_on_tokenizer(chosen: str, captions: Iterable[str]) -> str:
    """Return a sentence that names a tokenizer which suits the captions better than `chosen`, or "".

    Each of ours takes all that those before it take; of others, nothing is known.
    """
    ours = (PTB, "unicode", "characters")
    if chosen not in ours:
        return ""
    suggested = suggest_tokenizer(captions)
    if ours.index(suggested) <= ours.index(chosen):
        return ""
    about = _tokenizers[suggested].about
    return f"The captions do not look English: `--tokenizer {suggested}` is for {about}."
