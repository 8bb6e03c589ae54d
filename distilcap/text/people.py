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

RULES_VERSION: Final = 5
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
    r"(?<!\w)(?<!\w-)her(?=\s*(?:[.,;!?]|$)|\s+(?:a|an|and|as|at|by|during|for|from|he|in|into|is|of|off|on|"
    r"out|outside|she|that|the|through|to|up|when|while|who|with)(?![\w-]))",
    re.IGNORECASE,
)
"""Where "her" is no one's: "looks at her as", "a dog next to her."."""
_OTHER_SENSE = (
    "(?!cow(?:boy|girl) +(?:hat|boot|shirt|outfit|costume|gear|clothes|attire)|(?:king|queen) +(?:size|bed)|"
    r"(?<=burger )king|(?<=drag )queen|(?<=dairy )queen|queen +bee|"
    r"(?<!\ba )(?<!\bthe )(?<!\bhis )(?<!\bher )(?<!\btheir )(?<!\bbride and )groom(?!\w))"
)
"""Before a word of the list: where it names no person, or may be a verb."""
_UNSURE = ("groom", "king", "kings", "queen", "queens")
"""Of these a search cannot see which sense they have: it writes neither them nor a word in their place."""
_PLURALS = {"person": "people", "child": "children", "grandchild": "grandchildren"} | {
    word: f"{word}s"
    for word in ("parent", "grandparent", "sibling", "partner", "relative", "monarch", "royal")
}
"""Of what a pair may become: "a man and a woman" is "a person and a person" first."""
_PAIR = re.compile(
    rf"(?:\b(?:a|one|(?P<the>the)) |^)(?P<one>{'|'.join(_PLURALS)}) and "
    r"(?:(?:a|one|another) )?(?P=one)\b",
    re.IGNORECASE,
)
"""Not where "the" comes second: "a woman and he is" begins anew at "he"."""
_GROUPS = re.compile(rf"\b({'|'.join(_PLURALS.values())})(?: and \1\b)+", re.IGNORECASE)


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
    words = "|".join(_replacements())
    return re.compile(
        rf"(?<!\w)(?<!\w-)(?:(?P<article>an?)(?P<gap> +))?{_OTHER_SENSE}(?P<word>{words})(?!\w|-\w)"
        r"(?P<owners>(?<=s)['’](?= +\w))?",
        re.IGNORECASE,
    )


def neutral_words() -> dict[str, str | None]:
    """English words that say a person's gender, with the word, if any, that may stand wherever each does."""
    return {
        word: None if " " in instead or word in (*_DESCRIBING, *_UNSURE) else instead
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
    written = _pattern().sub(_instead, written)
    if written == text:
        return text
    return _GROUPS.sub(r"\1", _PAIR.sub(_together, written))


def _instead(match: re.Match[str]) -> str:
    """A neutral word, and "a" or "an" before it as it wants."""
    word = _replacements()[match["word"].lower()]
    if match["word"][0].isupper():
        word = word[0].upper() + word[1:]
    if match["owners"]:  # "boys'" is "children's", but not where it ends a quotation
        quoted = re.search(r"(?:^|[\s(])['‘]\w[^'’]*$", match.string[: match.start("word")] + "x")
        word += match["owners"] + "s" * (word[-1] != "s" and quoted is None)
    if not match["article"]:
        return word
    return match["article"][0] + "n" * (word[0].lower() in "aeiou") + match["gap"] + word


def _together(match: re.Match[str]) -> str:
    """ "Two people" of "a person and a person"."""
    return _as_begun(match, "the " * bool(match["the"]) + f"two {_PLURALS[match['one'].lower()]}")


def _without_sex(match: re.Match[str]) -> str:
    """ "An " of "a female " before "athlete", and nothing of "female " without an article."""
    if not match["article"]:
        return ""
    return _as_begun(match, "an " if match["first"].lower() in "aeiou" else "a ")


def _as_begun(match: re.Match[str], text: str) -> str:
    """The text in a match's stead, with a capital where that began with one."""
    text = match.expand(text)
    return text[0].upper() + text[1:] if match[0][0].isupper() else text
