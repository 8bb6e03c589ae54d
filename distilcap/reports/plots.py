"""Plots: CIDEr against the teacher's beam size, against megabytes, greedy against beam; training curves."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distilcap.models.families import title_of
from distilcap.reports.records import Entry, Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["TABLE_PLOTS", "Plot", "draw_plots"]

BLUE, RED, GREEN, PURPLE, GREY = "#1f6fb4", "#d9541e", "#2e8b57", "#7b4fa3", "#555555"
SIZES = {"medium": BLUE, "small": RED}
MARKERS = {"teacher": "s", "student": "o", "distilled": "^", "control": "D"}


@dataclass(frozen=True)
class Plot:
    """A plot as PNG.

    Attributes:
        name: of its file, without the ending.
        caption: its heading.
        alt: what it shows, for those who do not see it.
    """

    name: str
    caption: str
    alt: str
    png: bytes


def draw_plots(results: Results) -> list[Plot]:
    """The plots of tables, those that the results have something for; without tables, the training curves."""
    from matplotlib.figure import Figure

    plots = []
    for name, (caption, alt, draw) in (TABLE_PLOTS if results.tables else CURVES).items():
        figure = Figure(layout="constrained")
        if draw(figure, results):
            buffer = io.BytesIO()
            figure.savefig(buffer, format="png", dpi=110)
            plots.append(Plot(name, caption, alt, buffer.getvalue()))
    return plots


def _cider(row: Row) -> tuple[float, float] | None:
    """Greedy and beam CIDEr times 100; None where one of them was not measured."""
    greedy, beam = row.scores.greedy.get("cider"), row.scores.beam.get("cider")
    return None if greedy is None or beam is None else (100 * greedy, 100 * beam)


def _printed_cider(entry: Entry | None) -> float | None:
    score = (entry.printed or {}).get("cider") if entry else None
    return None if score is None else 100 * score


def _beam_sizes(figure: Figure, results: Results) -> bool:
    """CIDEr of students by the beam size of their own family's big teacher; the paper's beside it."""
    scores = {row.name: cider[1] for row in results.rows if (cider := _cider(row))}
    entries = {entry.row: entry for table in results.tables for entry in table.rows if entry.row in scores}
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in sorted(entries.values(), key=lambda entry: entry.label_beam or 0):
        row = results.row(entry.row)
        own_teacher = row.architecture is not None and row.teacher == f"{row.architecture}-big"
        if entry.label_beam is not None and own_teacher:
            groups.setdefault((str(row.architecture), str(row.size)), []).append(entry)
    groups = {
        group: students
        for group, students in groups.items()
        if len({entry.label_beam for entry in students}) > 1
    }
    if not groups:
        return False
    families = list(dict.fromkeys(architecture for architecture, _ in groups))
    beside = any(_printed_cider(entry) is not None for students in groups.values() for entry in students)
    columns = 1 + beside
    figure.set_size_inches(4.5 * columns, 3.4 * len(families))
    axes = dict(zip(families, figure.subplots(len(families), columns, squeeze=False), strict=True))
    for (family, size), students in groups.items():
        measured, *printed = axes[family]
        colour = SIZES.get(size, GREY)
        beams = [str(entry.label_beam) for entry in students]
        means = [scores[entry.row] for entry in students]
        spread = [100 * (results.row(entry.row).deviations.beam.get("cider") or 0) for entry in students]
        label = f"{size}, distilled"
        measured.errorbar(beams, means, spread, marker="o", capsize=3, color=colour, label=label)
        theirs = [score for score in map(_printed_cider, students) if score is not None]
        if len(theirs) == len(students):
            printed[0].plot(beams, theirs, marker="o", color=colour)
        baseline = entries.get(students[0].baseline or "")
        if baseline:
            level = scores[baseline.row]
            measured.axhline(level, color=colour, linestyle="--", label=f"{size}, undistilled")
        if beside and (level_printed := _printed_cider(baseline)) is not None:
            printed[0].axhline(level_printed, color=colour, linestyle="--")
    for family, (measured, *printed) in axes.items():
        measured.set(title=f"{title_of(family)}, measured", ylabel="CIDEr")
        measured.legend(fontsize="small")
        for one in printed:
            one.set(title=f"{title_of(family)}, the paper (COCO)")
        for one in (measured, *printed):
            _finish(one, "beam size of the teacher's labels")
    return True


def _sizes(figure: Figure, results: Results) -> bool:
    figure.set_size_inches(7.5, 4.2)
    axes = figure.subplots()
    labels: set[str] = set()
    families = sorted({row.architecture for row in results.rows if row.architecture is not None})
    colours = dict(zip(families, itertools.cycle((RED, BLUE, GREEN, PURPLE)))) | {None: GREY}
    for row in results.rows:
        cider = _cider(row)
        if cider is None or row.megabytes is None or row.megabytes <= 0:
            continue
        label = f"{title_of(row.architecture)}, {row.role}"
        axes.plot(
            row.megabytes,
            cider[1],
            marker=MARKERS.get(row.role, "x"),
            color=colours[row.architecture],
            fillstyle="full" if row.role == "distilled" else "none",
            linestyle="none",
            label=None if label in labels else label,
        )
        labels.add(label)
    if not labels:
        return False
    axes.set(xscale="log", ylabel="CIDEr")
    for set_formatter in (axes.xaxis.set_major_formatter, axes.xaxis.set_minor_formatter):
        set_formatter("{x:g}")  # not powers of ten
    axes.legend(fontsize="small")
    _finish(axes, "megabytes of weights in float32, decoder only")
    return True


def _gaps(figure: Figure, results: Results) -> bool:
    """How much beam search adds to greedy decoding: sequence-level distillation should shrink it."""
    scores = [(row, cider) for row in results.rows if (cider := _cider(row))]
    if not scores:
        return False
    figure.set_size_inches(9, 1.2 + 0.24 * len(scores))
    axes = figure.subplots()
    for index, (row, (greedy, beam)) in enumerate(scores):
        colour = SIZES.get(str(row.size), GREY)
        axes.plot([greedy, beam], [index, index], color=colour, linewidth=1.5)
        axes.plot(greedy, index, "o", color=colour, fillstyle="none", label=None if index else "greedy")
        axes.plot(beam, index, "o", color=colour, label=None if index else "beam")
        gain, end = f"{beam - greedy:+.1f}", (max(greedy, beam), index)
        axes.annotate(gain, end, (6, 0), textcoords="offset points", va="center", fontsize="small")
    axes.set_yticks(range(len(scores)), [_plain(row.name) for row, _ in scores], fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.legend(fontsize="small")
    _finish(axes, "CIDEr")
    return True


def _curves(figure: Figure, results: Results) -> bool:
    """Loss of the cross-entropy phase, and validation CIDEr over both phases."""
    figure.set_size_inches(10, 3.6)
    loss, cider = figure.subplots(1, 2)
    for name in (row.name for row in results.rows if row.name in results.curves):
        epochs = results.curves[name]
        first = [epoch for epoch in epochs if epoch["phase"] == "cross_entropy"]
        label = _plain(name)
        loss.plot(
            [epoch["epoch"] for epoch in first], [epoch["loss"] for epoch in first], marker=".", label=label
        )
        scored = [
            (number, 100 * epoch["validation_cider"])
            for number, epoch in enumerate(epochs, 1)
            if "validation_cider" in epoch
        ]
        (line,) = cider.plot([x for x, _ in scored], [y for _, y in scored], marker=".", label=label)
        if first and len(first) < len(epochs):
            cider.axvline(len(first) + 0.5, color=line.get_color(), linestyle=":", linewidth=1)
    loss.set(xlabel="epoch", ylabel="cross-entropy loss (nats a token)")
    cider.set(xlabel="epoch (dotted: self-critical from here)", ylabel="validation CIDEr, greedy")
    for axes in (loss, cider):
        axes.grid(alpha=0.3)
    if results.curves:
        cider.legend(fontsize="small")
    return bool(results.curves)


def _plain(text: str) -> str:
    """Not a formula: matplotlib would read one between two $."""
    return text.replace("$", r"\$")


def _finish(axes: Axes, below: str) -> None:
    axes.set_xlabel(below)
    axes.grid(alpha=0.3)


_Plots = dict[str, tuple[str, str, Callable[["Figure", Results], bool]]]
BEAMS = "CIDEr against the beam size of the teacher's labels"
MEGABYTES = "CIDEr against the size of the captioner"
GREEDY_GAP = "What beam search adds to greedy decoding"
TABLE_PLOTS: _Plots = {
    "beam_size": (BEAMS, BEAMS, _beam_sizes),
    "megabytes": (MEGABYTES, MEGABYTES, _sizes),
    "greedy_gap": (GREEDY_GAP, GREEDY_GAP, _gaps),
}
CURVES: _Plots = {"training": ("Training", "Loss and validation CIDEr of every system by epoch", _curves)}
