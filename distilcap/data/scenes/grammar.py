"""What people write about a scene: each mentions only some of it, in an order and wording of their own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from distilcap.data.scenes.compose import Item, Scene

__all__ = ["describe", "different_captions"]

_NUMBERS = {2: ("two", "two", "a couple of", "a pair of"), 3: ("three", "three", "three", "several", "a few")}
_MANY = {4: "four", 5: "five", 6: "six"}
_GROUPS = {"person": "a group of", "animal": "a group of", "bird": "a flock of", "food": "a bunch of"}
_ALIVE = ("person", "athlete", "animal", "bird", "flier", "aircraft", "fish")
_VERBS = {
    "person": ("standing", "standing", "standing", "posing", "looking at the camera"),
    "animal": ("standing", "standing", "walking", "resting", "looking around"),
    "bird": ("standing", "walking", "resting"),
    "flier": ("flying",),
    "aircraft": ("flying",),
    "vehicle": ("parked", "parked", "driving"),
    "boat": ("floating", "sailing"),
    "fish": ("swimming", "swimming", "jumping"),
    "food": ("sitting", "sitting", "lying"),
    "object": ("sitting", "standing"),
    "plant": ("standing",),
    "building": ("standing",),
}
_BESIDE = ("next to", "next to", "beside", "near", "by", "close to")
_FRONT = ("in front of", "in front of", "near", "by")
_ON = ("on", "on", "on top of")
_UNDER = ("under", "under", "below", "in the shade of")
_WITH = ("with", "with", "walking with", "playing with", "and")
_HOLD = ("holding", "holding", "with", "carrying")
_SIZES = {"small": ("small", "little"), "large": ("large", "big")}
_LIGHT = {"day": ("on a sunny day", "on a clear day"), "evening": ("at sunset", "in the evening"),
          "grey": ("on a cloudy day", "under a grey sky")}  # fmt: skip
_INDOORS = ("table", "room", "night", "forest")


def describe(scene: Scene, rng: random.Random, count: int = 5) -> list[str]:
    """Write `count` captions, as different people would, no two the same; lower case, without punctuation."""
    return different_captions(lambda: _caption(scene, rng), count)


def different_captions(write: Callable[[], str], count: int) -> list[str]:
    """Write until there are `count` captions, no two the same."""
    captions: list[str] = []
    while len(captions) < count:
        caption = write()
        if caption not in captions:
            captions.append(caption)
    return captions


def _caption(scene: Scene, rng: random.Random) -> str:
    care = rng.choices((0.25, 0.6, 0.95), (3, 5, 2))[
        0
    ]  # how much of the picture this person bothers to mention
    other = scene.other if rng.random() < 0.45 + 0.5 * care else None
    extra = scene.extra if rng.random() < 0.7 * care else None
    placed = rng.random() < 0.35 + 0.5 * care
    place_first = placed and rng.random() < 0.12
    parts = [_clause(scene, other, care, placed, place_first, rng)]
    if extra is not None:
        near = rng.choice(("in the background", "in the background", "nearby", "behind", "to the side"))
        parts.append(f"{rng.choice(('with', 'and', 'with'))} {_noun_phrase(extra, 0.4 * care, rng)} {near}")
    elif scene.clutter and rng.random() < 0.2 * care:
        parts.append(f"with {_noun_phrase(scene.clutter[0], 0.3 * care, rng)} nearby")
    where = rng.choice(scene.place.words)
    if place_first:
        parts.insert(0, f"{_article(scene.place.noun)} with" if rng.random() < 0.5 else where)
    elif placed:
        parts.insert(rng.choice((1, 1, 1, len(parts))), where)
    if scene.place.name not in _INDOORS and rng.random() < 0.15 * care:
        parts.append(rng.choice(_LIGHT[scene.light]))
    return " ".join(parts)


def _clause(
    scene: Scene, other: Item | None, care: float, placed: bool, plain: bool, rng: random.Random
) -> str:
    """The subject, what it does, and how it stands to the other thing; `plain` is without "there is"."""
    subject = _noun_phrase(scene.subject, care, rng)
    be = "is" if scene.subject.count == 1 else "are"
    opening = 1.0 if plain else rng.random()
    if opening < 0.08:
        subject = f"there {be} {subject}"
    elif opening < 0.14:
        subject = f"{rng.choice(('a picture of', 'a photo of', 'a close up of', 'a view of'))} {subject}"
    finite = f"{be} " if 0.14 <= opening < 0.34 else ""
    doing = f"{subject} {finite}{_verb(scene, rng)}"
    if other is None:
        # "a bowl sitting" says nothing, unless it goes on with "on a table"
        idle = scene.subject.thing.kind not in _ALIVE and not placed
        return subject if idle or (not finite and rng.random() > 0.45 + 0.3 * care) else doing
    phrase = _noun_phrase(other, 0.7 * care, rng)
    relation, reverse = _relation(scene.relation, care, rng)
    if reverse:
        return f"{phrase} {reverse}{subject}" if opening >= 0.34 else f"{subject} and {phrase}"
    if relation.startswith(("holding", "carrying", "walking", "playing")):
        return f"{subject} {finite}{relation} {phrase}"
    if relation not in ("with", "and") and (finite or rng.random() < 0.6):
        return f"{doing} {relation} {phrase}"
    return f"{subject} {relation} {phrase}"


def _relation(relation: str, care: float, rng: random.Random) -> tuple[str, str]:
    """How people put a relation, or how they put it the other way round."""
    turn = rng.random()
    if relation in ("left", "right"):
        if turn < 0.25:
            return "", "and "
        if turn < 0.35:
            return "", f"{rng.choice(_BESIDE)} "
        if turn < 0.35 + 0.25 * care:
            return f"to the {relation} of", ""
        return rng.choice((*_BESIDE, "and", "and", "with")), ""
    if relation == "on":
        return ("", "with ") if turn < 0.08 else (rng.choice(_ON), "")
    if relation == "front":
        return ("", "behind ") if turn < 0.12 else (rng.choice(_FRONT), "")
    if relation == "under":
        return ("", "over ") if turn < 0.1 else (rng.choice(_UNDER), "")
    return rng.choice(_HOLD if relation == "hold" else _WITH), ""


def _verb(scene: Scene, rng: random.Random) -> str:
    item = scene.subject
    if item.thing.verbs:
        return rng.choice(item.thing.verbs)
    if scene.pose == "sit" and item.is_person:
        return rng.choice(("sitting", "sitting", "sitting down", "seated"))
    if scene.relation == "on" and item.thing.kind == "animal":
        return rng.choice(("sitting", "standing", "lying", "sleeping"))
    return rng.choice(_VERBS[item.thing.kind])


def _noun_phrase(item: Item, care: float, rng: random.Random) -> str:
    """Name an item with its number, and perhaps its colour or size."""
    nouns = item.thing.nouns
    singular, plural = rng.choices(nouns, [(7, 2, 1.2)[index] for index in range(len(nouns))])[0]
    adjectives: list[str] = []
    tail = ""
    if item.colour and rng.random() < 0.15 + 0.6 * care:
        if not item.is_person:
            adjectives.append(item.colour)
        elif item.count == 1:
            tail = rng.choice(
                (f" in a {item.colour} shirt", f" wearing a {item.colour} shirt", f" in {item.colour}")
            )
        else:
            tail = rng.choice(
                (f" in {item.colour} shirts", f" in {item.colour}", f" wearing {item.colour} shirts")
            )
    size = "small" if item.scale < 0.85 else "large" if item.scale > 1.2 else ""
    if size and not item.is_person and rng.random() < 0.15 + 0.3 * care:
        adjectives.insert(0, rng.choice(_SIZES[size]))
    elif item.thing.name in ("man", "woman", "boy", "girl") and rng.random() < 0.12:
        adjectives.insert(0, "little" if item.thing.name in ("boy", "girl") else "young")
    elif item.thing.kind == "animal" and rng.random() < 0.04:
        adjectives.insert(0, rng.choice(("cute", "brown")) if item.count == 1 else "wild")
    if item.count == 1:
        return _article(" ".join((*adjectives, singular))) + tail
    return f"{_number(item, rng)} {' '.join((*adjectives, plural))}{tail}"


def _number(item: Item, rng: random.Random) -> str:
    few: Sequence[str] = _NUMBERS.get(item.count, ())
    if few:
        return rng.choice(few)
    if rng.random() < 0.35:
        return _MANY[item.count]
    kind = "person" if item.thing.kind == "athlete" else item.thing.kind
    return rng.choice(("several", "some", "many", _GROUPS.get(kind, "several")))


def _article(noun: str) -> str:
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"
