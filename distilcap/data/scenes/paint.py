"""Pixels of a scene: where its things stand on the background."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image

from distilcap.data.scenes.backgrounds import background
from distilcap.data.scenes.compose import Item, Scene
from distilcap.data.scenes.stickers import person, sticker

__all__ = ["paint"]

_ALOFT = ("flier", "aircraft")


class _Layout:
    """Collects pictures with positions, and pastes them, farthest first. Lengths are shares of the side."""

    def __init__(self, scene: Scene, size: int, folder: Path, rng: random.Random) -> None:
        self.size, self.folder, self.rng, self.pose = size, folder, rng, scene.pose
        self.image, self.horizon = background(scene.place.name, scene.light, size, rng)
        self.place = scene.place.name
        self.pieces: list[tuple[float, Image.Image, float, float]] = []

    def ground(self, low: float = 0.5, high: float = 1.0) -> float:
        """A height on the ground, between shares `low` and `high` of its depth."""
        return self.horizon + (0.97 - self.horizon) * self.rng.uniform(low, high)

    def resting(self, item: Item, low: float = 0.5, high: float = 1.0) -> float:
        """Where the item's bottom is: on the ground, or in the air for what flies."""
        if item.thing.kind in _ALOFT:
            return self.rng.uniform(0.5, 0.85) if self.place == "sky" else self.rng.uniform(0.2, 0.42)
        return self.ground(low, high)

    def height(self, item: Item, bottom: float, zoom: float = 1.0) -> float:
        """Height of one of the item; nearer things are larger."""
        depth = 0.75 + 0.4 * (bottom - self.horizon) / max(0.97 - self.horizon, 0.01)
        if item.thing.kind in _ALOFT:
            depth = 1.0
        crowd = 1.0 if item.count == 1 else 0.85 if item.count <= 3 else 0.66
        return min(0.78, item.thing.size * item.scale * depth * crowd * zoom)

    def put(self, item: Item, x: float, bottom: float, height: float, layer: float = 0.0) -> None:
        """Place all of the item around `x`, standing at `bottom`."""
        columns = item.count if item.count <= 3 else (item.count + 1) // 2
        step = min(height * self.rng.uniform(0.75, 1.0), 0.8 / columns)
        x = min(max(x, step * columns / 2), 1 - step * columns / 2)
        for index in range(item.count):
            row, column = divmod(index, columns)
            dx = (column - (columns - 1) / 2) * step + (
                self.rng.uniform(-0.03, 0.03) if item.count > 1 else 0
            )
            dy = -row * height * 0.6 + (self.rng.uniform(-0.03, 0.03) if item.count > 1 else 0)
            self.pieces.append((bottom + dy + layer, self._picture(item, height), x + dx, bottom + dy))

    def _picture(self, item: Item, height: float) -> Image.Image:
        thing = item.thing
        if item.is_person:
            tone, trousers = self.rng.randrange(5), self.rng.randrange(5)
            picture = person(self.folder, thing.sticker, tone, item.colour or "blue", trousers, self.pose)
            if self.pose == "sit":
                height *= 0.82
        else:
            picture = sticker(self.folder, thing.sticker, item.colour)
        pixels = max(6, round(height * self.size))
        width = max(6, round(pixels * picture.width / picture.height))
        if width > 0.8 * self.size:
            width, pixels = (
                round(0.8 * self.size),
                max(6, round(0.8 * self.size * picture.height / picture.width)),
            )
        flip = self.rng.random() < 0.5
        picture = picture.resize((width, pixels), Image.Resampling.BILINEAR, reducing_gap=2.0)
        return picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if flip else picture

    def render(self) -> Image.Image:
        """Paste all, the farthest first."""
        for _, picture, x, bottom in sorted(self.pieces, key=lambda piece: piece[0]):
            left = round(x * self.size - picture.width / 2)
            top = round(bottom * self.size - picture.height)
            self.image.paste(picture, (left, top), picture)
        return self.image


def paint(scene: Scene, size: int, folder: Path, rng: random.Random) -> Image.Image:
    """Draw a scene as an RGB picture of `size` by `size` pixels, with stickers from `folder`."""
    on = _Layout(scene, size, folder, rng)
    subject, other = scene.subject, scene.other
    bottom = on.resting(subject, 0.55)
    if other is None:
        on.put(subject, rng.uniform(0.3, 0.7), bottom, on.height(subject, bottom))
    elif scene.relation in ("left", "right", "with"):
        near = 0.16 if scene.relation == "with" else rng.uniform(0.2, 0.26)
        sign = rng.choice((-1, 1)) if scene.relation == "with" else -1 if scene.relation == "left" else 1
        level = bottom + rng.uniform(-0.05, 0.05)
        if other.thing.kind in _ALOFT or subject.thing.kind in _ALOFT:
            level = on.resting(other)
        on.put(subject, 0.5 + sign * near, bottom, on.height(subject, bottom))
        on.put(other, 0.5 - sign * near, level, on.height(other, level))
    else:
        _stack(on, scene, other)
    if scene.extra is not None:
        level = on.resting(scene.extra, 0.0, 0.35)
        side = rng.choice((0.12, 0.88))
        on.put(scene.extra, side, level, on.height(scene.extra, level, 0.8))
    for item in scene.clutter:
        level = on.resting(item, 0.0, 1.0)
        on.put(item, rng.uniform(0.08, 0.92), level, on.height(item, level, 0.6), layer=-0.2)
    return on.render()


def _stack(on: _Layout, scene: Scene, other: Item) -> None:
    """Place a subject that is on, under, in front of, or holding another thing."""
    subject, rng = scene.subject, on.rng
    if scene.relation == "hold":
        bottom, x, sign = on.ground(0.6), rng.uniform(0.35, 0.65), rng.choice((-1, 1))
        height = on.height(subject, bottom)
        on.put(subject, x, bottom, height)
        high = other.thing.name in ("balloon", "umbrella")
        held = min(on.height(other, bottom), 0.45 * height)
        reach = 0.20 if high else 0.24
        on.put(other, x + sign * reach * height, bottom - (0.5 if high else 0.3) * height, held, layer=0.6)
        return
    x = rng.uniform(0.35, 0.65)
    if scene.relation == "on":
        base = on.ground(0.6)
        height = on.height(other, base, 1.1)
        on.put(other, x, base, height)
        seat = (other.thing.seat or 0.5) - (0.28 if subject.is_person and scene.pose == "sit" else 0.0)
        ratio = 0.8 if subject.is_person else 0.85
        own = min(on.height(subject, base, ratio), 0.97 - 0.03)
        on.put(subject, x + rng.uniform(-0.04, 0.04), base - max(seat, 0.1) * height, own, layer=1.0)
        return
    back = on.ground(0.15, 0.45)
    on.put(other, x, back, on.height(other, back, 1.35 if scene.relation == "under" else 1.25))
    shift = 0.05 if scene.relation == "under" else 0.12
    front = min(0.97, back + rng.uniform(0.02, 0.06 if scene.relation == "under" else 0.25))
    zoom = 0.62 if scene.relation == "under" else 0.8
    on.put(subject, x + rng.uniform(-shift, shift), front, on.height(subject, front, zoom), layer=1.0)
