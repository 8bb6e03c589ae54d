"""Patterns that tell a large model's captions, each by an example; see `cleaning_rules`."""

from __future__ import annotations

import json
import re
from typing import Final

from distilcap.errors import DataError
from distilcap.files import parse_json

__all__ = ["MARK", "MARKUP", "PREAMBLES", "PREFIXES", "REFUSALS", "THOUGHT", "THOUGHT_END"]

_THINK = "(?:think(?:ing)?|thoughts?|reason(?:ing)?|reflection)"
THOUGHT: Final = re.compile(rf"(?i)<{_THINK}>|◁think▷|<\|channel\|>analysis<\|message\|>")
THOUGHT_END: Final = re.compile(rf"(?i)</{_THINK}>|◁/think▷|<\|channel\|>final<\|message\|>")
"""Where an answer begins; many templates write the thought's beginning themselves, so that it is missing."""

_NOUN = "(?:image|picture|photo|photograph|pic|snapshot)"
_SCENE = "(?:image|picture|photo|photograph|pic|snapshot|scene|illustration|visual|frame)"
_ADJECTIVE = (
    "(?:clear|detailed|beautiful|stunning|captivating|vibrant|nice|color|colour|colou?rful|"
    "high[- ](?:quality|resolution)|close[- ]up|candid|dynamic|striking|serene|lively|charming|heartwarming|"
    "dramatic|intimate|evocative|picturesque|breathtaking|intriguing|whimsical|compelling|atmospheric|tranquil|"
    "peaceful|playful|joyful|engaging|mesmeri[sz]ing|delightful|energetic|powerful|memorable)"
)
_EMPTY_WORDS = f"(?:{_ADJECTIVE},? )*"
_THE = f"(?:(?:the|this|that) )?(?:(?:given|provided|uploaded|attached) )?{_EMPTY_WORDS}"
_YOURS = "(?: (?:that )?you(?:'ve| have)? (?:provided|shared|uploaded|sent))?"
_SEEMS = "(?: is|'s| appears to be| seems to be| looks like)"
_SHOWS = (
    "(?:shows?|depicts?|features?|displays?|captures?|portrays?|presents?|illustrates?|contains?|includes?|"
    "showcases?|represents?|is of|is showing|is about)"
)
# A shot, or a nice one, may be of whiskey.
_PHOTO_OF = (
    f"(?:(?:an?|the|one) )?{_EMPTY_WORDS}(?:{_NOUN}|(?!nice|clear|powerful){_ADJECTIVE},? shot) "
    "(?:of|showing|depicting|featuring|capturing)"
)
# A picture in the picture: "… of a dog hangs on the wall". Behind "who" or a comma the verb is the dog's.
_AT = "(?:on|in|at|above|against|over|behind|beside|near|next|under)"
_PLACED = (
    "being|hanging|hung|displayed|shown|mounted|pinned|taped|framed|printed|painted|projected|posted|attached|"
    "lying|leaning|placed|propped|stuck|held|visible|taken"
)
_THING = (
    r"(?:(?!\b(?:who|that|which|where|while|whose|as)\b)[^.,;:!?\n])*"
    rf"\b(?<!the )(?:(?:hangs|hung|lies|leans|rests|sits|stands) {_AT}|(?:adorns|decorates|covers) |"
    rf"(?:is|was) (?:{_AT}|{_PLACED}))\b"
)
_REFUSED = "(?:cannot|can't|can not|could not|couldn't|do not|don't|won't|will not|would not|must decline)"

_CAPTION_BELOW = (
    r"(?=(?:short |image )?(?:caption|description)s?\b|(?![\w ]{1,20}:|(?:i )?hope|let me|is there|would you|"
    r"do you|feel free|please|note\b|thank)[^\n]*[.!?][ \t]*(?:\n|\Z))"
)

PREFIXES: Final = {
    "The image clearly shows us that| A dog runs.": (
        rf"{_THE}{_SCENE}{_YOURS} "
        r"(?:(?:clearly|prominently|simply|beautifully|vividly|appears to|seems to) )?"
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
    "This is a close-up photo of| A dog.": (rf"(?:this|it|here|that|{_THE}{_SCENE}){_SEEMS} {_PHOTO_OF} "),
    "A photo of| A dog that sits on the sand.": rf"{_PHOTO_OF} (?!{_THING})",
    "The picture is| A close-up of a dog.": rf"{_THE}{_SCENE}{_YOURS}{_SEEMS} (?=an? )",
    "The main focus of the image is| A dog.": rf"(?:the )?(?:main )?(?:subject|focus) of {_THE}{_SCENE} is ",
    "Pictured here are| Two dogs.": rf"(?:pictured|shown|seen)(?: here| in {_THE}{_SCENE})? (?:is|are) ",
}
PREAMBLES: Final = {
    "Sure!| A dog runs.": r"(?:sure|certainly|of course|absolutely|okay|ok)(?: thing)?[!,.:] ?",
    "USER: Describe the image. ASSISTANT:| A dog runs.": (
        r"(?:system|user|human|question)\s*[:\n](?s:.)*?\b(?:assistant|answer)\s*[:\n]"
    ),
    "assistant\n|A dog runs.": r"assistant[ \t]*\n",
    "Let me look at the image.| A dog runs.": (
        r"let(?: me|'s) (?:(?:take|have) a )?(?:closer )?(?:look|see|analy[sz]e)\b[^.:!?\n]{0,60}[.:!]"
    ),
    "The user wants a caption.| A dog runs.": r"the user (?:wants|asks|asked)\b[^.:!?\n]{0,80}[.:!]",
    "Here's a short caption for this photo:| A dog runs.": (
        r"here(?:'s| is| are)\b[^.:!?\n]{0,60}\b(?:captions?|descriptions?|sentences?|summary|image|photo)\b"
        r"[^.:!?\n]{0,60}:"
    ),
    # Not where the text of a sign follows.
    "The picture has the following:\n| A dog runs.": (
        r"[^\n]*(?<!reads)(?<!says)(?<!play):[ \t]*\n+(?:\s*\d{1,2}[.)](?=\s))?"
    ),
    # A title, named so or in capitals, above a sentence or what is called a caption.
    "Title: Best Friends\n|A dog runs.": (
        rf"(?:(?:short|suggested) )?title ?:[^\n]*[^\n.!?]\n+{_CAPTION_BELOW}"
    ),
    "Best Friends of the Beach\n\n|A dog runs.": (
        r"(?-i:[A-Z][\w'-]*+(?: (?:[A-Z][\w'-]*+|an?|the|of|in|on|at|and|with|by|to|for)\b){1,8})\n+"
        rf"{_CAPTION_BELOW}"
    ),
    "Image description:| A dog runs.": (
        r"(?:(?:image|photo|picture|short|brief|concise|possible|one[- ]sentence|alt) )*"
        r"(?:captions?|title|option|descriptions?|alt[- ]text|answer|response|output|assistant|summary|image|"
        rf"photo|picture)(?: #?\d+)?(?: (?:of|for) {_THE}{_NOUN})?(?: ?:| [-–—] )"
    ),
}
REFUSALS: Final = {
    "I'm sorry, I can't describe this image.": (
        r"(?:(?:i'm|i am|we're|we are) (?:so |very |really |truly )?sorry|sorry[,.!]|(?:my )?apologies|"
        r"i apologi[sz]e|unfortunately,? (?:i|we|the image|there is no)\b)"
    ),
    "Sorry I can't": r"sorry (?:but )?(?:i|we)\b",
    "As an AI model, I see no images.": (
        r"as an? (?:ai\b|artificial intelligence\b|(?:large )?(?:language|vision|multimodal)"
        r"[- ](?:\w+[- ])?model\b)"
    ),
    "Due to content policy, I cannot describe this image.": (
        r"due to (?:[\w']+ ){0,3}(?:polic(?:y|ies)|guidelines|restrictions|limitations)\b"
    ),
    "I'd be happy to help! Please share the image.": r"i(?:'d| would) be (?:very )?(?:happy|glad) to\b",
    "Can you please provide the image?": (
        r"(?:can|could|would) you (?:please )?(?:provide|share|upload|attach|send|describe|clarify)\b"
    ),
    "It looks like you haven't uploaded an image.": (
        r"(?:it (?:looks|seems|appears) (?:like |that |as if )?)?"
        r"you (?:haven't|have not|didn't|did not) "
        r"(?:provided?|upload(?:ed)?|shared?|attach(?:ed)?|sen[dt]|included?)\b"
    ),
    "This image cannot be described.": (
        rf"{_THE}{_NOUN} {_REFUSED} be (?:described|seen|loaded|shown|identified)\b"
    ),
    "There isn't an image attached.": (
        rf"there (?:isn't|is not|wasn't|was not) (?:an? |any )?{_NOUN} "
        r"(?:attached|provided|uploaded|included|available|shared|here|to (?:see|describe))\b"
    ),
    "The image shows.": rf"{_THE}{_SCENE} {_SHOWS}\W*$",
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
_HEADING = (
    r"^([ \t]*(?:(?:[-*+•]|\d{1,2}[.)])[ \t]+)?)\*\*[^*\n]{1,60}(?:\*\*:|:\*\*)[ \t]+"
    r"(?=[\"“]?[A-Z]|an? |the |two )"
)
_LENIENT = json.JSONDecoder(strict=False)  # models write line breaks as they are, too


_STRING = (  # JSON's or Python's, which may have an apostrophe inside; either may be cut off
    r"""(?:"((?:[^"\\]|\\.)*+)(?:"|\Z)|'((?:[^'\\]|\\.|'(?!\s*(?:[,}\]]|\Z)))*+)(?:'|\Z))"""
)
_VALUES = (  # the better first: "text" may be that of a sign
    *(
        re.compile(rf"""(?is)(["']){prefix}{key}s?\1\s*:\s*\[?\s*{_STRING}""")
        for key in ("(?:caption|description|sentence)", "text")
        for prefix in ("", r"(?:[\w -]{0,29}[_ -])")
    ),
    re.compile(rf"""(?s)\A\s*\[()\s*{_STRING}\s*(?:,\s*["']|\]\s*\Z|\Z)"""),
)


def _value(match: re.Match[str]) -> str:
    """The caption in an object or a list, in lines."""
    for pattern in _VALUES:
        if found := pattern.search(match[0]):
            return _decoded(found[2]) if found[2] is not None else found[3].replace(r"\'", "'")
    return match[0]


def _decoded(string: str) -> str:
    """What a string of JSON says, in lines; as it is where it is no JSON."""
    try:
        return "\n".join(parse_json(f'"{string}"', "", _LENIENT).splitlines())
    except DataError:
        return string


MARKUP: Final = (  # what it is for, what becomes of that, pattern, replacement
    ("A dog.<|im_end|>", "A dog. ", r"<\|[^|<>]*\|>|</?(?!unk>)[A-Za-z][^<>]*>", " "),
    ("[INST] What is it? [/INST] A dog.", "A dog.", r"\A.*\[/INST\]\s*", ""),
    ("![dog](dog.png)A dog.", "A dog.", r"!\[[^\[\]\n]*\]\([^)\n]*\)", ""),
    ("A [dog](dog.html).", "A dog.", r"\[([^\[\]\n]+)\]\([^)\s]+\)", r"\1"),
    ("```text\nA dog.\n```", "\nA dog.\n", r"```\w*", ""),
    (r'{"caption": "A \"big\" dog."}', 'A "big" dog.', r"""\A\s*[\[{]\s*["'{\[].*\Z""", _value),
    ("`A dog.`", "A dog.", r"`([^`\n]+)`", r"\1"),
    # A title above the text.
    ("# Dogs\n\nA dog.", "A dog.", r"\A(?:#{1,6}[ \t][^\n]*|\*\*[^*\n]+\*\*:?[ \t]*)\n+(?=\s*\w)", ""),
    # A heading before a sentence; of "**Dog**: brown" it stays.
    ("**Main subject**: A dog.", "A dog.", _HEADING, r"\1"),
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
MARK: Final = r"[<>`*_#\[{]|^\s*[-+•\d]|\n\s*[-+•\d]"
