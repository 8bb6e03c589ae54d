"""Plots of tables: CIDEr against the teacher's beam size, CIDEr against megabytes, greedy against beam."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["PLOTS", "draw"]

COLOURS = {"medium": "#1f6fb4", "small": "#d9541e", "big": "#555555"}
MARKERS = {"teacher": "s", "student": "o", "distilled": "^", "control": "D"}
NAMES = {"updown": "Up-Down", "aoanet": "AoANet"}


def draw(name: str, results: dict[str, Any]) -> bytes | None:
    """A plot of `PLOTS` as PNG; None where the results have nothing for it."""
    from matplotlib.figure import Figure

    figure = Figure(layout="constrained")
    if not PLOTS[name][1](figure, results):
        return None
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _beam_sizes(figure: Figure, results: dict[str, Any]) -> bool:
    """CIDEr of students by the beam size of their own family's big teacher; the paper's beside it."""
    rows = {row["name"]: row for row in results["rows"]}
    entries = {entry["row"]: entry for table in results["tables"] for entry in table["rows"]}
    lines: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name, entry in entries.items():
        row = rows[name]
        if entry["label_beam"] is not None and row["teacher"] == f"{row['architecture']}-big":
            lines.setdefault((row["architecture"], row["size"]), []).append(entry)
    lines = {group: several for group, several in lines.items() if len(several) > 1}
    families = list(dict.fromkeys(architecture for architecture, _ in lines))
    if not lines:
        return False
    figure.set_size_inches(9, 3.4 * len(families))
    grid = figure.subplots(len(families), 2, squeeze=False)
    for (family, size), several in lines.items():
        ours, theirs = grid[families.index(family)]
        several.sort(key=lambda entry: int(entry["label_beam"]))
        twin = entries.get(several[0]["baseline"])
        beams = [str(entry["label_beam"]) for entry in several]
        scores = [100 * rows[entry["row"]]["scores"]["beam"]["cider"] for entry in several]
        spread = [100 * (rows[one["row"]]["deviations"]["beam"]["cider"] or 0) for one in several]
        ours.errorbar(
            beams, scores, spread, marker="o", capsize=3, color=COLOURS[size], label=f"{size}, distilled"
        )
        if twin is not None:
            level = 100 * rows[twin["row"]]["scores"]["beam"]["cider"]
            ours.axhline(level, color=COLOURS[size], linestyle="--", label=f"{size}, undistilled")
        if all(entry["printed"] for entry in several):
            printed = [100 * entry["printed"]["cider"] for entry in several]
            theirs.plot(beams, printed, marker="o", color=COLOURS[size])
        if twin is not None and twin["printed"]:
            theirs.axhline(100 * twin["printed"]["cider"], color=COLOURS[size], linestyle="--")
    for family, (ours, theirs) in zip(families, grid, strict=True):
        ours.set(title=f"{NAMES[family]}, measured", ylabel="CIDEr")
        theirs.set(title=f"{NAMES[family]}, the paper (COCO)")
        ours.legend(fontsize="small")
        _finish(ours, "beam size of the teacher's labels")
        _finish(theirs, "beam size of the teacher's labels")
    return True


def _sizes(figure: Figure, results: dict[str, Any]) -> bool:
    figure.set_size_inches(7.5, 4.2)
    axes = figure.subplots()
    seen: set[str] = set()
    for row in results["rows"]:
        label = f"{NAMES[row['architecture']]}, {row['role']}"
        axes.plot(
            row["megabytes"],
            100 * row["scores"]["beam"]["cider"],
            marker=MARKERS[row["role"]],
            color="#1f6fb4" if row["architecture"] == "updown" else "#d9541e",
            fillstyle="full" if row["role"] == "distilled" else "none",
            linestyle="none",
            label=None if label in seen else label,
        )
        seen.add(label)
    axes.set(xscale="log", ylabel="CIDEr")
    for axis in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        axis("{x:g}")  # not powers of ten
    axes.legend(fontsize="small")
    _finish(axes, "megabytes of weights in float32, decoder only")
    return bool(results["rows"])


def _gaps(figure: Figure, results: dict[str, Any]) -> bool:
    """How much beam search adds to greedy decoding: sequence-level distillation should shrink it."""
    rows = results["rows"]
    figure.set_size_inches(9, 1.2 + 0.24 * len(rows))
    axes = figure.subplots()
    for place, row in enumerate(rows):
        greedy, beam = (100 * row["scores"][column]["cider"] for column in ("greedy", "beam"))
        colour = COLOURS.get(row["size"], "#555555")
        axes.plot([greedy, beam], [place, place], color=colour, linewidth=1.5)
        axes.plot(greedy, place, "o", color=colour, fillstyle="none", label=None if place else "greedy")
        axes.plot(beam, place, "o", color=colour, label=None if place else "beam")
        axes.annotate(
            f"{beam - greedy:+.1f}",
            (max(greedy, beam), place),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.set_yticks(range(len(rows)), [row["name"] for row in rows], fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.legend(fontsize="small")
    _finish(axes, "CIDEr")
    return bool(rows)


def _finish(axes: Axes, below: str) -> None:
    axes.set_xlabel(below)
    axes.grid(alpha=0.3)


PLOTS: dict[str, tuple[str, Callable[[Figure, dict[str, Any]], bool]]] = {
    "beam_size": ("CIDEr against the beam size of the teacher's labels", _beam_sizes),
    "megabytes": ("CIDEr against the size of the captioner", _sizes),
    "greedy_gap": ("What beam search adds to greedy decoding", _gaps),
}
"""Caption and function of each plot."""
