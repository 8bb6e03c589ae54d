"""A large model's captions, cleaned for learning: one plain sentence each, or nothing.

Such models write "The image shows…", Markdown, paragraphs, refusals and loops; `cleaning_rules` has what is
done about each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.cleaning_rules import EMPTY, Kind, length_rule, rules_by, without_thoughts
from distilcap.data.trainable import MAX_WORDS
from distilcap.files import expected, read_json, write_json
from distilcap.text.tokenizers import PTB, tokenizer_of

__all__ = ["RULES_VERSION", "Cleaned", "Cleaning", "clean_caption", "clean_captions"]

RULES_VERSION: Final = 8
"""Raise it when the rules make something else of a caption: it is in the keys of cleaned artifacts."""

_PLAIN = frozenset({"length", "repetition", "empty"})  # kinds of rule that people's captions meet too
_UNPLAIN = 0.2  # people say "a picture of" in 0.1 % of Flickr8k's captions; drawn scenes do in 6 %
_LONGEST = 5_000  # characters that are looked at: patterns may take the square of it


@dataclass(frozen=True)
class Cleaned:
    """What became of a caption.

    Attributes:
        text: None if it was dropped, by the last of the rules.
        rules: the kinds of rule that changed it, in order, each once.
    """

    text: str | None
    rules: tuple[Kind, ...]


@dataclass(frozen=True)
class Cleaning:
    """What cleaning did to captions, counted.

    Attributes:
        captions: how many there were.
        changed, dropped: of these, how many.
        changed_by: how many each kind of rule changed; a caption may count for more than one.
        dropped_by: how many each kind of rule dropped.
        examples: for each kind, the first caption and what became of it.
        unplain: how many were changed or dropped for more than length or repetition, which say nothing of
            who wrote them.
    """

    captions: int
    changed: int
    dropped: int
    changed_by: Mapping[Kind, int]
    dropped_by: Mapping[Kind, int]
    examples: Mapping[Kind, tuple[str, str | None]]
    unplain: int = 0

    @staticmethod
    def load(path: Path) -> Cleaning:
        """Read what `save` wrote.

        Raises:
            DataError: it is missing or malformed.
        """
        content = read_json(path)
        with expected(path, "the counts of a cleaning"):
            sum((content["captions"], content["changed"], content["dropped"]))
            return Cleaning(**content)

    @property
    def unlike_people(self) -> bool:
        """Whether so many captions are not plain sentences that a large model will have written them."""
        return self.unplain > _UNPLAIN * self.captions

    def save(self, path: Path) -> None:
        """Write JSON."""
        write_json(path, asdict(self))

    def __str__(self) -> str:
        """Such as "changes 8 of 10 captions (prefix 7, length 2) and drops 1 (refusal 1)"."""
        return (
            f"changes {self.changed:,} of {self.captions:,} captions{_counted(self.changed_by)} "
            f"and drops {self.dropped:,}{_counted(self.dropped_by)}"
        )


def _counted(by_kind: Mapping[Kind, int]) -> str:
    listed = ", ".join(f"{kind} {count:,}" for kind, count in by_kind.items())
    return f" ({listed})" if listed else ""


def clean_captions(
    captions: CaptionSet, max_words: int = MAX_WORDS, tokenizer: str = PTB
) -> tuple[CaptionSet, Cleaning]:
    """Clean all captions. A changed caption loses its log-probability, which was of other words; an image
    whose captions are all dropped is left out."""
    kept: dict[str, tuple[Caption, ...]] = {}
    cleaned: list[tuple[str, Cleaned]] = []
    for image_id, of_image in captions.items():
        results = [(caption, clean_caption(caption.text, max_words, tokenizer)) for caption in of_image]
        cleaned += [(caption.text, result) for caption, result in results]
        texts = tuple(
            Caption(result.text) if result.rules else caption
            for caption, result in results
            if result.text is not None
        )
        if texts:
            kept[image_id] = texts
    return CaptionSet(kept), _count(cleaned)


def _count(cleaned: Iterable[tuple[str, Cleaned]]) -> Cleaning:
    captions = changed = dropped = unplain = 0
    changed_by: Counter[Kind] = Counter()
    dropped_by: Counter[Kind] = Counter()
    examples: dict[Kind, tuple[str, str | None]] = {}
    for text, result in cleaned:
        captions += 1
        unplain += not _PLAIN.issuperset(result.rules)
        if result.text is None:
            dropped += 1
            dropped_by[result.rules[-1]] += 1
            examples.setdefault(result.rules[-1], (text, None))
        elif result.rules:
            changed += 1
            changed_by.update(result.rules)
            for kind in result.rules:
                examples.setdefault(kind, (text, result.text))
    return Cleaning(
        captions,
        changed,
        dropped,
        dict(changed_by.most_common()),
        dict(dropped_by.most_common()),
        examples,
        unplain,
    )


def clean_caption(text: str, max_words: int = MAX_WORDS, tokenizer: str = PTB) -> Cleaned:
    """Make one plain sentence of a caption. Cleaning what is clean changes nothing.

    Args:
        max_words: longer captions are cut; see `cleaning_rules.length_rule`.
        tokenizer: that counts the words, and tells whether they are English; see `text.tokenizers`.
    """
    by = tokenizer_of(tokenizer)
    rules = (*rules_by(by), length_rule(max_words, by), EMPTY)
    kinds: dict[Kind, None] = {}
    if (answer := without_thoughts(text)) != text:
        text, kinds["markup"] = answer, None
    if len(text) > _LONGEST:
        kinds["length"] = None
    text, before = "\n".join(text[:_LONGEST].strip().splitlines()), None  # also of "\r\n"
    while text != before:  # a rule may uncover what an earlier rule is for; each makes the caption shorter
        before = text
        for rule in rules:
            after = rule.apply(text)
            if after is None:
                return Cleaned(None, (*(kind for kind in kinds if kind != rule.kind), rule.kind))
            if after != text:
                text, kinds[rule.kind] = after.strip(), None
                break
        else:
            text = " ".join(text.split())
    return Cleaned(text, tuple(kinds))
