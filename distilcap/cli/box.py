"""The captioner in the box as the default of commands, and the line that says once what it is."""

from __future__ import annotations

from pathlib import Path

from distilcap.box import NAME
from distilcap.cli.say import say
from distilcap.errors import DistilCapError
from distilcap.files import cache_folder, write_text

__all__ = ["named_bundle"]

_SAID = "box-terms"  # in the cache: holds the text that a person has been told


def named_bundle(bundle: Path | None) -> Path:
    """The bundle of that name; without one, or by the name `box`, the captioner in the box.

    Its first use says on the error stream what it is and its terms.
    """
    if bundle is not None and str(bundle) != NAME:
        return bundle
    from distilcap.runtime.hub import find_bundle
    from distilcap.runtime.manifest import read_manifest

    folder = find_bundle(Path(NAME))
    manifest = read_manifest(folder, verify=False)  # whoever opens the bundle checks its files
    terms = (
        f"The captioner in the box: {manifest.megabytes():.1f} MB, one English sentence for a photograph. "
        f"For research, not for commercial use, and not to judge people by: {folder / 'MODEL_CARD.md'}"
    )
    said = cache_folder() / _SAID
    try:
        if said.is_file() and said.read_text("utf-8") == terms:
            return folder
        said.parent.mkdir(parents=True, exist_ok=True)
        write_text(said, terms)
    except (OSError, DistilCapError):
        pass  # a cache that cannot be written only means that it is said again
    say(terms, err=True)
    return folder
