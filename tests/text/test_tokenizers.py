"""Words of any language: Unicode's rules by hand and by another program, and captions that come back."""

from __future__ import annotations

import json
import random
import re
import shutil
import subprocess
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.data.captions import CaptionSet
from distilcap.decode.captions import rank_captions
from distilcap.errors import ConfigError
from distilcap.metrics import evaluate
from distilcap.text.tokenize import tokenize
from distilcap.text.tokenizers import (
    Tokenizer,
    advice_on_tokenizer,
    register_tokenizer,
    suggest_tokenizer,
    tokenizer_names,
    tokenizer_of,
)
from distilcap.text.unspaced import UNSPACED, join_words
from distilcap.text.vocabulary import EOS, SPECIALS, UNK, Vocabulary
from distilcap.training.batches import encode_captions

pytest.importorskip("regex", reason="the properties of characters are not installed")
EXAMPLES = Path(__file__).parents[2] / "examples"

BOUNDARIES = {  # by rule of UAX #29
    "Ein großer Hund läuft über die Straße.": "ein großer hund läuft über die straße",
    "L'homme n'est pas là": "l'homme n'est pas là",  # WB6, WB7
    "a.b, 'c' d.": "a.b c d",
    "3.14 et 1,000.": "3.14 et 1,000",  # WB11, WB12
    "3a a3 a_1 __": "3a a3 a_1",  # WB9, WB10, WB13a; no word without a letter or digit
    "T-Shirt / x": "t shirt x",
    "снег идёт": "снег идёт",
    "वह कुत्ता दौड़ रहा है।": "वह कुत्ता दौड़ रहा है",  # WB4: vowel signs stay
    "ספר ג' צה\"ל": "ספר ג' צה\"ל",  # WB7a to WB7c
    "두 마리 개가 있다": "두 마리 개가 있다",
    "カタカナの": "カタカナ の",  # WB13
    "e\u0301te\u0301": "été",  # composed
    "🐕 !? …": "",
}
CHARACTERS = {
    "一只狗在 iPhone 12 手机旁边。": "一 只 狗 在 iphone 12 手 机 旁 边",
    "3只猫，２個": "3 只 猫 ２ 個",
    "猫がソファーで寝ている": "猫 が ソ フ ァ ー で 寝 て い る",
    "น้ำ ที่": "น้ำ ที่",  # marks stay with their letters
    "葛\U000e0100飾": "葛\U000e0100 飾",  # a variant of a character
    "한국어 문장": "한국어 문장",
    "A dog, l'homme 3.5": "a dog l'homme 3.5",
    "々〆ヶ": "々 〆 ヶ",
}


@pytest.mark.parametrize(
    "name, caption, words",
    [
        *(("unicode", *case) for case in BOUNDARIES.items()),
        *(("characters", *case) for case in CHARACTERS.items()),
    ],
)
def test_by_hand(name: str, caption: str, words: str) -> None:
    assert tokenizer_of(name).words(caption) == words.split()


@pytest.mark.skipif(shutil.which("node") is None, reason="Node is not installed")
def test_boundaries_are_icus() -> None:
    """ICU is another program of the same annex; it goes its own way only for what it has dictionaries of."""
    pieces = [*"abÄß1٣3'’.,;·_- \"אבжكही्აöéﬁⅷ²№़", "\u0301", "\u200d", "\u00ad", "🇩🇪"]
    rng = random.Random(1)
    texts = ["".join(rng.choices(pieces, k=rng.randrange(1, 14))) for _ in range(3000)]
    texts = [unicodedata.normalize("NFC", text.lower()) for text in texts]
    script = """
const texts = JSON.parse(require("fs").readFileSync(0));
const segmenter = new Intl.Segmenter("und", {granularity: "word"});
console.log(JSON.stringify(texts.map((text) => [...segmenter.segment(text)].map((part) => part.segment))));
"""
    done = subprocess.run(
        ["node", "-e", script], input=json.dumps(texts), capture_output=True, text=True, check=True
    )
    for text, segments in zip(texts, json.loads(done.stdout), strict=True):
        expected = [segment for segment in segments if any(map(str.isalnum, segment))]
        assert tokenizer_of("unicode").words(text) == expected, ascii(text)


ANY_TEXT = st.text(
    st.one_of(
        st.sampled_from(list("a Bß1.'’_-é,،。，的狗只เก็น้ำがーカﾊﾞㄅ한ကျខ្មי\"ג'٣๓々\u0301\u200d\ufe0f")),
        st.characters(),
    ),
    max_size=30,
)


@pytest.mark.parametrize("name", ["unicode", "characters"])
@settings(derandomize=True, deadline=None, max_examples=400)
@given(ANY_TEXT)
def test_words_of_joined_words_are_the_same(name: str, text: str) -> None:
    tokenizer = tokenizer_of(name)
    words = tokenizer.words(text)
    assert tokenizer.words(tokenizer.join(words)) == words
    assert not any(set(word) & set(" \t\n\u3000") or not word for word in words)


POOL = [*"一只狗草がカー", "น้ำ", "ก็", "๓", "a", "b's", "3.5", "12", "ג'", 'צה"ל', "한국어", "葛\U000e0100"]


@settings(derandomize=True, deadline=None)
@given(st.lists(st.integers(0, 30), max_size=12))
def test_what_a_captioner_writes_is_read_as_its_words(choices: list[int]) -> None:
    """Whatever follows whatever, with `<unk>` where it is written: else a student would learn other words."""
    for name in ("unicode", "characters"):
        tokenizer = tokenizer_of(name)
        words = sorted({word for text in POOL for word in tokenizer.words(text)})
        vocabulary = Vocabulary((*SPECIALS, *words), name, tokenizer.spaced)
        written = [("<unk>", *words)[choice % (len(words) + 1)] for choice in choices]
        text = vocabulary.decode([*vocabulary.encode(written), EOS])
        assert vocabulary.words_of(text) == written
        assert tokenizer.written_words(text) == written
        assert not (name == "characters" and re.search(f"[{UNSPACED}] | [{UNSPACED}]", text))


def test_captions_without_spaces_are_written_and_learnt() -> None:
    words = tokenizer_of("characters").words("一只狗 iphone 12")
    vocabulary = Vocabulary.build([words], 1, tokenizer_of("characters"))
    ids = vocabulary.encode(["一", "只", "iphone", "12", "狗", "?"])
    assert vocabulary.decode(ids) == "一只iphone 12狗<unk>"
    captions = CaptionSet.of_texts({"a": ["一只iphone 12狗<unk>。"]})
    assert encode_captions(captions, vocabulary, 16) == {"a": [[*ids, EOS]]}
    assert ids[-1] == UNK


def test_ranks_count_characters() -> None:
    from distilcap.data.captions import Caption

    beam = CaptionSet({"a": (Caption("狗", -1.0), Caption("一只狗", -1.5))})
    (best, _) = rank_captions(beam, 1.0, 20, "characters")["a"]
    assert best.text == "一只狗"  # -1.5 / 4 > -1 / 2
    assert rank_captions(beam, 1.0, 20)["a"][0].text == "狗"


GERMAN = ["Zwei braune Hunde laufen über eine grüne Wiese.", "Ein Mann fährt auf der Straße Fahrrad."]
CHINESE = ["一只狗在草地上奔跑", "一个男人在骑自行车"]
ENGLISH = ["a dog runs on the grass", "a man at a café – “his” 'bike'"] + 10 * ["two men are riding bikes"]


def test_suggestions() -> None:
    assert (
        suggest_tokenizer(ENGLISH) == suggest_tokenizer([]) == suggest_tokenizer(["Een hond rent."]) == "ptb"
    )
    assert suggest_tokenizer(GERMAN) == suggest_tokenizer(["собака бежит"]) == "unicode"
    assert suggest_tokenizer(["두 마리 개가 있다"]) == "unicode"
    assert suggest_tokenizer(["Zwei Hu\u0308ndchen"]) == "unicode"
    assert suggest_tokenizer(CHINESE) == suggest_tokenizer(["หมาวิ่ง", "犬が走る"]) == "characters"
    assert suggest_tokenizer(["一只 狗 在 草地 上"]) == "characters"
    assert advice_on_tokenizer("ptb", CHINESE).startswith(
        "The captions do not look English: `--tokenizer char"
    )
    assert "`--tokenizer unicode` is for any language with spaces" in advice_on_tokenizer("ptb", GERMAN)
    for chosen, captions in (
        ("characters", GERMAN),
        ("unicode", ENGLISH),
        ("ptb", ENGLISH),
        ("mine", CHINESE),
    ):
        assert advice_on_tokenizer(chosen, captions) == ""


def test_meteor_and_spice_are_for_english() -> None:
    for texts, tokenizer in ((CHINESE, "characters"), (CHINESE, "ptb-official"), (ENGLISH, "unicode")):
        captions = CaptionSet.of_texts({str(n): [text] for n, text in enumerate(texts)})
        scores = evaluate(captions, captions, ("bleu", "meteor", "spice", "meteor_jar"), tokenizer)
        for name in ("meteor", "spice", "meteor_jar"):
            assert scores[name].unavailable == "English only"
        assert scores["bleu_1"].value == pytest.approx(1)
        assert f"|tok:{tokenizer}|" in scores["bleu_1"].signature


def test_a_further_tokenizer_is_one_registration(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        ConfigError, match="`tokenizer` must be one of ptb, unicode, characters, but is 'mine'"
    ):
        tokenizer_of("mine")
    known = {name: tokenizer_of(name) for name in tokenizer_names()}
    monkeypatch.setattr("distilcap.text.tokenizers._tokenizers", known)
    register_tokenizer(Tokenizer("mine", "captions with commas", lambda caption: caption.split(",")))
    assert tokenizer_of("mine").words("a,b") == ["a", "b"]
    with pytest.raises(ConfigError, match="The tokenizer ptb cannot be registered"):
        register_tokenizer(Tokenizer("ptb", "", str.split))
    assert tokenizer_of("ptb").words is tokenize


def test_phones_hold_the_same_ranges() -> None:
    """Their programs are compiled elsewhere; the ranges at least are the same characters."""
    for path in (EXAMPLES / "android" / "Search.kt", EXAMPLES / "ios" / "Captioner.swift"):
        ranges = re.findall(r"\\x\{([0-9a-f]+)\}-\\x\{([0-9a-f]+)\}", path.read_text())
        assert "".join(f"{chr(int(a, 16))}-{chr(int(b, 16))}" for a, b in ranges) == UNSPACED


def test_joined_with_spaces() -> None:
    assert join_words(["一", "只", "a"]) == "一 只 a"
    assert join_words(["一", "只", "a", "b", "狗"], spaced=False) == "一只a b狗"
