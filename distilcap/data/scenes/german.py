"""What people write about a scene in German: articles, cases and endings as the grammar has them."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Final

from distilcap.data.scenes.compose import Item, Scene
from distilcap.data.scenes.german_words import (
    COLOURS,
    KIND_VERBS,
    LIGHT,
    NOUNS,
    PLACE_NOUNS,
    PLACES,
    THING_VERBS,
)
from distilcap.data.scenes.grammar import different_captions

__all__ = ["describe", "noun_phrase"]

# Indefinite article and the adjective's ending after it (mixed declension), by gender and case.
_ARTICLES: Final = {
    "m": {"nom": ("ein", "er"), "acc": ("einen", "en"), "dat": ("einem", "en")},
    "f": {"nom": ("eine", "e"), "acc": ("eine", "e"), "dat": ("einer", "en")},
    "n": {"nom": ("ein", "es"), "acc": ("ein", "es"), "dat": ("einem", "en")},
}
_PLURAL_ENDINGS: Final = {"nom": "e", "acc": "e", "dat": "en"}  # strong: after numbers, and without article
_PRONOUNS: Final = {"m": "der", "f": "die", "n": "das", "plural": "die"}
_NUMBERS: Final = {2: ("zwei", "zwei", "ein paar"), 3: ("drei", "drei", "mehrere", "einige")}
_MANY: Final = {4: "vier", 5: "fünf", 6: "sechs"}
_DECLINED: Final = ("mehrere", "einige", "viele")  # the others keep their form in all cases
_GROUPS: Final = {"person": ("Gruppe", "f"), "animal": ("Gruppe", "f"), "bird": ("Schwarm", "m")}
_ALIVE: Final = ("person", "athlete", "animal", "bird", "flier", "aircraft", "fish")
_LIE: Final = ("sitzt sitzen", "steht stehen", "liegt liegen", "schläft schlafen")


@dataclass(frozen=True)
class Phrase:
    """A noun phrase; `text` by case, and what agrees with it: "m", "f", "n" or "plural"."""

    text: dict[str, str]
    agrees: str

    @property
    def plural(self) -> bool:
        """Whether its verb is in the plural."""
        return self.agrees == "plural"


def describe(scene: Scene, rng: random.Random, count: int = 5) -> list[str]:
    """Write `count` captions, as different people would, no two the same; without a full stop."""
    return different_captions(lambda: _caption(scene, rng), count)


def _caption(scene: Scene, rng: random.Random) -> str:
    care = rng.choices((0.25, 0.6, 0.95), (3, 5, 2))[0]
    other = scene.other if rng.random() < 0.45 + 0.5 * care else None
    extra = scene.extra if rng.random() < 0.7 * care else None
    place = rng.choice(PLACES[scene.place.name]) if rng.random() < 0.4 + 0.5 * care else ""
    subject = _of_item(scene.subject, care, rng)
    verb, phrases = _verb(scene, rng), []
    if other is not None:
        subject, verb, phrase = _related(scene, subject, other, verb, 0.7 * care, rng)
        phrases.append(phrase)
    if rng.random() < 0.15 * care and scene.place.name not in ("table", "room", "night", "forest"):
        place = f"{place} {rng.choice(LIGHT[scene.light])}".strip()
    background = ""
    if extra is not None:
        where = rng.choice(("im Hintergrund", "im Hintergrund", "in der Nähe", "dahinter"))
        background = f"mit {_of_item(extra, 0.4 * care, rng).text['dat']} {where}"
    return _sentence(scene, subject, verb, [*filter(None, phrases)], place, background, rng)


def _sentence(
    scene: Scene,
    subject: Phrase,
    verb: str,
    phrases: list[str],
    place: str,
    background: str,
    rng: random.Random,
) -> str:
    singular, plural, *rest = verb.split()
    finite, tail = plural if subject.plural else singular, " ".join(rest)
    turn = rng.random()
    name = subject.text["nom"]
    if place and turn < 0.08 and scene.place.name != "sky":
        return _joined(PLACE_NOUNS[scene.place.name], "mit", subject.text["dat"], *phrases, background)
    if place and turn < 0.22:
        return _joined(place, finite, name, *phrases, tail, background)
    around = [*phrases, place]
    if turn < 0.3:
        picture = rng.choice(("ein Bild von", "ein Foto von", "eine Nahaufnahme von"))
        return _joined(picture, subject.text["dat"], *_plain(phrases, tail), place, background)
    idle = scene.subject.thing.kind not in _ALIVE and not any(around)
    if idle or turn < 0.5:
        return _joined(name, *_plain(phrases, tail), place, background)
    if turn < 0.8:
        return _joined(name, finite, *around, tail, background)
    clause = _joined(f"{name},", _PRONOUNS[subject.agrees], *around, tail, finite)
    return _joined(f"{clause}," if background else clause, background)


def _plain(phrases: list[str], tail: str) -> list[str]:
    """What stands beside a noun without a verb: "mit einem Buch" for "hält ein Buch"."""
    return [*phrases, tail] if tail.startswith(("auf ", "mit ")) else phrases


def _joined(*parts: str) -> str:
    return " ".join(filter(None, parts))


def _related(
    scene: Scene, subject: Phrase, other: Item, verb: str, care: float, rng: random.Random
) -> tuple[Phrase, str, str]:
    """The subject, the verb and a phrase, so that they say how the subject stands to the other thing."""
    phrase, turn = _of_item(other, care, rng), rng.random()
    dative = phrase.text["dat"]
    if scene.relation in ("left", "right"):
        side = "links" if scene.relation == "left" else "rechts"
        if turn < 0.25:
            return _together(subject, phrase), verb, ""
        if turn < 0.35 + 0.25 * care:
            return subject, verb, f"{side} von {dative}"
        return subject, verb, f"{rng.choice(('neben', 'neben', 'in der Nähe von'))} {dative}"
    if scene.relation == "hold":
        if turn < 0.5:
            return subject, f"{rng.choice(('hält halten', 'trägt tragen'))} {phrase.text['acc']}", ""
        return subject, verb, f"mit {dative}"
    if scene.relation == "with":
        if turn < 0.3:
            return _together(subject, phrase), verb, ""
        doing = rng.choice(("spielt spielen", "geht gehen spazieren", verb))
        return subject, doing, f"mit {dative}"
    preposition = {"on": "auf", "under": "unter", "front": "vor"}[scene.relation]
    return subject, verb, f"{preposition} {dative}"


def _together(one: Phrase, other: Phrase) -> Phrase:
    return Phrase({case: f"{text} und {other.text[case]}" for case, text in one.text.items()}, "plural")


def _verb(scene: Scene, rng: random.Random) -> str:
    thing = scene.subject.thing
    if thing.name in THING_VERBS:
        return rng.choice(THING_VERBS[thing.name])
    if scene.pose == "sit" and scene.subject.is_person:
        return "sitzt sitzen"
    if scene.relation == "on" and thing.kind == "animal":
        return rng.choice(_LIE)
    return rng.choice(KIND_VERBS[thing.kind])


def _of_item(item: Item, care: float, rng: random.Random) -> Phrase:
    """Name an item with its number, and perhaps its colour or size."""
    nouns = NOUNS[item.thing.name]
    noun = rng.choices(nouns, [(7, 2, 1.2)[index] for index in range(len(nouns))])[0]
    adjectives, tail = [*noun[:-3]], ""
    if item.colour and rng.random() < 0.15 + 0.6 * care:
        colour = COLOURS[item.colour]
        if not item.is_person:
            adjectives.append(colour)
        elif item.count > 1:
            tail = f" in {colour}en Hemden"
        else:
            tail = rng.choice((f" in einem {colour}en Hemd", f" mit {colour}em Hemd"))
    size = "klein" if item.scale < 0.85 else "groß" if item.scale > 1.2 else ""
    if size and len(noun) == 3 and not item.is_person and rng.random() < 0.15 + 0.3 * care:
        adjectives.insert(0, size)
    elif item.thing.name in ("man", "woman") and rng.random() < 0.12:
        adjectives.insert(0, "jung")
    elif item.thing.name in ("boy", "girl") and rng.random() < 0.12:
        adjectives.insert(0, "klein")
    number = "" if item.count == 1 else _number(item, rng)
    phrase = noun_phrase((*adjectives, *noun[-3:]), number)
    return Phrase({case: text + tail for case, text in phrase.text.items()}, phrase.agrees)


def _number(item: Item, rng: random.Random) -> str:
    """A number, "viele" and the like, or the noun of a group."""
    if item.count in _NUMBERS:
        return rng.choice(_NUMBERS[item.count])
    if rng.random() < 0.35:
        return _MANY[item.count]
    kind = "person" if item.thing.kind == "athlete" else item.thing.kind
    return rng.choice(("mehrere", "einige", "viele", _GROUPS[kind][0] if kind in _GROUPS else "mehrere"))


def noun_phrase(noun: tuple[str, ...], number: str = "") -> Phrase:
    """Decline a noun of `NOUNS` with its adjectives' stems.

    Args:
        noun: (adjectives…, noun, gender, plural).
        number: before the plural: "zwei", "viele", or the noun of a group; "" is the singular with "ein".
    """
    *adjectives, singular, gender, plural = noun
    groups = dict(_GROUPS.values())
    if number in groups:
        of = noun_phrase(noun, "von").text["dat"]
        head = noun_phrase((number, groups[number], ""))
        return Phrase({case: f"{text} {of}" for case, text in head.text.items()}, head.agrees)
    texts = {}
    for case, ending in _PLURAL_ENDINGS.items():
        if number:
            # The dative plural ends in n, but for plurals in s.
            noun_form = plural + ("n" if case == "dat" and plural[-1] not in "ns" else "")
            article = number + ("n" if case == "dat" and number in _DECLINED else "")
        else:
            article, ending = _ARTICLES[gender.replace("w", "m")][case]
            noun_form = plural if gender == "w" and case != "nom" else singular
        texts[case] = " ".join((article, *(stem + ending for stem in adjectives), noun_form))
    return Phrase(texts, "plural" if number else gender.replace("w", "m"))
