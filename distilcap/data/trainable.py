"""Whether captions can teach anything, asked before any image is looked at."""

from __future__ import annotations

import reprlib
from collections import Counter
from collections.abc import Iterator, Sequence

from distilcap.errors import DataError
from distilcap.text.tokenize import tokenize
from distilcap.text.vocabulary import SPECIALS, Vocabulary

__all__ = ["MAX_WORDS", "MIN_COUNT", "remark_on_labels", "words_to_learn"]

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


def remark_on_labels(texts: Sequence[str]) -> str:
    """What a person should know of labels before a student learns from them; "" where all is well.

    Args:
        texts: a teacher's captions of the training images.

    Raises:
        DataError: all are empty.
    """
    captions = Counter(tuple(tokenize(text)) for text in texts)
    empty, total = captions.pop((), 0), len(texts)
    if not captions and total:
        raise DataError(
            f"all {total:,} captions of training images are empty, so that nothing can be learnt."
        )
    remarks = []
    if empty:
        remarks.append(f"{empty:,} of {total:,} captions are empty and left out")
    if len(captions) == 1 and total > 1:
        said = reprlib.repr(" ".join(*captions))
        remarks.append(f"all others say {said}" if empty else f"all {total:,} captions say {said}")
    elif total > _ALIKE * len(captions):
        remarks.append(f"{total:,} captions are only {len(captions):,} different ones")
    return "; ".join(remarks)
