"""Lines of output for people and programs alike; tables and bars are `common.CONSOLE` and `PROGRESS`."""

from __future__ import annotations

import click

from distilcap.shown import shown

__all__ = ["say"]


def say(*fields: str, err: bool = False) -> None:
    """Print one line, however long: its fields with tabs between, none of which controls the terminal."""
    click.echo("\t".join(map(shown, fields)), err=err)
