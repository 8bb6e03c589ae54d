"""LaTeX, CSV and Markdown: what each needs so that a text stays a text. Written here and nowhere else."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence

from distilcap.shown import shown

__all__ = ["Latex", "Markdown", "csv_text", "latex", "latex_table", "markdown", "markdown_code"]


class Latex(str):
    """Text that is LaTeX already."""


class Markdown(str):
    """Text that is Markdown already."""


_LATEX = str.maketrans(
    {letter: f"\\{letter}" for letter in "{}$%&#_"}
    | {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}", "~": r"\textasciitilde{}"}
    | {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}
    | {"±": r"$\pm$", "▲": r"$\uparrow$", "▼": r"$\downarrow$"}
)
_LEADING = re.compile(r"^[\[*]")
# An underscore between letters or digits is no emphasis.
_MARKDOWN = re.compile(r"[\\`*|]|(?<![^\W_])_|_(?![^\W_])|\](?=[(\[])")


def latex(text: str) -> Latex:
    """Escape text for LaTeX, on one line; what is LaTeX already stays."""
    if isinstance(text, Latex):
        return text
    # After \\ or \item, a leading [ or * would be read as an argument.
    return Latex(_LEADING.sub(r"{\g<0>}", shown(text).translate(_LATEX)))


def latex_table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> Latex:
    """A tabular in booktabs' style, the first column left and the others right."""
    head, *body = (" & ".join(map(latex, cells)) + r" \\" for cells in (headings, *rows))
    begin = rf"\begin{{tabular}}{{l{'r' * (len(headings) - 1)}}}"
    return Latex("\n".join([begin, r"\toprule", head, r"\midrule", *body, r"\bottomrule", r"\end{tabular}"]))


def markdown(text: str) -> Markdown:
    """Escape text for Markdown, on one line: no emphasis, link, picture, HTML or cell border begins in it."""
    if isinstance(text, Markdown):
        return text
    escaped = _MARKDOWN.sub(r"\\\g<0>", shown(text))
    return Markdown(escaped.replace("&", "&amp;").replace("<", "&lt;"))


def markdown_code(text: str) -> Markdown:
    """Text as code, within more backticks than it has."""
    line = shown(text)
    fence = "`" * (1 + max(map(len, re.findall("`+", line)), default=0))
    space = " " * ("`" in line)
    return Markdown(f"{fence}{space}{line}{space}{fence}")


def csv_text(rows: Sequence[Mapping[str, str | float | None]]) -> str:
    """Rows as CSV under their keys, numbers unrounded.

    Text that a spreadsheet would take for a formula gets an apostrophe in front.
    """
    lines = [list(rows[0]) if rows else [], *(map(_no_formula, row.values()) for row in rows)]
    return "".join(map(_csv_line, lines))


def _no_formula(value: str | float | None) -> str | float | None:
    formula = isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r", "\n"))
    return f"'{value}" if formula else value


def _csv_line(cells: Iterable[str | float | None]) -> str:
    buffer = io.StringIO()
    csv.writer(buffer).writerow(cells)  # its line end \r\n makes it quote cells with either
    return buffer.getvalue().removesuffix("\r\n") + "\n"
