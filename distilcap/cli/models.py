"""`distilcap models`: captioners and encoders with their sizes."""

from __future__ import annotations

import dataclasses
from contextlib import suppress

import click
from rich.table import Table

from distilcap.cli.common import CONSOLE
from distilcap.errors import MissingError

__all__ = ["models"]

EXAMPLE = """\b
Example:
  distilcap models --vocabulary 10369 --region-dim 1280
  distilcap models --encoders
"""


@click.command(epilog=EXAMPLE)
@click.option(
    "--vocabulary",
    type=click.IntRange(4, 10_000_000),
    default=9488,
    help="Number of words, with the four special tokens.",
)
@click.option(
    "--region-dim", type=click.IntRange(1, 1_000_000), default=1280, help="Number of features of a region."
)
@click.option("--encoders", is_flag=True, help="List encoders instead of captioners.")
def models(vocabulary: int, region_dim: int, encoders: bool) -> None:
    """List captioners (or encoders) with parameters and megabytes."""
    if encoders:
        from distilcap.cli.features import encoder_table

        CONSOLE.print(encoder_table())
        return
    from distilcap.box import box_bundle
    from distilcap.runtime.manifest import read_manifest

    with suppress(MissingError):  # an installation without it
        box = read_manifest(box_bundle())
        CONSOLE.print(
            f"In the box, trained and exported (`distilcap caption`): {box.model['architecture']} "
            f"{box.model['options']['hidden']} wide on {box.model['encoder']['encoder']}, "
            f"{len(box.vocabulary)} words, {box.megabytes():.1f} MB in {box.precision}."
        )
    import torch  # not before: the captioner in the box is there without

    from distilcap.models.families import families
    from distilcap.models.weights import megabytes_of

    table = Table(title=f"Captioners at {vocabulary} words and {region_dim} features a region")
    for column in ("captioner", "hidden", "parameters (M)", "MB in float32", "with tied words (MB)"):
        table.add_column(column, justify="left" if column == "captioner" else "right")
    for family in families().values():
        for size, options in family.sizes.items():
            forms = [options]
            if hasattr(options, "tie_words"):
                forms.append(dataclasses.replace(options, tie_words=True))
            with torch.device("meta"):  # shapes only: nothing is allocated
                sizes = [megabytes_of(family.build(vocabulary, region_dim, form)) for form in forms]
            table.add_row(
                f"{family.name}-{size}",
                str(options.hidden),
                f"{sizes[0] / 4:.2f}",
                f"{sizes[0]:.1f}",
                f"{sizes[1]:.1f}" if len(sizes) > 1 else "n/a",
            )
    CONSOLE.print(table)
