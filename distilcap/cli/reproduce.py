"""`distilcap reproduce`: measurements of the README, one command each."""

from __future__ import annotations

from pathlib import Path

import click

from distilcap.cli.common import data_options, store_option

__all__ = ["reproduce"]

EXAMPLE = """\b
Example:
  distilcap reproduce flickr8k --data flickr8k/ --to results --plan
"""


@click.command(epilog=EXAMPLE)
@click.argument("what", type=click.Choice(["flickr8k", "flickr8k-tuned"]))
@data_options
@store_option
@click.option("--seeds", default=1, show_default=True, help="Students are trained so many times.")
@click.option("--to", type=click.Path(path_type=Path), default=Path("results"), show_default=True)
@click.option("--plan", is_flag=True, help="Print the stages and which are there already; run nothing.")
def reproduce(
    what: str, data: Path, images: Path | None, store: Path, seeds: int, to: Path, plan: bool
) -> None:
    """Measure again what the README reports: WHAT is the name of a recipe."""
    from distilcap.cli.report import run_members
    from distilcap.recipes.flickr8k import flickr8k_members

    members = flickr8k_members(data, images, seeds, tuned=what.endswith("tuned"))
    run_members("Flickr8k: teacher to student", members, store, to, plan)
