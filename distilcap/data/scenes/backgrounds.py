"""The drawn backgrounds: sky, ground and what stands far away."""

from __future__ import annotations

import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw

__all__ = ["background"]

RGB = tuple[int, int, int]


class _Canvas:
    """A picture in the making; coordinates are shares of its side."""

    def __init__(self, size: int, light: str, rng: random.Random) -> None:
        self.size, self.light, self.rng = size, light, rng
        self.noise = np.random.default_rng(rng.getrandbits(64))
        self.image = Image.new("RGB", (size, size))
        self.draw = ImageDraw.Draw(self.image)
        self.horizon = rng.uniform(0.42, 0.56)

    def band(self, top: float, bottom: float, above: RGB, below: RGB, grain: float = 4.0) -> None:
        """Fill from `top` to `bottom` with a gradient and some grain."""
        first, last = round(top * self.size), round(bottom * self.size)
        if last <= first:
            return
        shift = self.rng.uniform(-14, 14)
        share = np.linspace(0, 1, last - first)[:, None, None]
        rows = np.asarray(above) * (1 - share) + np.asarray(below) * share + shift
        pixels = rows + grain * self.noise.standard_normal((last - first, self.size, 1))
        self.image.paste(Image.fromarray(pixels.clip(0, 255).astype(np.uint8)), (0, first))

    def box(self, left: float, top: float, right: float, bottom: float, fill: RGB) -> None:
        side = self.size
        self.draw.rectangle((left * side, top * side, right * side, bottom * side), fill=fill)

    def oval(self, x: float, y: float, width: float, height: float, fill: RGB) -> None:
        side = self.size
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        self.draw.ellipse(tuple(side * corner for corner in corners), fill=fill)

    def shape(self, points: list[tuple[float, float]], fill: RGB) -> None:
        self.draw.polygon([(x * self.size, y * self.size) for x, y in points], fill=fill)

    def sky(self, top: RGB = (95, 165, 230), bottom: RGB = (195, 225, 245), clouds: int = 4) -> None:
        if self.light == "evening":
            top, bottom = (120, 110, 170), (250, 180, 130)
        elif self.light == "grey":
            top, bottom = (165, 175, 185), (215, 220, 222)
        self.band(0, self.horizon, top, bottom, grain=1.5)
        for _ in range(self.rng.randint(0, clouds)):
            x, y = self.rng.random(), self.rng.uniform(0.03, self.horizon * 0.7)
            for _ in range(4):
                dx, dy = self.rng.uniform(-0.08, 0.08), self.rng.uniform(-0.015, 0.015)
                self.oval(
                    x + dx,
                    y + dy,
                    self.rng.uniform(0.08, 0.16),
                    self.rng.uniform(0.03, 0.06),
                    (245, 247, 250),
                )

    def hills(self, fill: RGB, height: float = 0.12) -> None:
        left = -0.1
        while left < 1:
            width, rise = self.rng.uniform(0.3, 0.7), self.rng.uniform(0.3, 1.0) * height
            self.oval(left + width / 2, self.horizon, width, 2 * rise, fill)
            left += width * 0.6

    def specks(self, top: float, count: int, fills: tuple[RGB, ...], length: float = 0.012) -> None:
        for _ in range(count):
            x, y = self.rng.random(), self.rng.uniform(top, 1)
            reach = length * (0.5 + y)
            self.box(x, y, x + reach, y + reach * 0.45, self.rng.choice(fills))

    def trees(self, count: int, fills: tuple[RGB, ...]) -> None:
        for _ in range(count):
            x, height = self.rng.random(), self.rng.uniform(0.15, 0.4)
            self.box(x - 0.012, self.horizon - height / 2, x + 0.012, self.horizon + 0.02, (88, 64, 44))
            self.oval(x, self.horizon - height * 0.6, height * 0.5, height * 0.8, self.rng.choice(fills))

    def houses(self, walls: tuple[RGB, ...], glass: RGB) -> None:
        left = -0.05
        while left < 1:
            width, height = self.rng.uniform(0.14, 0.26), self.rng.uniform(0.15, self.horizon * 0.85)
            top = self.horizon - height
            self.box(left, top, left + width, self.horizon, self.rng.choice(walls))
            for row in range(int(height / 0.075)):
                for column in range(int(width / 0.055)):
                    if self.rng.random() < 0.8:
                        x, y = left + 0.018 + column * 0.055, top + 0.02 + row * 0.075
                        self.box(x, y, x + 0.028, y + 0.038, glass)
            left += width + self.rng.choice((0, 0, 0.02, 0.08))


def _street(on: _Canvas) -> None:
    on.sky()
    on.houses(((170, 110, 90), (190, 180, 165), (140, 145, 155), (205, 190, 150)), (90, 115, 140))
    on.band(on.horizon, on.horizon + 0.07, (165, 162, 158), (185, 182, 178))
    on.band(on.horizon + 0.07, 1, (98, 98, 102), (78, 78, 82))
    for step in range(5):
        on.box(0.02 + step * 0.22, 0.78, 0.13 + step * 0.22, 0.795, (225, 220, 190))


def _grass(on: _Canvas) -> None:
    on.sky()
    on.trees(on.rng.randint(0, 6), ((60, 120, 60), (80, 140, 65), (45, 100, 55)))
    on.band(on.horizon, 1, (110, 170, 80), (75, 140, 55), grain=9)
    on.specks(on.horizon, 50, ((90, 160, 65), (130, 185, 90), (60, 120, 50)))


def _beach(on: _Canvas) -> None:
    on.sky()
    shore = on.horizon + on.rng.uniform(0.05, 0.16)
    on.band(on.horizon, shore, (50, 120, 175), (95, 180, 200), grain=6)
    on.box(0, shore - 0.01, 1, shore + 0.006, (240, 248, 248))
    on.band(shore, 1, (238, 218, 170), (222, 194, 140), grain=8)
    on.specks(shore, 25, ((205, 178, 128), (248, 232, 196)))


def _sea(on: _Canvas) -> None:
    on.horizon = on.rng.uniform(0.25, 0.45)
    on.sky()
    if on.rng.random() < 0.3:
        on.hills((105, 130, 120), 0.08)
    on.band(on.horizon, 1, (45, 110, 170), (35, 90, 150), grain=7)
    for _ in range(35):
        x, y = on.rng.random(), on.rng.uniform(on.horizon + 0.02, 1)
        on.box(x, y, x + 0.05 * (0.4 + y), y + 0.007, on.rng.choice(((90, 155, 205), (200, 225, 240))))


def _snow(on: _Canvas) -> None:
    on.sky((130, 175, 225), (220, 232, 242))
    for _ in range(on.rng.randint(1, 3)):
        x, rise = on.rng.random(), on.rng.uniform(0.15, 0.38)
        top = on.horizon - rise
        on.shape([(x - rise, on.horizon), (x, top), (x + rise, on.horizon)], (120, 135, 155))
        on.shape(
            [(x - rise * 0.4, top + rise * 0.4), (x, top), (x + rise * 0.4, top + rise * 0.4)],
            (245, 248, 252),
        )
    on.band(on.horizon, 1, (228, 236, 244), (246, 249, 252), grain=4)
    on.specks(on.horizon, 25, ((205, 215, 228), (255, 255, 255)))


def _field(on: _Canvas) -> None:
    on.sky()
    on.hills((125, 145, 95))
    on.band(on.horizon, 1, (196, 180, 105), (160, 145, 75), grain=10)
    on.specks(on.horizon, 60, ((140, 130, 60), (215, 200, 130), (110, 130, 60)))


def _forest(on: _Canvas) -> None:
    on.band(0, on.horizon, (60, 95, 65), (95, 130, 85), grain=6)
    for _ in range(on.rng.randint(7, 14)):
        x, width = on.rng.random(), on.rng.uniform(0.02, 0.06)
        on.box(x, 0, x + width, on.horizon + 0.04, on.rng.choice(((82, 60, 42), (66, 50, 36), (105, 84, 62))))
    for _ in range(12):
        x = on.rng.random()
        on.oval(
            x, on.rng.uniform(0, 0.14), 0.26, 0.16, on.rng.choice(((50, 95, 50), (70, 120, 60), (40, 80, 45)))
        )
    on.band(on.horizon, 1, (96, 110, 62), (86, 76, 46), grain=10)
    on.specks(on.horizon, 40, ((120, 90, 50), (70, 95, 45), (150, 110, 60)))


def _desert(on: _Canvas) -> None:
    on.sky((110, 175, 235), (245, 230, 200), clouds=1)
    on.hills((214, 168, 108), 0.1)
    on.band(on.horizon, 1, (228, 184, 120), (204, 150, 88), grain=6)


def _night(on: _Canvas) -> None:
    on.band(0, on.horizon, (12, 14, 40), (32, 34, 70), grain=2)
    for _ in range(25):
        x, y = on.rng.random(), on.rng.uniform(0, on.horizon)
        on.oval(x, y, 0.008, 0.008, (235, 235, 215))
    on.oval(on.rng.uniform(0.1, 0.9), on.rng.uniform(0.06, 0.16), 0.1, 0.1, (245, 240, 205))
    on.houses(((34, 34, 52), (44, 40, 54), (28, 30, 44)), (235, 200, 110))
    on.band(on.horizon, 1, (42, 42, 52), (30, 30, 40), grain=4)


def _sky(on: _Canvas) -> None:
    on.horizon = 1.0
    on.sky(clouds=7)


def _table(on: _Canvas) -> None:
    on.horizon = on.rng.uniform(0.18, 0.34)
    wall = on.rng.choice(((215, 205, 190), (180, 195, 200), (200, 180, 165), (160, 170, 150)))
    on.band(0, on.horizon, wall, wall, grain=3)
    wood = on.rng.choice(((150, 100, 62), (185, 138, 90), (115, 78, 52), (205, 200, 195), (90, 62, 48)))
    on.band(on.horizon, 1, wood, wood, grain=5)
    grain = (max(wood[0] - 18, 0), max(wood[1] - 16, 0), max(wood[2] - 14, 0))
    for step in range(1, 6):
        y = on.horizon + (1 - on.horizon) * step / 6
        on.box(0, y, 1, y + 0.006, grain)
    if on.rng.random() < 0.3:  # a tablecloth
        cloth = on.rng.choice(((235, 235, 230), (200, 70, 70), (90, 130, 190), (235, 215, 140)))
        on.shape([(0.15, on.horizon + 0.06), (0.85, on.horizon + 0.06), (1.0, 1), (0.0, 1)], cloth)


def _room(on: _Canvas) -> None:
    wall = on.rng.choice(
        ((225, 215, 195), (190, 205, 215), (215, 195, 190), (200, 210, 185), (235, 230, 225))
    )
    on.horizon = on.rng.uniform(0.5, 0.62)
    on.band(0, on.horizon, wall, wall, grain=2)
    on.box(0, on.horizon - 0.025, 1, on.horizon, (245, 243, 238))
    floor = on.rng.choice(((165, 120, 80), (130, 95, 70), (190, 185, 175), (150, 140, 130)))
    on.band(on.horizon, 1, floor, floor, grain=5)
    if on.rng.random() < 0.5:  # a window
        x = on.rng.uniform(0.05, 0.65)
        on.box(x, 0.08, x + 0.28, 0.34, (245, 245, 245))
        on.box(x + 0.02, 0.1, x + 0.26, 0.32, (160, 205, 235))
        on.box(x + 0.13, 0.1, x + 0.15, 0.32, (245, 245, 245))
    if on.rng.random() < 0.4:  # a picture on the wall
        x = on.rng.uniform(0.05, 0.75)
        on.box(x, 0.12, x + 0.16, 0.28, (95, 70, 50))
        on.box(
            x + 0.015,
            0.135,
            x + 0.145,
            0.265,
            on.rng.choice(((190, 140, 120), (120, 160, 140), (210, 190, 110))),
        )
    if on.rng.random() < 0.5:  # a rug
        rug = on.rng.choice(((170, 70, 70), (80, 100, 140), (200, 190, 160), (100, 130, 100)))
        on.oval(0.5, (1 + on.horizon) / 2 + 0.06, 0.95, (1 - on.horizon) * 0.7, rug)


_PLACES: dict[str, Callable[[_Canvas], None]] = {
    "street": _street, "grass": _grass, "beach": _beach, "sea": _sea, "snow": _snow, "field": _field,
    "forest": _forest, "desert": _desert, "night": _night, "sky": _sky, "table": _table, "room": _room,
}  # fmt: skip


def background(place: str, light: str, size: int, rng: random.Random) -> tuple[Image.Image, float]:
    """Draw a place under a sky of "day", "evening" or "grey"; give the picture and where its ground begins.

    Returns:
        The picture, (size, size) RGB, and the height of the horizon as a share of the side, from the top.
    """
    canvas = _Canvas(size, light, rng)
    _PLACES[place](canvas)
    return canvas.image, canvas.horizon
