"""The captioner in the box as the default of commands, and the line that says once what it is."""

from __future__ import annotations

from pathlib import Path

from distilcap.box import NAME, box_card
from distilcap.cli.say import say
from distilcap.errors import DistilCapError
from distilcap.files import cache_folder, write_text

__all__ = ["named_bundle", "say_terms"]

_SAID = "box-terms"  # in the cache: holds the text that a person has been told


def named_bundle(bundle: Path | None) -> Path:
    """The bundle of that name; without one, or by the name `box`, the captioner in the box.

    Its first use says on the error stream what it is and its terms.
    """
    if bundle is not None and str(bundle) != NAME:
        return bundle
    from distilcap.runtime.hub import find_bundle

    folder = find_bundle(Path(NAME))
    say_terms()
    return folder


def say_terms() -> None:
    """Say on the error stream what the captioner in the box is and its terms; once on a machine."""
    terms = (
        "The captioner in the box: one English sentence for a photograph. For research, not for commercial "
        f"use, and not to judge people by; so is what learns on from it: {box_card()}"
    )
    try:
        said = cache_folder() / _SAID
        if said.is_file() and said.read_text("utf-8") == terms:
            return
        said.parent.mkdir(parents=True, exist_ok=True)
        write_text(said, terms)
    except (OSError, DistilCapError):
        pass  # a cache that cannot be written only means that it is said again
    say(terms, err=True)
