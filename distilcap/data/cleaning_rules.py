"""Rules by which a large model's captions become plain sentences: a table of patterns, each with an example.

They are made for English; captions of other languages pass unharmed. `cleaning.clean_caption` applies them.
"""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from distilcap.text.tokenizers import Tokenizer

__all__ = ["EMPTY", "RULES", "Kind", "Rule", "length_rule"]

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


def _drop(patterns: Mapping[str, str]) -> Rule:
    """Drop what begins so; patterns by what they are for."""
    matches = re.compile(rf"[\s\"'“‘]*(?:{'|'.join(patterns.values())})", re.IGNORECASE).match
    examples = tuple((example, None) for example in patterns)
    return Rule("refusal", lambda text: None if matches(text.replace("’", "'")) else text, examples)


def _replace(changes: Sequence[tuple[str, str, str, str]], hint: str) -> Rule:
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


_NOUN = "(?:image|picture|photo|photograph|pic|snapshot)"
_SCENE = "(?:image|picture|photo|photograph|pic|snapshot|scene|illustration|visual|frame)"
_THE = "(?:(?:the|this|that) )?(?:(?:given|provided|uploaded|attached) )?"
_YOURS = "(?: (?:that )?you(?:'ve| have)? (?:provided|shared|uploaded|sent))?"
_SEEMS = "(?: is|'s| appears to be| seems to be| looks like)"
_SHOWS = (
    "(?:shows?|depicts?|features?|displays?|captures?|portrays?|presents?|illustrates?|contains?|includes?|"
    "showcases?|represents?|is of|is showing|is about)"
)
_EMPTY_WORDS = (
    "(?:(?:clear|detailed|beautiful|stunning|captivating|vibrant|nice|color|colour|"
    "high[- ](?:quality|resolution)|close[- ]up) )*"
)
_REFUSED = "(?:cannot|can't|can not|could not|couldn't|do not|don't|won't|will not|would not|must decline)"

_PREFIXES = {
    "The image clearly shows us that| A dog runs.": (
        rf"{_THE}{_SCENE}{_YOURS} (?:(?:clearly|prominently|simply|appears to|seems to) )?"
        rf"{_SHOWS}(?: us)?(?: that)?\b[: ]"
    ),
    # The comma, or a word that begins a sentence, must follow: not "in the picture of her family".
    "In this picture,| There is a dog.": (
        rf"(?:in|on|at|from) (?:the (?:center|centre|middle|foreground) of )?{_THE}{_SCENE}{_YOURS}"
        r"(?:,|(?= (?:we|you|one can|there|an?|the|two|three|some|several|people) ))"
    ),
    "we can see that| a dog runs.": (
        r"(?:we|you|one|i) (?:can |could |may )?(?:clearly |also )?(?:see|observe|notice)(?: that)? "
    ),
    "This is a close-up photo of| A dog.": (
        rf"(?:(?:this|it|here|that|{_THE}{_SCENE}){_SEEMS} )?(?:(?:an?|the|one) )?{_EMPTY_WORDS}{_NOUN} "
        r"(?:of|showing|depicting|featuring|capturing) "
    ),
    "The picture is| A close-up of a dog.": rf"{_THE}{_SCENE}{_YOURS}{_SEEMS} (?=an? )",
    "The main focus of the image is| A dog.": rf"(?:the )?(?:main )?(?:subject|focus) of {_THE}{_SCENE} is ",
    "Pictured here are| Two dogs.": rf"(?:pictured|shown|seen)(?: here| in {_THE}{_SCENE})? (?:is|are) ",
}
_PREAMBLES = {
    "Sure!| A dog runs.": r"(?:sure|certainly|of course|absolutely|okay|ok)(?: thing)?[!,.:] ?",
    "Here's a short caption for this photo:| A dog runs.": (
        r"here(?:'s| is| are)\b[^.:!?\n]{0,60}\b(?:captions?|descriptions?|sentences?|summary|image|photo)\b"
        r"[^.:!?\n]{0,60}:"
    ),
    "Image description:| A dog runs.": (
        r"(?:(?:image|photo|picture|short|brief|concise|possible|one[- ]sentence|alt) )*"
        r"(?:captions?|title|option|descriptions?|alt[- ]text|answer|response|output|assistant|summary|image|"
        rf"photo|picture)(?: #?\d+)?(?: (?:of|for) {_THE}{_NOUN})?(?: ?:| [-–—] )"
    ),
}
_REFUSALS = {
    "I'm sorry, I can't describe this image.": (
        r"(?:(?:i'm|i am|we're|we are) (?:so |very |really |truly )?sorry|sorry[,.!]|(?:my )?apologies|"
        r"i apologi[sz]e|unfortunately,? (?:i|we|the image|there is no)\b)"
    ),
    "As an AI model, I see no images.": r"as an? (?:ai|artificial|large|language)\b",
    "I cannot identify people.": (
        rf"i (?:{_REFUSED}|am unable|am not able|would need|need (?:more|to see)|have no)\b"
    ),
    "I'm unable to help with that.": r"i'm (?:unable|not able|not sure|just an? ai|an? ai)\b",
    "Unable to determine the content of the image.": (
        r"(?:unable|not able) to (?:determine|describe|identify|see|view|process|provide|generate|caption)\b"
    ),
    "It is not possible to describe the image.": (
        r"it(?:'s| is| was) (?:not possible|impossible) to (?:determine|describe|identify|tell|say|see)\b"
    ),
    "Image not found": (
        rf"{_THE}{_NOUN} (?:could )?not (?:be )?(?:found|loaded|available|visible|provided|displayed)\b"
    ),
    "Please upload the image.": (
        r"(?:please )?(?:upload|provide|share|attach) (?:an?|the|your|more) (?:\w+ )?"
        r"(?:image|photo|picture|context)"
    ),
    "It looks like no image was provided.": (
        r"(?:it (?:looks|seems|appears) (?:like |that |as if )?)?"
        r"(?:there (?:is|appears to be|seems to be) )?"
        rf"no {_NOUN} (?:(?:is|was|has been) )?(?:provided|attached|uploaded|visible|available|given)"
    ),
    "The image appears to be blank.": (
        rf"{_THE}{_NOUN} (?:is|appears to be|seems to be|seems) (?:completely |entirely )?"
        r"(?:blank|empty|missing|corrupted|unavailable|not (?:visible|available|provided))\b"
    ),
    "N/A": r"(?:n/?a|none|null|nan|unknown|undefined|error|no caption|no description)\W*$",
}
_MARKUP = (  # what it is for, what becomes of that, pattern, replacement
    ("<think>A dog?</think>A dog.", "A dog.", r"<think>.*?(?:</think>|\Z)", ""),
    ("A dog.<|im_end|>", "A dog. ", r"<\|[^|<>]*\|>|</?(?!unk>)[A-Za-z][^<>]*>", " "),
    ("![dog](dog.png)A dog.", "A dog.", r"!\[[^\[\]\n]*\]\([^)\n]*\)", ""),
    ("A [dog](dog.html).", "A dog.", r"\[([^\[\]\n]+)\]\([^)\s]+\)", r"\1"),
    ("```text\nA dog.\n```", "\nA dog.\n", r"```\w*", ""),
    ("`A dog.`", "A dog.", r"`([^`\n]+)`", r"\1"),
    # A title above the text.
    ("# Dogs\n\nA dog.", "A dog.", r"\A(?:#{1,6}[ \t][^\n]*|\*\*[^*\n]+\*\*:?[ \t]*)\n+(?=\s*\w)", ""),
    ("A **big dog**.", "A big dog.", r"\*\*(?=\S)(.+?)\*\*", r"\1"),
    ("A __big dog__.", "A big dog.", r"(?<!\w)__(?=\S)(.+?)__(?!\w)", r"\1"),
    ("A *big dog*.", "A big dog.", r"(?<![\w*])\*(?=[^\s*])([^*\n]+)\*(?![\w*])", r"\1"),
    ("A _big dog_.", "A big dog.", r"(?<!\w)_(?=[^\s_])([^_\n]+)_(?!\w)", r"\1"),
    ("## A dog.", "A dog.", r"^[ \t]*#{1,6}[ \t]+", ""),
    ("A dog. #dog #ball", "A dog.", r"(?:\s+#[^\W\d]\w*)+\s*\Z", ""),
    ("> A dog.", "A dog.", r"^[ \t]*>[ \t]+", ""),
    # A list whose lines were joined: its first item.
    ("- A dog - A cat", "A dog", r"\A[-*+•] ([^\n]+?) [-*+•] .*", r"\1"),
    # A number alone may be an ordinal, as in "3. Platz".
    ("1. A dog.\n2. A cat.", "A dog.\n2. A cat.", r"\A1[.)]\s+(?=.*\s2[.)]\s)", ""),
    ("* A dog.\n* A cat.", "A dog.\nA cat.", r"^[ \t]*(?:[-*+•]|\d{1,2}\))[ \t]+", ""),
)
_MARK = r"[<>`*_#\[]|^\s*[-+•\d]|\n\s*[-+•\d]"
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
    "ca bzw usw sog evtl ggf inkl str hr fr dipl ing geb sra srta dra ud pág aprox m mme mlle env sig dott "
    "np ok ul godz tzv např esim bijv resp pl kb vb ул им г"
)
_ABBREVIATIONS = frozenset(_ABBREVIATED.split())
_OPENING = " \"'“‘«(¿¡"
_SENTENCE_END = re.compile(
    rf"(?<![.!?])[.!?]++[\"'”’»)]*(?=\s+[{_OPENING}]*[^\W_])|[。！？।۔؟]+[」』”’]*(?=\s*\w)|\n+"
)


def _first_sentence(text: str) -> str:
    """Cut behind the first sentence or line that says something; abbreviations end none."""
    for match in _SENTENCE_END.finditer(text):
        head, end = text[: match.start()], match.group()
        words = head.split()
        if end[0] in ".!?":
            ends = len(words) > 1 and not _goes_on(words[-1], end, text[match.end() :].lstrip(_OPENING), text)
        else:
            ends = len(re.findall(r"\w", head)) > 3
        if ends:
            return text[: match.end()].rstrip()
    return text


def _goes_on(word: str, end: str, rest: str, text: str) -> bool:
    """Whether a sentence goes on behind a word with `end`: an abbreviation, a number, a small letter."""
    word = word.lstrip(_OPENING).lower()
    short = len(word) == 1 or word in _ABBREVIATIONS or "." in word[:-1] or word[-1:].isdigit()
    return (end == "." and short) or end.startswith("..") or (rest[:1].islower() and text != text.lower())


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


EMPTY: Final = Rule("empty", lambda text: text if any(map(str.isalnum, text)) else None, (("...", None),))
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
    _replace(_MARKUP, hint=_MARK),
    _drop(_REFUSALS),
    Rule("quotes", _unquote, (('"A dog runs."', "A dog runs."), ("“A dog’s tail”", "A dog’s tail"))),
    _cut_off("preamble", _PREAMBLES),
    _cut_off("prefix", _PREFIXES),
    Rule(
        "sentences",
        _first_sentence,
        (
            ("A dog runs fast. It is brown.", "A dog runs fast."),
            ("Mr. T. is in St. Louis! He runs.", "Mr. T. is in St. Louis!"),
            ("A dog\nA cat", "A dog"),
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
