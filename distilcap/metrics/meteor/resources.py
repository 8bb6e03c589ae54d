"""METEOR's word lists, read at run time from the package `pycocoevalcap`; nothing of them is copied.

They are data of the official program: function words, abbreviations, WordNet's synsets and irregular forms.
"""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from distilcap.errors import MissingError
from distilcap.metrics.meteor.normalize import NUMERIC

__all__ = ["WordLists", "find_data", "find_stemmer", "load_word_lists"]

_ENDINGS: Final = (
    ("s", ""),
    ("ses", "s"),
    ("xes", "x"),
    ("zes", "z"),
    ("ches", "ch"),
    ("shes", "sh"),
    ("men", "man"),
    ("ies", "y"),
    ("es", "e"),
    ("es", ""),
    ("ed", "e"),
    ("ed", ""),
    ("ing", "e"),
    ("ing", ""),
    ("er", ""),
    ("est", ""),
    ("er", "e"),
    ("est", "e"),
)
"""WordNet's rules of detachment (`morphy`, WordNet 3.0 manual), for all parts of speech in a row."""


@dataclass(frozen=True)
class WordLists:
    """What METEOR knows of English words.

    Attributes:
        function: words that count less: "the", "of", ….
        abbreviations: words whose period is part of them; see `normalize`.
        synsets: WordNet's synsets of each base form.
        irregular: base forms of irregular forms: "mice", "ran".
    """

    function: frozenset[str]
    abbreviations: Mapping[str, str]
    synsets: Mapping[str, tuple[str, ...]]
    irregular: Mapping[str, tuple[str, ...]]

    def senses(self, word: str) -> set[str]:
        """The synsets of a word as it stands, and of its base form."""
        synsets = set(self.synsets.get(word, ()))
        for base in self._bases(word):
            synsets.update(self.synsets.get(base, ()))
        return synsets

    def _bases(self, word: str) -> tuple[str, ...]:
        """An irregular form's bases; otherwise the first that a rule finds, for 3 letters and more."""
        if word in self.irregular:
            return self.irregular[word]
        if len(word) > 2 and not word.endswith("ss"):
            for ending, instead in _ENDINGS:
                if word.endswith(ending) and (base := word[: -len(ending)] + instead) in self.synsets:
                    return (base,)
        return ()


def find_data() -> tuple[Path, Path]:
    """Return the official program, an archive with the word lists, and the table of paraphrases.

    Raises:
        MissingError: they are not installed.
    """
    package = importlib.util.find_spec("pycocoevalcap")
    for folder in (package.submodule_search_locations if package else None) or ():
        archive = Path(folder, "meteor", "meteor-1.5.jar")
        paraphrases = Path(folder, "meteor", "data", "paraphrase-en.gz")
        if archive.is_file() and paraphrases.is_file():
            return archive, paraphrases
    raise MissingError("METEOR's data are not installed: `pip install pycocoevalcap`")


def find_stemmer() -> Callable[[str], str]:
    """Return Snowball's English stemmer, as it was before version 3.

    Raises:
        MissingError: it is not installed, or is of a later version.
    """
    try:
        version = importlib.metadata.version("snowballstemmer")
    except importlib.metadata.PackageNotFoundError:
        raise MissingError("METEOR's stemmer is not installed: `pip install 'snowballstemmer<3'`") from None
    if int(re.match(r"\d+", version)[0]) >= 3:  # type: ignore[index]
        raise MissingError(
            f"snowballstemmer must be below version 3, whose stems differ, but is {version}: "
            "`pip install 'snowballstemmer<3'`"
        )
    # Not `snowballstemmer.stemmer`: that would take PyStemmer where it is installed, of whatever version.
    from snowballstemmer.english_stemmer import EnglishStemmer

    stem: Callable[[str], str] = EnglishStemmer().stemWord
    return stem


@functools.cache
def load_word_lists(archive: Path) -> WordLists:
    """Read the lists from the official program's archive.

    Raises:
        MissingError: the archive is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as files:
            lines = {
                name: files.read(name).decode().splitlines()
                for name in (
                    "function/english.words",
                    "nonbreaking/english.prefixes",
                    "synonym/english.synsets",
                    "synonym/english.exceptions",
                )
            }
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise MissingError(f"{archive} is damaged ({error}): install pycocoevalcap again") from None
    function, prefixes, synsets, exceptions = lines.values()
    irregular: dict[str, list[str]] = {}
    for base, forms in zip(exceptions[::2], exceptions[1::2], strict=True):
        for form in forms.split():
            irregular.setdefault(form, []).append(base)
    return WordLists(
        function=frozenset(word.strip() for word in function if word.strip()),
        abbreviations={
            words[0]: NUMERIC if words[1:] else ""
            for words in (line.split() for line in prefixes)
            if words and not words[0].startswith("#")
        },
        synsets={base: tuple(ids.split()) for base, ids in zip(synsets[::2], synsets[1::2], strict=True)},
        irregular={form: tuple(bases) for form, bases in irregular.items()},
    )
