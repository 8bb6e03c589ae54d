"""`distilcap metrics install-spice`."""

from __future__ import annotations

from pathlib import Path

import click

from distilcap.cli.bounds import FILE, FOLDER
from distilcap.cli.common import PROGRESS
from distilcap.cli.say import say

__all__ = ["install_spice"]


@click.command(
    "install-spice",
    epilog="""\b
Examples:
  distilcap metrics install-spice
  distilcap metrics install-spice --corenlp stanford-corenlp-3.6.0.jar \\
      --models stanford-corenlp-3.6.0-models.jar
""",
)
@click.option("--corenlp", type=FILE, help="stanford-corenlp-3.6.0.jar, instead of fetching it.")
@click.option("--models", type=FILE, help="stanford-corenlp-3.6.0-models.jar, instead of fetching it.")
@click.option("--rhino", type=FILE, help="rhino-1.7.15.jar, instead of fetching it.")
@click.option("--rhino-engine", type=FILE, help="rhino-engine-1.7.15.jar, instead of fetching it.")
@click.option(
    "--to",
    "home",
    type=FOLDER,
    envvar="DISTILCAP_SPICE",
    help="Folder of the program; evaluations use it if DISTILCAP_SPICE names it.  [default: the user's data]",
)
def install_spice(
    corenlp: Path | None,
    models: Path | None,
    rhino: Path | None,
    rhino_engine: Path | None,
    home: Path | None,
) -> None:
    """Get what the SPICE score needs (386 MB, by Maven), check it and test it.

    The official program itself is in the package pycocoevalcap. Java 8 or later and, unless all files are
    given, Maven must be installed.
    """
    from distilcap.metrics.spice_install import install, spice_home

    given = {"corenlp": corenlp, "models": models, "rhino": rhino, "rhino-engine": rhino_engine}
    jar = install({name: path for name, path in given.items() if path}, home, PROGRESS)
    say(f"SPICE 1.0 is installed in {home or spice_home()} and passed its test on Java {jar.java.version}.")
