"""Whether captions can teach anything, asked before any image is looked at."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from distilcap.errors import DataError
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import SPECIALS, Vocabulary

__all__ = ["MAX_WORDS", "MIN_COUNT", "Variety", "words_to_learn"]

MIN_COUNT, MAX_WORDS = 5, 16  # the paper's
_ALIKE = 50  # captions to a different caption, from which on it is said that they hardly differ


def words_to_learn(
    train: Sequence[Sequence[str]], validation: int, min_count: int = MIN_COUNT, max_words: int = MAX_WORDS
) -> Vocabulary:
    """The words of training captions, if a captioner can be trained on them.

    Args:
        train: the captions of each training image that has any.
        validation: how many images of the validation split have captions.
        min_count: words seen less often become `<unk>`.
        max_words: captions are cut there.

    Raises:
        DataError: there is nothing to learn, or no way to see what was learnt; the message says why, and
            what to do.
    """
    split = (
        "`split` of the captions file says which are, and where it is left out, 80 % train and 10 % are val"
    )
    if not train:
        raise DataError(f"no image of the training split has a caption; {split}.")
    if len(train) == 1:
        raise DataError(
            f"only one image of the training split has captions, but training takes two; {split}."
        )
    if not validation:
        raise DataError(f"no image of the validation split has a caption; {split}.")
    different: set[tuple[str, ...]] = set()

    def captions() -> Iterator[list[str]]:
        for texts in train:
            for text in texts:
                words = tokenize(text)[:max_words]
                if len(different) < 2:
                    different.add(tuple(words))
                yield words

    vocabulary = Vocabulary.build(captions(), min_count)
    if len(different) == 1:
        said = reprlib.repr(" ".join(*different))
        raise DataError(f"all captions of the training split say {said}; give images that differ others.")
    if len(vocabulary) == len(SPECIALS):
        raise DataError(
            f"no word occurs {min_count} times in the captions of the training split, so that none would be "
            "learnt; lower `--min-count`."
        )
    return vocabulary


@dataclass(frozen=True)
class Variety:
    """How much captions differ, as training reads them.

    Attributes:
        captions, empty: how many, and how many of these have no word.
        different: how many are left of the others if each is counted once.
        most_frequent: of the others; "" where there is none.
    """

    captions: int
    empty: int
    different: int
    most_frequent: str

    @staticmethod
    def of(texts: Iterable[str]) -> Variety:
        """Count captions."""
        counts = Counter(" ".join(tokenize(text)) for text in texts)
        captions, empty = counts.total(), counts.pop("", 0)
        most_frequent = max(counts, key=counts.__getitem__, default="")
        return Variety(captions, empty, len(counts), most_frequent)

    def hardly_any(self) -> str:
        """What is to be said of captions that are all empty, all equal or nearly so; else ""."""
        if not self.different:
            return f"all {self.captions:,} captions are empty" if self.captions else ""
        others = self.captions - self.empty
        if self.different == 1 < others:
            return f"all {others:,} captions say {reprlib.repr(self.most_frequent)}"
        if others > _ALIKE * self.different:
            return f"{others:,} captions are only {self.different:,} different ones"
        return ""
