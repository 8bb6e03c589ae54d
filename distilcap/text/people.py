"""Neutral words for people: "person" and "child" instead of a gender that a picture cannot tell.

`people.json` has the English words and what is written instead; its left side is also what a search must not
write. Other languages have no list: in many of them every noun has a gender.
"""

from __future__ import annotations

import functools
import json
import re
from importlib import resources
from typing import Final

from distilcap.errors import ConfigError
from distilcap.text.tokenizers import PTB

__all__ = ["NEUTRAL_PEOPLE", "RULES_VERSION", "check_english", "more_general", "neutral", "neutral_words"]

RULES_VERSION: Final = 3
"""Raise it when `neutral` makes something else of a caption: it is in the keys of rewritten artifacts."""

NEUTRAL_PEOPLE = "neutral words for people (person, child) instead of man, woman, boy, girl … (English only)"
"""What the options `neutral_people` write; for their help."""

_PRONOUNS = {"them", "their", "theirs", "themselves", "person's"}
_DESCRIBING = ("male", "female")
_NOUNS = (
    "acrobat adult artist athlete baby band bicyclist biker bird boxer cat chef cheerleader child children "
    "climber cyclist dancer deer diver doctor dog duck elephant fan figure friend giraffe golfer guitarist "
    "gymnast hiker horse infant jogger lion mannequin model motorcyclist musician nurse officer pedestrian "
    "people performer person player racer rider runner singer skateboarder skater skier snowboarder soldier "
    "spectator statue student surfer swimmer team teen teenager toddler tourist voice wrestler worker zebra "
    "baseball basketball cricket football golf gymnastics hockey lacrosse rugby soccer softball tennis track "
    "volleyball man men woman women boy girl"
).replace(" ", "|")
_SEX = re.compile(
    rf"(?<!\w)(?<!\w-)(?:(?P<article>an?) +)?(?:{'|'.join(_DESCRIBING)}) +"
    rf"(?=(?P<first>[a-z])[a-z]*)(?=(?:{_NOUNS})s?(?!\w))",
    re.IGNORECASE,
)
"""Where it surely describes: "a male surfer"; elsewhere it is a person ("a male jumps")."""
_OBJECT = re.compile(
    r"(?<!\w)(?<!\w-)her(?=\s*(?:[.,;!?]|$)|\s+(?:and|as|at|by|during|for|from|in|into|is|of|off|on|out|outside|"
    r"that|through|to|when|while|who|with)(?![\w-]))",
    re.IGNORECASE,
)
"""Where "her" is no one's: "looks at her as", "a dog next to her."."""
_PAIRS = (  # "a man and a woman" has become "a person and a person"
    (re.compile(r"\b(?:a|one) person and (?:(?:a|one|another) )?person\b", re.IGNORECASE), "two people"),
    (re.compile(r"\b(?:a|one) child and (?:(?:a|one|another) )?child\b", re.IGNORECASE), "two children"),
    (re.compile(r"\b(people|children) and \1\b", re.IGNORECASE), r"\1"),
)


def check_english(tokenizer: str) -> None:
    """Make sure that captions of a tokenizer are English.

    Raises:
        ConfigError: they are not, or need not be; there is no list of words.
    """
    if tokenizer != PTB:
        raise ConfigError(
            f"`neutral_people` has a list of words for English (tokenizer {PTB}) alone, not for tokenizer "
            f"{tokenizer}; name the words yourself by `never_write`."
        )


@functools.cache
def _replacements() -> dict[str, str]:
    text = resources.files("distilcap.text").joinpath("people.json").read_text("utf-8")
    return {str(word): str(instead) for word, instead in json.loads(text).items()}


@functools.cache
def _pattern() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?<!\w-)(?:{'|'.join(_replacements())})(?!\w|-\w)", re.IGNORECASE)


def neutral_words() -> dict[str, str | None]:
    """English words that say a person's gender, each with the word that may stand wherever it does."""
    return {
        word: None if " " in instead or word in _DESCRIBING else instead
        for word, instead in _replacements().items()
    }


def more_general(word: str) -> str | None:
    """What is written for a neutral word that a captioner does not know: "person" for "sibling"."""
    if word in _PRONOUNS:
        return None
    return "people" if word.endswith(("s", "people", "children")) else "person"


def neutral(text: str) -> str:
    """An English caption with neutral words for people; one that has them already stays as it is."""

    written = _SEX.sub(_without_sex, text)
    if text[:1].isupper():
        written = written[:1].upper() + written[1:]
    written = _OBJECT.sub(lambda match: _as_begun(match, "them"), written)
    written = _pattern().sub(lambda match: _as_begun(match, _replacements()[match[0].lower()]), written)
    if written == text:
        return text
    for pair, together in _PAIRS:
        written = pair.sub(functools.partial(_as_begun, text=together), written)
    return written


def _without_sex(match: re.Match[str]) -> str:
    """ "An " of "a female " before "athlete", and nothing of "female " without an article."""
    if not match["article"]:
        return ""
    return _as_begun(match, "an " if match["first"].lower() in "aeiou" else "a ")


def _as_begun(match: re.Match[str], text: str) -> str:
    """The text in a match's stead, with a capital where that began with one."""
    text = match.expand(text)
    return text[0].upper() + text[1:] if match[0][0].isupper() else text
