"""Rules by which a large model's captions become plain sentences, each with examples.

They are made for English; captions of other languages pass unharmed. `cleaning_patterns` has what they look
for, and `cleaning.clean_caption` applies them.
"""

from __future__ import annotations

import functools
import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from distilcap.data.cleaning_patterns import (
    MARK,
    MARKUP,
    PREAMBLES,
    PREFIXES,
    REFUSALS,
    THOUGHT,
    THOUGHT_END,
)
from distilcap.text.tokenizers import PTB, Tokenizer

__all__ = ["EMPTY", "RULES", "Kind", "Rule", "length_rule", "rules_by", "without_thoughts"]

Kind = Literal[
    "markup", "quotes", "preamble", "prefix", "sentences", "length", "refusal", "repetition", "empty"
]


@dataclass(frozen=True)
class Rule:
    """One change of a caption.

    Attributes:
        kind: what it is counted as.
        apply: gives the caption as it should be, or None if it is no caption.
        examples: captions that it is for, and what becomes of them; None where they are dropped.
    """

    kind: Kind
    apply: Callable[[str], str | None]
    examples: tuple[tuple[str, str | None], ...]


def without_thoughts(text: str) -> str:
    """What stands behind the last thought, or before the first where nothing does.

    Thoughts may be longer than what the rules look at, so that this comes before them too.
    """
    *before, answer = THOUGHT_END.split(text)
    answer = THOUGHT.split(answer)[0]
    return answer if answer.strip() or not before else THOUGHT.split(before[0])[0]


def _drop(patterns: Mapping[str, str]) -> Rule:
    """Drop what begins so; patterns by what they are for."""
    matches = re.compile(rf"[\s\"'“‘]*(?:{'|'.join(patterns.values())})", re.IGNORECASE).match
    examples = tuple((example, None) for example in patterns)
    return Rule("refusal", lambda text: None if matches(text.replace("’", "'")) else text, examples)


def _replace(
    changes: Sequence[tuple[str, str, str, str | Callable[[re.Match[str]], str]]], hint: str
) -> Rule:
    """Replace patterns where there is a hint of them: most captions are plain."""
    compiled = [(re.compile(pattern, re.MULTILINE | re.DOTALL), new) for *_, pattern, new in changes]
    has_hint = re.compile(hint).search

    def replace(text: str) -> str:
        if has_hint(text) is None:
            return text
        for pattern, becomes in compiled:
            text = pattern.sub(becomes, text)
        return text

    return Rule("markup", replace, tuple((before, after) for before, after, *_ in changes))


def _cut_off(kind: Kind, patterns: Mapping[str, str]) -> Rule:
    """Take off what begins so; patterns by what they are for, up to the bar. A capital stays one."""
    matches = re.compile(rf"(?:{'|'.join(patterns.values())})\s*(?=\W*[^\W_]|\W*\Z)", re.IGNORECASE).match

    def cut(text: str) -> str:
        match = matches(text.replace("’", "'") + " ")
        if match is None:
            return text
        rest = text[match.end() :]
        first = rest[:1].upper() if match.group()[0].isupper() else rest[:1]
        return (first if len(first) == 1 else rest[:1]) + rest[1:]

    examples = (example.split("|") for example in patterns)
    return Rule(kind, cut, tuple((head + rest, rest.strip()) for head, rest in examples))


_QUOTES = ('""', "“”", "„“", "„”", "«»", "»«", "‘’", "''", "「」", "『』")


def _unquote(text: str) -> str:
    """Take off quotation marks around the whole, as far as they are one pair."""
    whole = text.strip()
    for pair in _QUOTES:
        opening, closing = pair[0], pair[1]
        if whole[:1] != opening or len(whole) < 3:
            continue
        inner = whole.removesuffix(".")
        middle = inner[1:-1]
        inside = re.sub(r"(?<=\w)['’](?=\w)", "", middle)  # an apostrophe is no quotation mark
        if inner[-1] == closing and opening not in inside and closing not in inside:
            return middle
    return text


_ABBREVIATED = (
    "mr mrs ms dr prof st jr sr vs etc approx no nr fig vol inc ltd co corp mt ft lt sgt capt gen rev ave "
    "ca bzw usw sog evtl ggf inkl exkl zzgl bzgl vgl hl gr stk str hr fr dipl ing geb "
    "sra srta dra ud pág aprox m mme mlle env sig dott "
    "np ok ul godz tzv např esim bijv resp pl kb vb ул им г"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_VOICELESS = re.compile(r"[b-df-hj-np-tv-xz]{2,4}")  # "tr", "bzgl": words have vowels
_BEFORE_NUMBER = 4  # letters at most of what is short for something before a number, as in "Kap. 3"
_NUMBERED = frozenset(["max", "min", "mind", "abb", "tel", "kap"])
_ALONE = re.compile(r"\d[\d.,]*+(?!\s+[A-ZÄÖÜ])")  # a number that counts nothing: no noun comes behind it
_OPENING = " \"'“‘«(¿¡"
_SENTENCE_END = re.compile(
    rf"(?<![.!?])[.!?]++[\"'”’»)]*(?=\s+[{_OPENING}]*[^\W_])|[。！？।۔؟]+[」』”’]*(?=\s*\w)|\n+"
)


def _first_sentence(text: str, english: bool = True) -> str:
    """Cut behind the first sentence or line that says something; abbreviations end none.

    Args:
        english: else abbreviations that nobody listed are told by their looks, and numbers end none.
    """
    for match in _SENTENCE_END.finditer(text):
        head, end = text[: match.start()], match.group()
        words = head.split()
        if end[0] in ".!?":
            rest = text[match.end() :]
            goes_on = len(words) < 2 or _goes_on(words[-1], end, rest.lstrip(_OPENING), text)
            if english and goes_on and end == "." and len(words) > 3 and words[-2][-1] != ":":
                goes_on = not _ends_in_a_sign(words[-1], rest.lstrip(_OPENING))
            if not english and end == "." and words:
                goes_on = goes_on or _looks_short(words[-1].lstrip(_OPENING), rest.lstrip())
            ends = not goes_on and not _is_quoted(text[: match.end()], rest)
        else:
            ends = len(re.findall(r"\w", head)) > 3
        if ends:
            return text[: match.end()].rstrip()
    return text


def _is_quoted(before: str, after: str) -> bool:
    """Whether a quotation begins before a place and ends after it."""
    opened = before.count('"') % 2 and '"' in after
    return bool(opened) or (before.count("“") > before.count("”") and "”" in after)


def _goes_on(word: str, end: str, rest: str, text: str) -> bool:
    """Whether a sentence goes on behind a word with `end`: an abbreviation, a number, a small letter."""
    word = word.lstrip(_OPENING).lower()
    short = len(word) == 1 or word in _ABBREVIATIONS or "." in word[:-1] or word[-1:].isdigit()
    return (end == "." and short) or end.startswith("..") or (rest[:1].islower() and text != text.lower())


_BEGINNINGS = "she he they it we the a an there his her their this these two three people"
_BEGINS = frozenset(_BEGINNINGS.split())


def _ends_in_a_sign(word: str, rest: str) -> bool:
    """Whether a sentence ends behind "number 10" or "size L", unlike "J. Smith" and "am 3. Oktober"."""
    first = re.match(r"[A-Z]\w*(?= )", rest)
    return (word.isdecimal() or len(word) == 1) and first is not None and first[0].lower() in _BEGINS


def _looks_short(word: str, rest: str) -> bool:
    """Whether a word before a period is short for another: "Tr.", "Kap. 3"; not "tv.", "Hut. 3 Kinder"."""
    if word.lower() in _NUMBERED:
        return rest[:1].isdigit()
    if not word[:1].isupper() or word.isupper():
        return False
    of_number = word.isalpha() and len(word) <= _BEFORE_NUMBER and _ALONE.match(rest) is not None
    return of_number or _VOICELESS.fullmatch(word.lower()) is not None


_UNSPACED = "[\u0e00-\u0eff\u3040-\u30ff\u3400-\u9fff]"
_LOOPS = re.compile(rf"((?:{_UNSPACED}){{1,8}}?)\1{{4,}}")
_MARKS = string.punctuation + "“”„«»‘’…–—。，、！？।"
_LONG_PHRASE = 4  # words; so long a phrase says nothing new the second time


def _drop_loops(text: str) -> str | None:
    """Drop "dai dai dai", a phrase three times in a row, or a long phrase twice."""
    words = [word for word in (each.strip(_MARKS) for each in text.casefold().split()) if word]
    repeated = len(words) - len(set(words))
    for length in range(1, len(words) // 2 + 1 if repeated > 1 else 1):
        times = 2 if length >= _LONG_PHRASE else 3
        run = 0  # of words that equal those a phrase before
        for before, word in zip(words, words[length:], strict=False):
            run = run + 1 if before == word else 0
            if run >= length * (times - 1):
                return None
    return None if _LOOPS.search(text) else text


def _drop_empty(text: str) -> str | None:
    """Drop what has no letter or digit, or announces what does not follow."""
    return text if any(map(str.isalnum, text)) and not text.endswith((":", "：")) else None


EMPTY: Final = Rule("empty", _drop_empty, (("...", None), ("The main elements are:", None)))
_CLAUSE = "while|whilst|which|who|where|but|as"
_JOINTS = (  # the better first: a comma alone may stand in a list, or around an insertion
    re.compile(rf"(?i)\s*[;:–—](?=\s)|\s*,(?=\s(?:{_CLAUSE}|with|and|\w+ing)\s)|\s(?=(?:{_CLAUSE})\s)"),
    re.compile(
        r"(?i)\s*,(?=\s)|\s(?=(?:with|that|and (?:an?|the|his|her|their|one|two|three|some|is|are|has|have|"
        r"\w+ing|\w+s))\s)"
    ),
)
_OPEN_WORDS = (
    "a an the of in on at with and or to by for from is are was were its his her their that which who while "
    "as near into over under behind where but being has have this front next"
)
_DANGLING = frozenset(_OPEN_WORDS.split())


_LONG = "A man in a red shirt stands on a tall ladder{} the wall of an old house with a brush made of straw"
_CUT = _LONG.split("{")[0]


def length_rule(max_words: int, tokenizer: Tokenizer) -> Rule:
    """Cut a caption of more words, as training counts them, where a phrase ends.

    Before its last "while", "who", ", with"…, else its last comma, "with" or "and a", if that keeps 40 % of
    the allowed words; else behind the last that may end a phrase. Captions without spaces stay whole.
    """

    def cut(text: str) -> str:
        if not tokenizer.spaced or len(tokenizer.words(text)) <= max_words:
            return text
        words = text.split()
        count = min(len(words), max_words)
        while count > 1 and len(tokenizer.words(" ".join(words[:count]))) > max_words:
            count -= 1
        kept = words[:count]
        seen, allowed = " ".join(words[: count + 2]), len(" ".join(kept))  # a joint may lie just behind
        for joints in _JOINTS:
            ends = [match.start() for match in joints.finditer(seen) if match.start() <= allowed]
            if ends and len(seen[: ends[-1]].split()) >= 0.4 * max_words:
                kept = seen[: ends[-1]].split()
                break
        while len(kept) > 1 and kept[-1].lower().strip(",;:") in _DANGLING:
            kept.pop()
        return " ".join(kept).rstrip(" ,;:–—-")

    examples = ((_LONG.format(", painting"), _CUT), (_LONG.format(" and paints"), _CUT))
    return Rule("length", cut, examples)


RULES: Final = (
    Rule(
        "markup",
        without_thoughts,
        (
            ("<think>A cat?</think>A dog.", "A dog."),
            ("A cat?</think>A dog.", "A dog."),
            ("◁think▷A cat?◁/think▷A dog.", "A dog."),
            ("<|channel|>analysis<|message|>A cat?<|channel|>final<|message|>A dog.", "A dog."),
        ),
    ),  # again: JSON may hold thoughts
    _replace(MARKUP, hint=MARK),
    _drop(REFUSALS),
    Rule("quotes", _unquote, (('"A dog runs."', "A dog runs."), ("“A dog’s tail”", "A dog’s tail"))),
    _cut_off("preamble", PREAMBLES),
    _cut_off("prefix", PREFIXES),
    Rule(
        "sentences",
        _first_sentence,
        (
            ("A dog runs fast. It is brown.", "A dog runs fast."),
            ("Mr. T. is in St. Louis! He runs.", "Mr. T. is in St. Louis!"),
            ("A dog\nA cat", "A dog"),
            ("A jersey with number 10. She runs.", "A jersey with number 10."),
            ("A man in size L. He smiles.", "A man in size L."),
            ('A man says "Hi. Who is it?" to a dog. It barks.', 'A man says "Hi. Who is it?" to a dog.'),
        ),
    ),
    Rule(
        "repetition",
        _drop_loops,
        (
            ("a man in a Dai dai dai", None),
            ("a dog on a mat on a mat on a mat", None),
            ("two men on a bench and two men on a bench and", None),
            ("一只狗狗狗狗狗狗", None),
        ),
    ),
)
"""All rules but the length cap, in order; applied until none changes anything."""

_OTHERS: Final = tuple(
    replace(rule, apply=functools.partial(_first_sentence, english=False))
    if rule.kind == "sentences"
    else rule
    for rule in RULES
)


def rules_by(tokenizer: Tokenizer) -> tuple[Rule, ...]:
    """`RULES` as they are for captions that become words by a tokenizer: PTB's are English."""
    return RULES if tokenizer.name == PTB else _OTHERS
