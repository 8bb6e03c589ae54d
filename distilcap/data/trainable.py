"""Whether captions can teach anything, and what a vocabulary keeps of them, before any image is looked at."""

from __future__ import annotations

import os
import reprlib
import sys
import zlib
from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from distilcap.errors import DataError
from distilcap.shown import counted
from distilcap.text.tokenizers import PTB, advice_on_tokenizer, tokenizer_of
from distilcap.text.vocabulary import SPECIALS, Vocabulary

__all__ = [
    "FEWEST",
    "HELD_OUT",
    "MAX_WORDS",
    "MIN_COUNT",
    "Coverage",
    "Variety",
    "captioned_ids",
    "check_enough",
    "held_out",
    "to_hold_out",
    "usual_min_count",
    "words_to_learn",
]

MIN_COUNT, MAX_WORDS = 5, 16  # the paper's
MOST_UNKNOWN, MOST_CUT = 0.1, 0.25  # shares that are warned of
_MIN_COUNTS = ((300, 1), (2_000, 2), (8_000, 3), (20_000, 4))  # up to so many captions, and how often
FEWEST = 4  # images with captions, below which none are held out: there would be nothing to learn
HELD_OUT = 0.1  # share of the training images with captions that an empty split gets
_LEARNT = 2  # training images with captions, at least
_SCORED = 2  # images that CIDEr takes: of a single one it is 0, whatever the caption
_ALIKE = 50  # captions to a different caption, from which on it is said that they hardly differ


def usual_min_count(captions: int) -> int:
    """Number of times that a word must occur in so many captions: of few, rare words are worth learning."""
    return next((count for most, count in _MIN_COUNTS if captions <= most), MIN_COUNT)


def captioned_ids(images: Iterable[tuple[str, Path]], captions: Container[str]) -> list[str]:
    """Ids of those images that have captions, and whose files are there: no other can be scored.

    Where no file is there at all, as on a machine that got a pack of results, all count.
    """
    captioned = [(image_id, path) for image_id, path in images if image_id in captions]
    there = [image_id for image_id, path in captioned if os.path.isfile(path)]
    return there or [image_id for image_id, _ in captioned]


def to_hold_out(captioned: Mapping[str, int], needed: Sequence[str], by_hash: bool) -> dict[str, int]:
    """How many training images each split is to get that is short of captioned images.

    An empty split gets a tenth, and two or more where half of all images stay for training; else one. A split
    of a single image gets others likewise, if nobody chose it.

    Args:
        captioned: number of images with captions, by split.
        needed: splits that must have some.
        by_hash: a hash of ids made the splits.

    Returns:
        Empty where nothing is needed, or too few images are there.
    """
    train, scored = captioned["train"], sum(captioned[split] for split in needed)
    moved = {split: 1 for split in needed if not captioned[split]}
    if sum(captioned.values()) < FEWEST or train - len(moved) < _LEARNT:
        return {}
    for split in needed:
        if captioned[split] > (1 if by_hash else 0):
            continue
        more = max(_SCORED, round(HELD_OUT * train)) - captioned[split]
        others = sum(count for name, count in moved.items() if name != split)
        if 2 * (train - others - more) >= train + scored:
            moved[split] = more
    return moved


def held_out(train: Iterable[str], moved: Mapping[str, int]) -> dict[str, str]:
    """The new splits of the training images that are moved, by id; which ones depends on their ids alone.

    Args:
        train: the ids of those that have captions.
        moved: what `to_hold_out` gives.
    """
    order = iter(sorted(train, key=lambda id: (zlib.crc32(id.encode()), id)))
    return {id: split for split, count in moved.items() for id, _ in zip(order, range(count), strict=False)}


def check_enough(
    captioned: Mapping[str, int], needed: Sequence[str], moved: Mapping[str, int], by_hash: bool
) -> None:
    """Make sure that there are images to learn from, and some in each split that is needed.

    Args:
        captioned, needed, by_hash: see `to_hold_out`, which gives `moved`.

    Raises:
        DataError: there are too few; the message says how many it takes.
    """
    whole = sum(captioned.values())
    lacking = [split for split in needed if not captioned[split] + moved.get(split, 0)]
    enough = captioned["train"] - sum(moved.values()) >= _LEARNT and not lacking
    if enough and not (by_hash and whole < FEWEST):
        return
    counts = ", ".join(f"{count} {split}" for split, count in captioned.items())
    which = f"Splits {' and '.join(lacking)} have" if len(lacking) > 1 else f"Split {''.join(lacking)} has"
    lacks = f" {which} none, and train has none to spare." if lacking else ""
    raise DataError(
        f"{counted(whole, 'photograph')} with captions ({counts}); training takes {FEWEST} (better 50), of "
        f"these {_LEARNT} or more in split train.{lacks} Caption more of them."
    )


@dataclass(frozen=True)
class Coverage:
    """What a vocabulary keeps of the training captions.

    Attributes:
        kept: different words that occur often enough.
        different: different words in the captions.
        unknown_words: share of the captions' words that become `<unk>`.
        unknown_captions: share of captions that hold at least one of these.
        cut_captions: share of captions that are longer than `max_words`, and so learnt without their end.
        min_count, tokenizer, max_words: how the vocabulary was made.
        advice: a sentence where another tokenizer suits the captions better; else empty.
        miswritten: how many captions hold a euro or pound sign, of which PTB's tokenizer makes $ and #.
    """

    kept: int
    different: int
    unknown_words: float
    unknown_captions: float
    cut_captions: float
    min_count: int
    max_words: int
    tokenizer: str
    advice: str = ""
    miswritten: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kept:,} of {self.different:,} different words occur {counted(self.min_count, 'time')} or "
            f"more (tokenizer {self.tokenizer}); {self.unknown_words:.1%} of the training words, in "
            f"{self.unknown_captions:.1%} of the captions, become <unk>."
        )

    @property
    def warnings(self) -> list[str]:
        """What a person should know before hours of training."""
        warnings = [self.advice] if self.advice else []
        if self.miswritten:
            hold = "hold" if self.miswritten > 1 else "holds"
            warnings.append(
                f"{counted(self.miswritten, 'caption')} {hold} € or £, which are learnt and written as $ and "
                "#: so the official scores' tokenizer has them. `--tokenizer unicode` leaves such signs out."
            )
        if self.unknown_words > MOST_UNKNOWN:
            warnings.append(
                f"{self.unknown_words:.0%} of the training words become <unk>: the captioner will not learn "
                "them. Lower `--min-count`, or choose another `--tokenizer`."
            )
        if self.cut_captions > MOST_CUT:
            warnings.append(
                f"{self.cut_captions:.0%} of the captions are longer than {self.max_words} words and are cut "
                "there; raise `--max-words`."
            )
        return warnings


def words_to_learn(
    train: Sequence[Sequence[str]],
    validation: int,
    min_count: int = MIN_COUNT,
    max_words: int = MAX_WORDS,
    tokenizer: str = PTB,
    started: Iterable[str] = (),
) -> tuple[Vocabulary, Coverage]:
    """The words of training captions, if a captioner can be trained on them, and what they leave out.

    Args:
        train: the captions of each training image that has any.
        validation: how many images of the validation split have captions.
        min_count: words seen less often become `<unk>`.
        max_words: captions are cut there.
        tokenizer: see `text.tokenizers`.
        started: words that the captioner knows from its start; none becomes `<unk>`, however rare it is.

    Raises:
        ConfigError: an unknown tokenizer.
        DataError: there is nothing to learn, or no way to see what was learnt; the message says why, and
            what to do.
    """
    by = tokenizer_of(tokenizer)
    split = (
        "`split` of the captions file says which are, and where it is left out, 80 % train and 10 % are val"
    )
    if not train:
        raise DataError(f"no image of the training split has a caption; {split}.")
    if len(train) == 1:
        raise DataError(
            f"only one image of the training split has captions, but training takes two; {split}."
        )
    texts = [text for of_image in train for text in of_image]
    # Interned: a word is one string, however often it occurs.
    whole = [tuple(map(sys.intern, by.words(text))) for text in texts]
    captions = [words[:max_words] for words in whole]
    different = set(captions)
    if len(different) == 1:
        said = reprlib.repr(by.join(list(captions[0])))
        raise DataError(f"all captions of the training split say {said}; give images that differ others.")
    vocabulary = Vocabulary.build(captions, min_count, by)
    known = {*vocabulary.words, *started} - {*SPECIALS}
    partly = [words for words in captions if not known.issuperset(words)]
    unknown = sum(word not in known for words in partly for word in words)
    coverage = Coverage(
        kept=len(vocabulary) - len(SPECIALS),
        different=len(set().union(*different)),
        unknown_words=unknown / max(sum(map(len, captions)), 1),
        unknown_captions=len(partly) / len(captions),
        cut_captions=sum(len(words) > max_words for words in whole) / len(captions),
        min_count=min_count,
        max_words=max_words,
        tokenizer=tokenizer,
        advice=advice_on_tokenizer(tokenizer, texts),
        miswritten=sum("€" in text or "£" in text for text in texts) if tokenizer == PTB else 0,
    )
    if not coverage.kept:
        advice = f" {coverage.advice}" if coverage.advice else ""
        raise DataError(
            f"no word occurs {min_count} times in the captions of the training split, so that none would be "
            f"learnt; lower `--min-count`, or choose another `--tokenizer` than {tokenizer}.{advice}"
        )
    if not validation:
        raise DataError(f"no image of the validation split has a caption; {split}.")
    return vocabulary, coverage


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
        words_of = tokenizer_of(PTB).words  # of any language they tell equal captions and empty ones
        counts = Counter(" ".join(words_of(text)) for text in texts)
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
