"""Scores as tables: for the terminal, for spreadsheets and for papers."""

from __future__ import annotations

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
    """Write scores as CSV, a line for each, in the official scale."""
    from distilcap.reports.formats import csv_text

    rows = []
    for key, score in scores.items():
        low, high = score.interval or (None, None)
        value = None if score.unavailable else score.value
        row = {"score": key, "value": value, "low": low, "high": high}
        rows.append(row | {"signature": score.signature, "unavailable": score.unavailable})
    return csv_text(rows)


def as_latex(name: str, scores: dict[str, Score]) -> str:
    """A table of one row, with half the interval's width behind each score; signatures in comments."""
    from distilcap.metrics.registry import heading_of
    from distilcap.reports.formats import Latex, latex_table

    def cell(score: Score) -> str:
        if score.unavailable:
            return "n/a"
        text = f"{100 * score.value:.1f}"
        if score.interval is None:
            return text
        low, high = score.interval
        return Latex(f"{text}\\,{{\\scriptsize$\\pm${50 * (high - low):.1f}}}")

    headings = [heading_of(key) for key in scores]
    comments = [f"% {key}: {shown(score.signature)}" for key, score in scores.items()]
    table = latex_table(["", *headings], [[name, *map(cell, scores.values())]])
    return "\n".join([*comments, table, ""])
