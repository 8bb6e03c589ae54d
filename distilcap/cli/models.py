"""`distilcap models`: captioners and encoders with their sizes."""

from __future__ import annotations

import click
from rich.table import Table

from distilcap.cli.common import CONSOLE

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
    import torch

    from distilcap.models.aoanet import AoANet, AoANetOptions
    from distilcap.models.presets import PRESETS
    from distilcap.models.updown import UpDown
    from distilcap.models.weights import megabytes_of

    table = Table(title=f"Captioners at {vocabulary} words and {region_dim} features a region")
    for column in ("captioner", "hidden", "parameters (M)", "MB in float32", "with tied words (MB)"):
        table.add_column(column, justify="left" if column == "captioner" else "right")
    for architecture, sizes in PRESETS.items():
        for size, options in sizes.items():
            megabytes = []
            for tied in (options.tie_words, True):
                values = {**vars(options), "tie_words": tied}
                with torch.device("meta"):  # shapes only: nothing is allocated
                    captioner = (
                        AoANet(vocabulary, region_dim, AoANetOptions(**values))
                        if isinstance(options, AoANetOptions)
                        else UpDown(vocabulary, region_dim, type(options)(**values))
                    )
                megabytes.append(megabytes_of(captioner))
            table.add_row(
                f"{architecture}-{size}",
                str(options.hidden),
                f"{megabytes[0] / 4:.2f}",
                f"{megabytes[0]:.1f}",
                f"{megabytes[1]:.1f}",
            )
    CONSOLE.print(table)
