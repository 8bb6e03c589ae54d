"""The drawn world, the data set that is always there: stickers on drawn backgrounds, five captions each.

Takes a seed and sizes; gives image files, captions and a `Dataset`. A scene is composed, painted and
described in three steps that share nothing but the `Scene`. May use: data.dataset, data.captions, text,
Pillow.
"""

from distilcap.data.scenes.draw import LANGUAGES, VERSION, draw_scenes

__all__ = ["LANGUAGES", "VERSION", "draw_scenes"]
