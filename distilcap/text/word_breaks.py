"""Words of any language by the default word boundaries of Unicode (UAX #29), and characters of Chinese,
Japanese, Thai and their like.

The properties of characters come from `regex`, which follows Unicode's tables; the rules are below, named as
in the annex. Words are in lower case and composed (NFC); what has no letter or digit is dropped.
"""

from __future__ import annotations

import functools
import unicodedata
from typing import TYPE_CHECKING

from distilcap.text.unspaced import UNSPACED

if TYPE_CHECKING:
    from regex import Pattern

__all__ = ["split_at_boundaries", "split_characters"]

_EXTEND = r"[\p{WB=Extend}\p{WB=Format}\p{WB=ZWJ}]*+"  # WB4
_HEBREW = r"\p{WB=Hebrew_Letter}"


def _run(unless: str = "") -> str:
    """Letters, digits and underscores without a boundary between; none for which `unless` matches."""
    letter = rf"{unless}[\p{{WB=ALetter}}{_HEBREW}]"
    number = rf"{unless}\p{{WB=Numeric}}"
    inside_word = r"[\p{WB=MidLetter}\p{WB=MidNumLet}']"
    inside_number = r"[\p{WB=MidNum}\p{WB=MidNumLet}']"
    parts = (
        rf"{_HEBREW}{_EXTEND}\"{_EXTEND}(?={_HEBREW})",  # WB7b, WB7c
        rf"{letter}{_EXTEND}(?:{inside_word}{_EXTEND}(?={letter}))?",  # WB5 to WB7, WB9
        rf"{number}{_EXTEND}(?:{inside_number}{_EXTEND}(?={number}))?",  # WB8, WB10 to WB12
        rf"\p{{WB=ExtendNumLet}}{_EXTEND}",  # WB13a, WB13b
    )
    geresh = rf"(?<={_HEBREW}{_EXTEND[:-1]})'{_EXTEND}"  # WB7a
    return f"(?:{'|'.join(parts)})+(?:{geresh})?"


@functools.cache
def _boundaries() -> Pattern[str]:
    import regex

    katakana = rf"(?:\p{{WB=Katakana}}{_EXTEND})+"  # WB13
    return regex.compile(rf"{_run()}|{katakana}|[\p{{L}}\p{{N}}]{_EXTEND}", regex.VERSION1)


@functools.cache
def _characters() -> Pattern[str]:
    import regex

    marks = r"[\p{GCB=Extend}\p{GCB=SpacingMark}\p{GCB=ZWJ}]"  # GB9, GB9a
    unspaced = rf"(?!{marks})[[{UNSPACED}]&&[\p{{L}}\p{{N}}]]{marks}*+"
    return regex.compile(f"{unspaced}|{_run(f'(?![{UNSPACED}])')}", regex.VERSION1)


def _words(caption: str, pattern: Pattern[str]) -> list[str]:
    words = pattern.findall(unicodedata.normalize("NFC", caption.lower()))
    return [word for word in words if any(letter.isalnum() for letter in word)]


def split_at_boundaries(caption: str) -> list[str]:
    """Return the words between Unicode's word boundaries: for every language that has spaces."""
    return _words(caption, _boundaries())


def split_characters(caption: str) -> list[str]:
    """Return each character of a script without spaces, its marks included; of others, the words."""
    return _words(caption, _characters())
