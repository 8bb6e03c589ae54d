"""`distilcap report`: the table and the page of measured results."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from distilcap.cli.common import CONSOLE

__all__ = ["print_results", "report"]

EXAMPLE = """\b
Example:
  distilcap report demo/results.json --to demo/report.html
"""


@click.command(epilog=EXAMPLE)
@click.argument("results", type=click.Path(path_type=Path))
@click.option(
    "--to", type=click.Path(path_type=Path), help="The page to write; without it, the table is printed."
)
def report(results: Path, to: Path | None) -> None:
    """Print the table of RESULTS (a results.json), and write its page."""
    from distilcap.experiments.report import read_results, write_page

    content = read_results(results)
    print_results(content)
    if to is not None:
        write_page(content, results.parent, to)
        CONSOLE.print(f"Page: {to}", highlight=False)


def print_results(results: dict[str, Any]) -> None:
    """Print rows and verdict: sizes and costs first, then scores, so that a narrow terminal shows all."""
    from distilcap.experiments.report import table_of

    headings, cells = table_of(results["rows"])
    costs, scores = slice(1, 7), slice(7, None)
    for title, columns in (
        ("What it costs", costs),
        ("Scores on the test split, x 100: greedy / beam", scores),
    ):
        table = Table(title=title, title_justify="left")
        table.add_column(headings[0])
        for heading in headings[columns]:
            left = heading in ("role", "labels")
            table.add_column(heading, justify="left" if left else "right", overflow="fold")
        for line in cells:
            table.add_row(line[0], *line[columns])
        CONSOLE.print(table)
    CONSOLE.print(results["verdict"], highlight=False)
