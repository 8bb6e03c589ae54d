"""Scores as tables: for the terminal, for spreadsheets and for papers."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from rich.table import Table

from distilcap.shown import shown

if TYPE_CHECKING:
    from distilcap.metrics import Score
    from distilcap.metrics.diversity import Diversity

__all__ = ["as_csv", "as_latex", "in_words", "scores_table"]


def scores_table(title: str, scores: dict[str, Score]) -> Table:
    """Show scores on the terminal, times 100."""
    table = Table(title=title, title_justify="left")
    for column in ("score", "x 100", "95 % interval", "signature"):
        table.add_column(
            column, justify="left" if column in ("score", "signature") else "right", overflow="fold"
        )
    for key, score in scores.items():
        interval = score.interval
        between = f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else ""
        value = f"n/a ({score.unavailable})" if score.unavailable else f"{100 * score.value:.2f}"
        table.add_row(key, value, between, score.signature)
    return table


def in_words(diversity: Diversity) -> str:
    """Say in one line how long and how varied captions are."""
    novel = "" if diversity.novel is None else f", {100 * diversity.novel:.1f} % not in training"
    return (
        f"{diversity.mean_length:.2f} words a caption, {diversity.vocabulary} different, distinct-1 "
        f"{diversity.distinct_1:.3f}, distinct-2 {diversity.distinct_2:.3f}, "
        f"{100 * diversity.distinct_captions:.1f} % different captions{novel}"
    )


def as_csv(scores: dict[str, Score]) -> str:
    """Write scores as CSV, a row each, in the official scale."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["score", "value", "low", "high", "signature", "unavailable"])
    for key, score in scores.items():
        low, high = score.interval or ("", "")
        value = "" if score.unavailable else score.value
        writer.writerow([key, value, low, high, *map(_cell_text, (score.signature, score.unavailable or ""))])
    return buffer.getvalue()


def _cell_text(text: str) -> str:
    """Text that no spreadsheet takes for a formula: an apostrophe in front says that it is text."""
    return f"'{text}" if text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


_LATEX = {sign: f"\\{sign}" for sign in "{}$&%#_"} | {
    "\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
    "<": r"\textless{}", ">": r"\textgreater{}",
}  # fmt: skip


def as_latex(name: str, scores: dict[str, Score]) -> str:
    """A table of one row, with half the interval's width behind each score; signatures in comments."""

    def cell(score: Score) -> str:
        if score.unavailable:
            return "n/a"
        if score.interval is None:
            return f"{100 * score.value:.1f}"
        low, high = score.interval
        return f"{100 * score.value:.1f}\\,{{\\scriptsize$\\pm${50 * (high - low):.1f}}}"

    titles = {"bleu": "BLEU", "meteor": "METEOR", "rouge": "ROUGE", "cider": "CIDEr-D", "spice": "SPICE"}
    heads = ["-".join(titles.get(part, part.upper()) for part in key.split("_")) for key in scores]
    escaped = "".join(_LATEX.get(letter, letter) for letter in shown(name))
    return "\n".join(
        [
            *(f"% {key}: {shown(score.signature)}" for key, score in scores.items()),
            f"\\begin{{tabular}}{{l{'r' * len(scores)}}}",
            "\\toprule",
            " & ".join(["", *heads]) + " \\\\",
            "\\midrule",
            " & ".join([escaped, *map(cell, scores.values())]) + " \\\\",
            "\\bottomrule",
            "\\end{tabular}",
            "",
        ]
    )
