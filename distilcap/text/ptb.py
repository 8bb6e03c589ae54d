"""Penn Treebank tokenization as the official COCO scorer sees it (Stanford CoreNLP 3.4.1).

Written from the treebank's published conventions and from experiments with the official tokenizer as a
black box; held equal to it by tests. At each position every rule is tried; the rule that matches most text,
its context included, makes the token; of equals, the earlier. A rule's first group is the token; what it
matches beyond that is context.
"""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple

__all__ = ["SPLIT_WORDS", "lex_line"]

_NEWLINE: Final = "\n"

_Tokens = Callable[[str], list[str]]


def _read_classes() -> dict[str, str]:
    """Return the content of a regular expression's brackets for letters, marks and symbols."""
    ranges: dict[str, str] = json.loads(Path(__file__).with_name("ptb_characters.json").read_text("utf-8"))
    return {
        name: "".join("-".join(f"\\u{int(end, 16):04x}" for end in span.split("-")) for span in text.split())
        for name, text in ranges.items()
        if name != "about"
    }


_CLASSES: Final = _read_classes()
_LETTER: Final = _CLASSES["letters"]
_MARK: Final = _CLASSES["marks"]
_ALNUM: Final = _LETTER + _MARK + r"0-9\u00ad"
_SPACE: Final = r" \t\n\x0b\x0c\r\x85\xa0\u2000-\u200a\u2028\u2029\u3000"
_NEWLINES: Final = r"\n\x0b\x0c\r\u2028\u2029"
_APOSTROPHE: Final = "(?:['\u2019\x92]|&apos;)"
_ANY_QUOTE: Final = "(?:['\u2019\x92`\u2018\x91]|&apos;)"
_QUOTE_STARTS: Final = "['\u2019\x92&]"
_INITIALS: Final = r"[A-Za-z](?:\.[A-Za-z])*\."
_CLITIC: Final = f"{_APOSTROPHE}(?:[sdmSDM]|[rR][eE]|[vV][eE]|[lL][lL])"
_WORD: Final = f"[{_LETTER}{_MARK}][{_ALNUM}]*"
_PART: Final = f"(?:(?:[A-Za-z]\\.){{2,}}|(?:[dDlLoO]{_APOSTROPHE})?[{_ALNUM}]+)"

# Abbreviations that keep their period.
_TITLES: Final = (
    "adj|adm|adv|alex|asst|attys?|ave|brig|capt|cf|cie|cmdr|comdr|col|cpl|dept|det|drs?|elec|ens|ft|gen|"
    "govs?|hon|insp|invt|jos|lieut|lt|maj|messrs|mlle|mme|mrs?|ms|msgr|mt|natl|pfc|ph|pres|profs?|pvt|"
    "reps?|rev|sens?|sfc|sgt|spc|ste?|supts?|treas|vs|wm"
)
# Those that may also end a sentence: then the period counts twice.
_ENDINGS: Final = (
    "ala?|apr|ariz|assn|assoc|aug|bhd|bldg|blvd|bros|calif|co|colo|conn|corp|cos|ct|dak|dec|esq|est|etc|"
    "ext|feb|fla|fri|ga|inc|ind|intl|jan|jr|jul|jun|kans?|ky|ltd|mar|md|mich|minn|mo|mon|mont|neb|nev|nov|"
    "oct|okla|penn|plc|rd|rt|sept?|seq|sq|sr|sys|tel|tenn|thu|thurs|tues?|univ|va|vt|wed|wisc?|wyo"
)
_STATES: Final = "Ark|Az|Del|Ill|La|Mass|Miss|Ore|Pa|Tex|Wash"
_ENDING: Final = f"(?:(?i:{_ENDINGS}|ph\\.d)|{_STATES}|{_STATES.upper()}|[Pp]?[Pp]t[ye]s?)\\."
# Those that keep it before a number.
_NUMBERED: Final = "art|ca|figs?|nos?|op|pp|prop"
# Words that begin a sentence, so that a period after initials before them ends a sentence.
_STARTS: Final = (
    "A|About|According|Additionally|After|An|As|At|But|Earlier|He|Her|Here|However|If|In|It|Last|Many|More|Now|Once|"
    "One|Other|Our|She|Since|So|Some|Such|That|The|Their|Then|There|These|They|This|We|What|When|While|Yet|You"
)
_START: Final = f"(?:{_STARTS}|{_STARTS.upper()})"

_COMPOUNDS: Final = {"cannot": 3, "gonna": 3, "gotta": 3, "lemme": 3, "gimme": 3, "wanna": 3}
"""Words that are two tokens, and the length of the first."""

SPLIT_WORDS: Final = frozenset(_COMPOUNDS)
"""Words of letters alone that are two tokens."""


class _Rule(NamedTuple):
    starts: re.Pattern[str]
    pattern: re.Pattern[str]
    tokens: _Tokens | None


_RULES: Final[list[_Rule]] = []
_ANY_LETTER: Final = f"[{_LETTER}{_MARK}]"
_ASCII: Final = "[A-Za-z]"


def _rule(starts: str, pattern: str, tokens: _Tokens | str | None = None) -> None:
    """Add a rule for positions where a character matches `starts`; `tokens` is what becomes of the match."""
    if isinstance(tokens, str):
        fixed = tokens.split()
        tokens = lambda _: fixed  # noqa: E731
    _RULES.append(_Rule(re.compile(starts), re.compile(pattern), tokens))


_QUOTES: Final = {
    **dict.fromkeys("\x91\u2018\u201b\u2039", "`"),
    **dict.fromkeys("\x92\u2019\u203a", "'"),
    **dict.fromkeys("\x93\xab\u201c", "``"),
    **dict.fromkeys("\x94\xbb\u201d", "''"),
}


def _plain_quotes(text: str) -> list[str]:
    return ["".join(_QUOTES.get(character, character) for character in text.replace("&apos;", "'"))]


def _no_space(text: str) -> list[str]:
    """Tokens are separated by spaces, so a token that has a space inside keeps a no-break space."""
    return [re.sub(f"[{_SPACE}]", "\xa0", text.replace("(", "-LRB-").replace(")", "-RRB-"))]


def _brackets(text: str) -> list[str]:
    return [text.replace("(", "-LRB-").replace(")", "-RRB-")]


def _end_of_sentence(text: str) -> list[str]:
    """Initials before a sentence's start: "U.S. ." but "x ."."""
    return [text, "."] if text.count(".") > 1 else [text[:-1], "."]


# Contractions
_rule(_ASCII, f"([A-Za-z]*[A-MO-Za-mo-z])[nN]{_ANY_QUOTE}[tT]")
_rule("[nN]", f"([nN]{_ANY_QUOTE}[tT])", _plain_quotes)
_rule(_QUOTE_STARTS, f"({_CLITIC})[^A-Za-z]", _plain_quotes)
_rule("'", "('[tT])(?:[iI][sS]|[wW][aA][sS])")
for _word, _cut in _COMPOUNDS.items():
    _rule(_ASCII, f"((?i:{_word[:_cut]}))(?i:{_word[_cut:]})(?![{_ALNUM}])")
_rule(
    _QUOTE_STARTS,
    f"({_APOSTROPHE}(?:[nN]{_APOSTROPHE}?|(?i:em|cause|till?)|[0-9]0[sS]|[0-9][0-9](?=[{_SPACE}])))",
)
_rule("[cC]", f"([cC]{_APOSTROPHE}[mM][oO][nN])")
_rule(_ASCII, f"((?:[dDjJlL]|[dD]unkin|DUNKIN|[oO][lL]){_APOSTROPHE})")
_rule(_ASCII, f"([A-Za-z]+){_CLITIC}")
_rule("[yY]", f"([yY]{_APOSTROPHE})[{_LETTER}]")
_rule(_ASCII, f"([dDlLoO]{_ANY_QUOTE}[{_LETTER}0-9]{{2,}})")
_rule(_ANY_LETTER, f"([{_LETTER}]+[aeiouyAEIOUY]{_ANY_QUOTE}[aeiouA-Z][{_LETTER}]*)")
_rule(_ASCII, f"([A-HJ-XZn]{_ANY_QUOTE}[{_LETTER}]{{2,}})")
_rule("'", f"(')[A-Za-z][^{_SPACE}]", "`")
_rule(_QUOTE_STARTS, f"({_CLITIC})", _plain_quotes)

# Sentences without a space between; and abbreviations that may end a sentence, where it goes on
_rule(_ANY_LETTER, f"({_WORD}(?:[.!?]{_WORD})+)")
_rule(_ASCII, f"({_ENDING})(?:[0-9,;:]|[^{_SPACE}][\\s\\S]|[{_SPACE}][^{_SPACE}{_CLASSES['capitals']}])")

# Words and numbers
_rule(_ANY_LETTER, f"({_WORD})")
_rule("[0-9]", f"([0-9][{_ALNUM}]*)")
_rule(r"[-+0-9.,:\u066b\u066c]", r"([-+]?(?:\d*(?:[.,:\u00ad\u066b\u066c]\d+)+|\d+))")
_rule("[0-9]", r"(\d{1,2}[-/]\d{1,2}[-/]\d{2,4})")
_rule(r"\d", r"((?:\d{1,4}[- \u00a0])?\d{1,4}(?:\\?/|\u2044)\d{1,4})", _no_space)
_rule(
    "[(+0-9]",
    r"((?:\(\d{2,3}\)[ \xa0]?|(?:\+?\d{1,4}[- \xa0])?\d{2,4}[- \xa0/.])\d{3,4}[- \xa0.]\d{3,5})",
    _no_space,
)
_rule(f"[{_ALNUM}]", f"((?:[dDlLoO]{_APOSTROPHE})?[{_ALNUM}]+(?:[-_\u058a\u2010\u2011]{_PART})+)")
_rule(f"[{_ALNUM}]", f"([{_ALNUM}][{_ALNUM}.,]*(?:[-\u058a\u2010\u2011]{_PART})+)")
_rule("[A-Za-z0-9]", r"([A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2})")
_rule("[A-Z]", r"([A-Z]+(?:(?:&|&amp;)[A-Z]+)+)", lambda text: [text.replace("&amp;", "&")])
_rule("[A-Z]", r"([A-Z]+(?:\+[A-Z]+)+)")
_rule(_ASCII, r"([cC]\+\+|[cCfF]#)")

# Other abbreviations
_rule(_ASCII, f"({_INITIALS})[{_SPACE}]+{_START}[{_SPACE}]", _end_of_sentence)
_rule(_ASCII, f"({_INITIALS})")
_rule(_ASCII, f"((?i:{_TITLES})\\.|[mM](?:fg|tg)\\.)")
_rule(_ASCII, f"({_ENDING})", lambda text: [text, "."])
_rule(_ASCII, f"((?i:{_NUMBERED})\\.)[{_SPACE}]?\\d")
_rule(f"[{_ALNUM}]", f"([{_ALNUM}]+(?:[-_.][{_ALNUM}]+)*\\.)[,;:]")

# Addresses
_STOPS: Final = f'{_SPACE}"<>|()'
_rule("[hH]", rf"((?i:https?)://[^{_STOPS}]*[^{_STOPS}.!?,{{}}-])")
_LABEL: Final = r"[a-z#%&*+~\u0080-\uffff]+"
_PATH: Final = rf"(?:/[^{_STOPS}]*[^{_STOPS}.!?,{{}}-])?"
_rule(_LABEL, rf"((?:{_LABEL}\.)+(?:com|net|org|edu){_PATH})")
_rule("[A-Za-z0-9]", rf"([A-Za-z0-9][^{_STOPS}{{}}]*@[^{_STOPS}{{}}.]+(?:\.[^{_STOPS}{{}}.]+)*)")
_rule("@", r"(@[A-Za-z_][A-Za-z_0-9]*)")
_rule("#", f"(#[{_LETTER}]+)")
_rule(
    "[A-Za-z0-9]",
    r"([A-Za-z0-9]+(?:\.[A-Za-z0-9]+)*\.(?i:jpe?g|gif|png|txt|pdf|html?|mp3|docx?|zip|exe|xml))(?![A-Za-z0-9])",
)
_rule("<", rf"(<(?:[!?]|/?[A-Za-z])[^<>{_NEWLINES}]*>)", _no_space)
_rule(r"\\", r"(\\\*)")

# Emoticons; the sets come from trying all of ASCII
_EYES, _NOSE, _MOUTH = "[:;=]", "['*o-]?", r"[()@DOP[\]\\dp{|]"
_rule("[<>:;=]", f"([<>]?{_EYES}{_NOSE}{_MOUTH})[^A-Za-z0-9]", _brackets)
_SIDE: Final = "['<=>^x~-]"
_rule("['<=>^x~-]", f"({_SIDE}_{_SIDE})")

# Punctuation
for _name, _character in {"amp": "&", "lt": "<", "gt": ">", "apos": "'", "nbsp": ""}.items():
    _rule("&", f"(&{_name};)", _character)
_rule(r"[.\x85\u2026]", r"(\.{3,}|\. \. \.|[\x85\u2026])", "...")
_rule(r"[-\x96\x97\u2013-\u2015]", r"(-{2,}|[\x96\x97\u2013\u2014\u2015])", "--")
_rule("-", "(-(?:[LR][RCS]B|[lr][rcs]b)-)")
_rule('["&]', '("|&quot;)[A-Za-z0-9$]', "``")
_rule('["&]', '("|&quot;)', "''")
_ANY_QUOTES: Final = f"[`{''.join(_QUOTES)}]"
_rule(_ANY_QUOTES, f"({_ANY_QUOTES}{{1,2}})", _plain_quotes)
_rule("'", "(''?)")
for _character, _name in zip("()[]{}", ("-LRB-", "-RRB-", "-LSB-", "-RSB-", "-LCB-", "-RCB-"), strict=True):
    _rule(re.escape(_character), f"({re.escape(_character)})", _name)
_rule("[A-Z]", r"([A-Z]+\$)")
_rule(r"[\x80\xa4\u20a0\u20ac]", "(.)", "$")
_rule("\xa3", "(.)", "#")
_rule("\xa2", "(.)", "cents")
for _character, _name in {
    "\xbc": "1/4",
    "\xbd": "1/2",
    "\xbe": "3/4",
    "\u2153": "1/3",
    "\u2154": "2/3",
}.items():
    _rule(_character, "(.)", _name)
_rule(r"[!?*#_@<>]", r"([!?]+|\*+|#+|_+|@+|<<?|>>?)")
_rule(f"[{_CLASSES['symbols']}'`.,:+=/&%$~|^;\\\\-]", "([\\s\\S])")
_rule(f"[{_NEWLINES}]", f"(\r\n|[{_NEWLINES}])", lambda _: [_NEWLINE])


@functools.cache
def _rules_for(character: str) -> tuple[tuple[re.Pattern[str], _Tokens | None], ...]:
    return tuple((rule.pattern, rule.tokens) for rule in _RULES if rule.starts.match(character))


_FAST: Final = re.compile(r"[A-Za-z]+(?=[ \n])")


def lex_line(text: str, start: int) -> tuple[list[str], int]:
    """Return the tokens from `start` to the line's end, and where the next line begins."""
    words: list[str] = []
    while start < len(text):
        character = text[start]
        if character == " ":
            start += 1
            continue
        fast = _FAST.match(text, start)
        if fast:
            word = fast.group()
            cut = _COMPOUNDS.get(word.lower()) if len(word) < 7 else None
            words += [word[:cut], word[cut:]] if cut else [word]
            start = fast.end()
            continue
        longest, best, tokens = start, None, None
        for pattern, makes in _rules_for(character):
            match = pattern.match(text, start)
            if match and match.end() > longest:
                longest, best, tokens = match.end(), match, makes
        if best is None:
            start += 1
            continue
        start = best.end(1)
        made = tokens(best.group(1)) if tokens else [best.group(1)]
        if made == [_NEWLINE]:
            break
        words += made
    return [word.replace("\xad", "") if len(word) > 1 else word.replace("\xad", "-") for word in words], start
