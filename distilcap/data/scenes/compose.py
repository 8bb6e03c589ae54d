"""What is in a picture: a place, a subject, perhaps others, and how they stand to each other."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from distilcap.data.scenes.world import COLOURS, PLACES, THINGS, Place, Thing

__all__ = ["Item", "Scene", "compose"]

_COLOUR_WEIGHTS = (10, 9, 6, 6, 5, 5, 3, 3, 2, 3)


@dataclass(frozen=True)
class Item:
    """A thing, or a number of its kind, in a picture.

    Attributes:
        thing: its kind.
        count: how many; 1 to 6.
        colour: of the thing, or of a person's shirt; None where the sticker keeps its own.
        scale: size against what is usual.
    """

    thing: Thing
    count: int = 1
    colour: str | None = None
    scale: float = 1.0

    @property
    def is_person(self) -> bool:
        """Whether it is drawn with a body and a shirt."""
        return self.thing.kind == "person"


@dataclass(frozen=True)
class Scene:
    """What is in a picture.

    Attributes:
        place: where it is.
        subject: what the picture is about.
        relation: how the subject stands to `other`: "left", "right", "on", "under", "front", "hold", "with"
            or "" where there is no other.
        other: the second thing.
        extra: a third thing off to one side.
        clutter: small things around that people seldom mention.
        pose: "stand" or "sit", of people.
        light: "day", "evening" or "grey"; of places under the sky.
    """

    place: Place
    subject: Item
    relation: str = ""
    other: Item | None = None
    extra: Item | None = None
    clutter: tuple[Item, ...] = ()
    pose: str = "stand"
    light: str = "day"


def compose(rng: random.Random) -> Scene:
    """Draw a scene at random."""
    place = rng.choices(list(PLACES.values()), [place.weight for place in PLACES.values()])[0]
    here = [thing for thing in THINGS if place.name in thing.places]
    subject = _item(rng, here, _subject_weight)
    assert subject is not None
    if subject.count == 1 or rng.random() < 0.3:
        relation, other = _relate(rng, here, subject)
    else:
        relation, other = "", None
    used = {subject.thing.name} | ({other.thing.name} if other else set())
    rest = [thing for thing in here if thing.name not in used]
    extra = _item(rng, rest, _subject_weight) if rest and rng.random() < 0.3 else None
    small = [thing for thing in rest if thing.size < 0.3 and not (extra and extra.thing == thing)]
    clutter = tuple(
        replace(item, count=1)
        for _ in range(rng.choices((0, 1, 2), (5, 3, 2))[0])
        if (item := _item(rng, small, lambda thing: thing.weight))
    )
    pose = "sit" if relation == "on" and other and other.thing.kind != "vehicle" else "stand"
    if subject.is_person and relation != "on" and rng.random() < 0.2:
        pose = "sit"
    light = rng.choices(("day", "evening", "grey"), (7, 1.5, 2))[0]
    return Scene(place, subject, relation, other, extra, clutter, pose, light)


def _subject_weight(thing: Thing) -> float:
    """Scenery and what people carry are seldom what a picture is about."""
    return thing.weight * (0.25 if thing.kind in ("plant", "building") or "roof" in thing.traits else 1.0)


def _item(rng: random.Random, things: Sequence[Thing], weight: Callable[[Thing], float]) -> Item | None:
    if not things:
        return None
    thing = rng.choices(things, [weight(thing) for thing in things])[0]
    count = 1
    if "pair" in thing.traits or thing.kind == "person":
        count = rng.choices((1, 2, 3, 4, 5, 6), (66, 16, 8, 5, 3, 2))[0]
    colour = None
    if thing.kind == "person":
        colour = rng.choices(COLOURS[:-1], _COLOUR_WEIGHTS[:-1])[0]
    elif "tint" in thing.traits and rng.random() < 0.75:
        colour = rng.choices(COLOURS, _COLOUR_WEIGHTS)[0]
        if thing.kind == "animal":  # dogs and cats come in the colours of dogs and cats
            colour = rng.choice(("brown", "white", "black"))
    return Item(thing, count, colour, rng.choices((0.7, 0.9, 1.0, 1.15, 1.35), (1, 2, 4, 2, 1))[0])


def _relate(rng: random.Random, here: Sequence[Thing], subject: Item) -> tuple[str, Item | None]:
    """Choose a relation that the subject can stand in, and the other."""
    thing = subject.thing
    alone = subject.count == 1
    living = thing.kind in ("person", "animal", "bird")
    options: dict[str, tuple[float, list[Thing]]] = {"": (3.0, [])}
    others = [other for other in here if other != thing]
    options["beside"] = (4.0, others)
    if alone and (living or thing.size < 0.27) and thing.kind not in ("plant", "flier"):
        fits = [other for other in others if other.seat is not None and thing.size < 1.5 * other.size]
        if thing.kind != "person":  # a dog on a couch, but not on a bicycle
            fits = [other for other in fits if other.kind != "vehicle" or (other.seat and other.seat > 0.7)]
        options["on"] = (4.0, fits)
    if living or thing.kind == "object":
        options["under"] = (1.5, [other for other in others if "roof" in other.traits])
    if thing.kind in ("person", "athlete", "animal", "vehicle", "object"):
        options["front"] = (
            1.5,
            [other for other in others if "back" in other.traits and other.size > 0.8 * thing.size],
        )
    if thing.kind == "person" and alone:
        options["hold"] = (3.0, [other for other in THINGS if "hold" in other.traits])
        options["with"] = (1.5, [other for other in others if other.kind == "animal" and other.size < 0.5])
    usable = {name: option for name, option in options.items() if option[1] or not name}
    relation = rng.choices(list(usable), [weight for weight, _ in usable.values()])[0]
    weight = _subject_weight if relation == "beside" else _weight
    other = _item(rng, usable[relation][1], weight)
    if other is None:
        return "", None
    if relation != "beside" or rng.random() < 0.8:
        other = replace(other, count=1)
    if relation == "hold":
        other = replace(other, scale=0.7)
    if relation in ("on", "under", "front"):
        other = replace(other, scale=max(1.0, other.scale))
    if relation == "beside":
        relation = rng.choice(("left", "right"))
    return relation, other


def _weight(thing: Thing) -> float:
    return thing.weight
