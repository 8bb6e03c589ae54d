"""What people write about a scene in Chinese: classifiers, and words where the grammar has them."""

from __future__ import annotations

import random
from typing import Final

from distilcap.data.scenes.chinese_words import COLOURS, KIND_VERBS, LIGHT, NOUNS, PLACES, THING_VERBS
from distilcap.data.scenes.compose import Item, Scene
from distilcap.data.scenes.grammar import different_captions

__all__ = ["describe", "noun_phrase"]

_NUMBERS: Final = {1: "一", 2: "两", 3: "三", 4: "四", 5: "五", 6: "六"}
_GROUPED: Final = ("person", "athlete", "animal", "bird")
_IDLE: Final = ("放@", "停@", "长@", "立@", "躺@")
_LIE: Final = ("坐@", "站@", "趴@", "睡@")
_OUTDOORS: Final = ("street", "grass", "beach", "field", "sea", "snow", "sky", "desert")


def describe(scene: Scene, rng: random.Random, count: int = 5) -> list[str]:
    """Write `count` captions, as different people would, no two the same; without a full stop."""
    return different_captions(lambda: _caption(scene, rng), count)


def _caption(scene: Scene, rng: random.Random) -> str:
    care = rng.choices((0.25, 0.6, 0.95), (3, 5, 2))[0]
    other = scene.other if rng.random() < 0.45 + 0.5 * care else None
    extra = scene.extra if rng.random() < 0.7 * care else None
    place = rng.choice(PLACES[scene.place.name]) if rng.random() < 0.45 + 0.5 * care else ""
    subject = _of_item(scene.subject, care, rng)
    sentence = _sentence(scene, subject, other, place, 0.7 * care, rng)
    if extra is not None:
        where = rng.choice(("背景里", "背景里", "旁边", "后面"))
        sentence += f"，{where}有{_of_item(extra, 0.4 * care, rng)}"
    if scene.place.name in _OUTDOORS and rng.random() < 0.15 * care:
        sentence = rng.choice(LIGHT[scene.light]) + sentence
    return sentence


def _sentence(
    scene: Scene, subject: str, other: Item | None, place: str, care: float, rng: random.Random
) -> str:
    verb = _verb(scene, rng)
    if other is None:
        return _somewhere(subject, verb, place, rng)
    phrase, turn = _of_item(other, care, rng), rng.random()
    if scene.relation == "hold" or (scene.relation == "with" and turn < 0.4):
        doing = "拿着" if scene.relation == "hold" else "带着"
        return f"{subject}{_at(place)}{doing}{phrase}"
    if scene.relation == "with":
        doing = rng.choice(("玩耍", "散步"))
        return f"{subject}和{phrase}{_at(place)}{rng.choice(('', '一起'))}{doing}"
    if scene.relation in ("left", "right") and turn < 0.25:
        both = f"{subject}和{phrase}"
        if verb in _IDLE:  # which would not be said of the other
            return f"{place}有{both}" if place else both
        return _somewhere(both, verb, place, rng)
    side = {"left": "左边", "right": "右边", "on": "上", "under": "下", "front": "前"}[scene.relation]
    if scene.relation in ("left", "right"):
        side = f"的{side}" if turn < 0.35 + 0.4 * care else rng.choice(("旁边", "附近"))
    before = f"{place}，" if place and rng.random() < 0.6 else ""
    return before + _somewhere(subject, verb, phrase + side, rng)


def _somewhere(subject: str, verb: str, where: str, rng: random.Random) -> str:
    """Say that the subject is somewhere, or what it does there; `where` may be empty."""
    turn = rng.random()
    word = verb.replace("@", "")
    follows = verb.startswith("@")
    if not where:
        if verb in _IDLE or turn < 0.3:  # "a bowl standing" says nothing
            return rng.choice(("", "", "图中有", "照片里有")) + subject
        return f"{subject}{'正在' if follows else ''}{word}{'' if follows else '着'}"
    if turn < 0.2:
        return f"{where}有{subject}"
    if turn < 0.35:
        return f"{where}的{subject}"
    if turn < 0.5 and not follows:
        return f"{where}{word}着{subject}"
    return f"{subject}在{where}{word}" if follows else f"{subject}{word}在{where}"


def _at(place: str) -> str:
    return f"在{place}" if place else ""


def _verb(scene: Scene, rng: random.Random) -> str:
    thing = scene.subject.thing
    if thing.name in THING_VERBS:
        return rng.choice(THING_VERBS[thing.name])
    if scene.pose == "sit" and scene.subject.is_person:
        return "坐@"
    if scene.relation == "on" and thing.kind == "animal":
        return rng.choice(_LIE)
    return rng.choice(KIND_VERBS[thing.kind])


def _of_item(item: Item, care: float, rng: random.Random) -> str:
    """Name an item with its number, and perhaps its colour or size."""
    nouns = NOUNS[item.thing.name]
    classifier, noun = rng.choices(nouns, [(7, 2, 1.2)[index] for index in range(len(nouns))])[0]
    colour = ""
    if item.colour and rng.random() < 0.15 + 0.6 * care:
        worn = f"穿{COLOURS[item.colour]}{rng.choice(('衬衫', '衣服'))}"
        colour = f"{worn if item.is_person else COLOURS[item.colour]}的"
    size = "小" if item.scale < 0.85 else "大" if item.scale > 1.2 else ""
    if size and noun[0] not in "小大" and not item.is_person and rng.random() < 0.15 + 0.3 * care:
        noun = size + noun
    elif noun in ("男人", "女人") and item.thing.name in ("man", "woman") and rng.random() < 0.12:
        noun = f"年轻{noun}"
    elif item.thing.name in ("boy", "girl") and rng.random() < 0.12:
        noun = f"小{noun}"
    grouped = item.count > 3 and item.thing.kind in _GROUPED and rng.random() < 0.5
    return noun_phrase("群" if grouped else classifier, colour + noun, 1 if grouped else item.count, rng)


def noun_phrase(classifier: str, noun: str, count: int, rng: random.Random) -> str:
    """A number, the classifier and the noun; perhaps "some" for three and more."""
    number = "几" if count >= 3 and rng.random() < 0.3 else _NUMBERS[count]
    return number + classifier + noun
