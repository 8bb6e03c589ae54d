"""Words that captions never have: from what a person names to the ids that a search leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from distilcap.errors import ConfigError, DataError
from distilcap.progress import SILENT, Progress
from distilcap.shown import some
from distilcap.text.people import check_english, more_general, neutral_words
from distilcap.text.vocabulary import PAD, SPECIALS, Vocabulary

__all__ = [
    "NEVER_WRITE",
    "Blocked",
    "blocked_ids",
    "blocked_words",
    "named_words",
    "never_written",
    "paired",
]

NEVER_WRITE = (
    "Words that are never written, with commas between, or a .txt file with a word a line; the search takes "
    "the next best. WORD=OTHER gives the probability of WORD to OTHER."
)
"""Help of the options `never_write`."""

Blocked: TypeAlias = tuple[tuple[int, int], ...]
"""Ids of words that are never written, sorted, each with the word that gets its probability; `PAD` is
none."""

_SHOWN = 5  # unknown words in a remark


def blocked_words(
    named: Sequence[str], neutral_people: bool, vocabulary: Vocabulary, progress: Progress = SILENT
) -> Blocked:
    """What a person blocks.

    Args:
        named: words with commas between, or files, whose names end in ".txt"; "word=other" gives the word's
            probability to the other.
        neutral_people: write neutral words for people instead of those that say a gender.
        vocabulary: of the captioner.
        progress: hears of words that are not in it, and so never written anyway.

    Raises:
        ConfigError: neutral words for people, but the vocabulary is not English; or no word is left.
        DataError: a file cannot be read.
    """
    if not all(item.strip() for item in named):
        raise ConfigError("`never_write` is empty; is a variable of the shell unset?")
    words = named_words(named)
    if unknown := [word for word in words if _id(word, vocabulary) == PAD]:
        progress.note(
            f"Never written anyway, since the captioner does not know them: {some(unknown, _SHOWN)}."
        )
    if lost := [other for other in words.values() if other and _id(other, vocabulary) == PAD]:
        progress.note(
            "Unknown to the captioner, so nothing is written in place of others: "
            f"{some(lost, _SHOWN)}; other words get their probability."
        )
    if neutral_people:
        check_english(vocabulary.tokenizer)
        words = {**_known_neutral(vocabulary), **words}
    blocked = blocked_ids(words, vocabulary)
    if blocked and len(blocked) >= len(vocabulary) - len(SPECIALS):
        raise ConfigError("`never_write` names every word of the captioner, so that it could write none.")
    return blocked


def _known_neutral(vocabulary: Vocabulary) -> dict[str, str | None]:
    """Neutral words for people, with more general ones in place of those that a vocabulary lacks."""
    return {
        word: more_general(other) if other and _id(other, vocabulary) == PAD else other
        for word, other in neutral_words().items()
    }


def named_words(named: Iterable[str]) -> dict[str, str | None]:
    """Words that a person names, each with what is written instead, if anything.

    Raises:
        DataError: a file cannot be read.
    """
    return paired(word for item in named for word in _words_of(item))


def paired(words: Iterable[str]) -> dict[str, str | None]:
    """Words or "word=other", each with the other; a comma is the word's own ("1,000")."""
    pairs = (word.partition("=") for word in words)
    return {word.strip(): instead.strip() or None for word, _, instead in pairs if word.strip()}


def blocked_ids(words: Mapping[str, str | None], vocabulary: Vocabulary) -> Blocked:
    """The ids of those of the words that a vocabulary has.

    What is to be written instead gets nothing where it is blocked itself, or not in the vocabulary.
    """
    ids = {_id(word, vocabulary): _id(instead or "", vocabulary) for word, instead in words.items()}
    ids.pop(PAD, None)
    return tuple(sorted((word, PAD if instead in ids else instead) for word, instead in ids.items()))


def never_written(blocked: Blocked, vocabulary: Vocabulary) -> dict[str, str | None]:
    """The words of ids, each with what is written instead; `blocked_ids` gives the ids again."""
    words = vocabulary.words
    return {words[word]: None if instead == PAD else words[instead] for word, instead in blocked}


def _id(word: str, vocabulary: Vocabulary) -> int:
    """A word's id, in whatever case it is given; `PAD` if it is none of the vocabulary's."""
    known = (id for id in vocabulary.encode([word, word.lower()]) if id >= len(SPECIALS))
    return next(known, PAD)


def _words_of(item: str) -> list[str]:
    if not item.endswith(".txt"):
        return item.split(",")
    try:
        return Path(item).read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{item}: there is no such file of words.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{item}: cannot be read as text ({error}).") from None
