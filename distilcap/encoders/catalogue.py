"""What encoders there are, how large they are, and where their weights come from."""

from __future__ import annotations

from dataclasses import dataclass

from distilcap.encoders.families import encoder_families
from distilcap.encoders.registry import create_encoder
from distilcap.errors import MissingError

__all__ = ["Entry", "catalogue"]


@dataclass(frozen=True)
class Entry:
    """An encoder, measured.

    Attributes:
        name, form: as `create_encoder` takes them.
        weights: where they come from.
        size: side of the input in pixels.
        regions, dim: of what it gives (R, D).
        parameters: of what runs on a phone.
        megabytes: of them in float32, 10^6 bytes.
        here: whether the published weights are on this machine.
    """

    name: str
    form: str
    weights: str
    size: int
    regions: int
    dim: int
    parameters: int
    megabytes: float
    here: bool


def catalogue() -> list[Entry]:
    """Build every listed encoder with random weights; those whose package is missing are left out."""
    entries = []
    for family in encoder_families().values():
        alone = () if family.name.endswith(":") else ((family.name, family.forms[0]),)
        for name, form in family.listed or alone:
            try:
                encoder = create_encoder(name, form=form, weights="random")
            except MissingError:
                continue
            used = [parameter for part in family.used(encoder) for parameter in part.parameters()]
            parameters = sum(parameter.numel() for parameter in used)
            entries.append(
                Entry(
                    name,
                    form,
                    family.source,
                    encoder.preprocessing.size,
                    encoder.regions,
                    encoder.dim,
                    parameters,
                    parameters * 4 / 1e6,
                    family.here(encoder),
                )
            )
    return entries
