"""Words that captions never have: from what a person names to the ids that a search leaves out."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from distilcap.errors import DataError
from distilcap.progress import SILENT, Progress
from distilcap.text.people import check_english, gendered_words
from distilcap.text.vocabulary import SPECIALS, Vocabulary

__all__ = ["NEVER_WRITE", "blocked_words", "ids_of_words"]

NEVER_WRITE = (
    "Words that are never written, with commas between, or a .txt file with a word a line; the search takes "
    "the next best words instead."
)
"""Help of the options `never_write`."""

_SHOWN = 5  # unknown words in a remark


def blocked_words(
    named: Sequence[str], neutral_people: bool, vocabulary: Vocabulary, progress: Progress = SILENT
) -> tuple[int, ...]:
    """Ids of the words that a person blocks, sorted.

    Args:
        named: words with commas between, or files, whose names end in ".txt".
        neutral_people: block the words that say a person's gender, too.
        vocabulary: of the captioner; a word that is not in it is never written anyway, which `progress` hears.

    Raises:
        ConfigError: neutral words for people, but the vocabulary is not English.
        DataError: a file cannot be read.
    """
    words = [word for item in named for word in _words_of(item)]
    ids, unknown = ids_of_words(words, vocabulary)
    if unknown:
        more = f" and {len(unknown) - _SHOWN:,} more" if len(unknown) > _SHOWN else ""
        progress.note(
            f"Never written anyway, since the captioner does not know them: {', '.join(unknown[:_SHOWN])}{more}."
        )
    if neutral_people:
        check_english(vocabulary.tokenizer)
        ids += ids_of_words(gendered_words(), vocabulary)[0]
    return tuple(sorted(set(ids)))


def ids_of_words(words: Iterable[str], vocabulary: Vocabulary) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """Ids of the words that a vocabulary has, sorted and each once, and the words that it lacks."""
    ids, unknown = set(), []
    for word in words:
        known = [id for id in vocabulary.encode([word, word.lower()]) if id >= len(SPECIALS)]
        ids |= set(known)
        if not known:
            unknown.append(word)
    return tuple(sorted(ids)), tuple(unknown)


def _words_of(item: str) -> list[str]:
    if not item.endswith(".txt"):
        return [word for word in map(str.strip, item.split(",")) if word]
    try:
        lines = Path(item).read_text("utf-8-sig").splitlines()
    except FileNotFoundError:
        raise DataError(f"{item}: there is no such file of words.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{item}: cannot be read as text ({error}).") from None
    return [word for word in map(str.strip, lines) if word]
