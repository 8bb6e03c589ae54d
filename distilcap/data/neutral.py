"""Captions with neutral words for people, so that whoever learns from them never guesses a gender."""

from __future__ import annotations

from collections.abc import Iterable

from distilcap.data.captions import Caption, CaptionSet
from distilcap.text.people import neutral

__all__ = ["neutral_caption", "neutral_captions"]


def neutral_captions(captions: CaptionSet, image_ids: Iterable[str] | None = None) -> CaptionSet:
    """Rewrite all English captions, or those of some images (see `text.people.neutral`)."""
    chosen = set(captions if image_ids is None else image_ids)
    return CaptionSet(
        {
            id: tuple(map(neutral_caption, of_image)) if id in chosen else of_image
            for id, of_image in captions.items()
        }
    )


def neutral_caption(caption: Caption) -> Caption:
    """A changed caption loses its log-probability, which was of other words."""
    text = neutral(caption.text)
    return caption if text == caption.text else Caption(text)
