"""Plots: CIDEr against the teacher's beam size, against megabytes, greedy against beam; training curves."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from distilcap.reports.records import Entry, Results, Row

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["Plot", "draw_plots"]

BLUE, RED, GREY = "#1f6fb4", "#d9541e", "#555555"
SIZES = {"medium": BLUE, "small": RED}
FAMILIES = {"updown": BLUE, "aoanet": RED}
MARKERS = {"teacher": "s", "student": "o", "distilled": "^", "control": "D"}
NAMES = {"updown": "Up-Down", "aoanet": "AoANet"}


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


def _beam_cider(row: Row) -> float | None:
    score = row.scores.beam.get("cider")
    return None if score is None else 100 * score


def _beam_sizes(figure: Figure, results: Results) -> bool:
    """CIDEr of students by the beam size of their own family's big teacher; the paper's beside it."""
    entries = {entry.row: entry for table in results.tables for entry in table.rows}
    groups: dict[tuple[str, str], list[Entry]] = {}
    for entry in entries.values():
        row = results.row(entry.row)
        own_teacher = row.teacher == f"{row.architecture}-big"
        if entry.label_beam is not None and own_teacher and _beam_cider(row) is not None:
            groups.setdefault((str(row.architecture), str(row.size)), []).append(entry)
    groups = {group: students for group, students in groups.items() if len(students) > 1}
    families = list(dict.fromkeys(architecture for architecture, _ in groups))
    if not groups:
        return False
    figure.set_size_inches(9, 3.4 * len(families))
    axes = figure.subplots(len(families), 2, squeeze=False)
    for (family, size), students in groups.items():
        students.sort(key=lambda entry: entry.label_beam or 0)
        baseline = entries.get(students[0].baseline or "")
        measured, printed = axes[families.index(family)]
        _measured_by_beam(measured, size, students, baseline, results)
        _printed_by_beam(printed, size, students, baseline)
    for family, (measured, printed) in zip(families, axes, strict=True):
        measured.set(title=f"{NAMES.get(family, family)}, measured", ylabel="CIDEr")
        printed.set(title=f"{NAMES.get(family, family)}, the paper (COCO)")
        measured.legend(fontsize="small")
        _finish(measured, "beam size of the teacher's labels")
        _finish(printed, "beam size of the teacher's labels")
    return True


def _measured_by_beam(
    axes: Axes, size: str, students: list[Entry], baseline: Entry | None, results: Results
) -> None:
    rows = [results.row(entry.row) for entry in students]
    scores = [_beam_cider(row) for row in rows]
    spread = [100 * (row.deviations.beam.get("cider") or 0) for row in rows]
    beams = [str(entry.label_beam) for entry in students]
    colour = SIZES.get(size, GREY)
    axes.errorbar(beams, scores, spread, marker="o", capsize=3, color=colour, label=f"{size}, distilled")  # type: ignore[arg-type]
    level = _beam_cider(results.row(baseline.row)) if baseline else None
    if level is not None:
        axes.axhline(level, color=colour, linestyle="--", label=f"{size}, undistilled")


def _printed_by_beam(axes: Axes, size: str, students: list[Entry], baseline: Entry | None) -> None:
    colour = SIZES.get(size, GREY)
    beams = [str(entry.label_beam) for entry in students]
    scores = [
        100 * entry.printed["cider"] for entry in students if entry.printed and "cider" in entry.printed
    ]
    if len(scores) == len(students):
        axes.plot(beams, scores, marker="o", color=colour)
    if baseline and baseline.printed and "cider" in baseline.printed:
        axes.axhline(100 * baseline.printed["cider"], color=colour, linestyle="--")


def _sizes(figure: Figure, results: Results) -> bool:
    figure.set_size_inches(7.5, 4.2)
    axes = figure.subplots()
    labels: set[str] = set()
    for row in results.rows:
        score = _beam_cider(row)
        if row.megabytes is None or row.megabytes <= 0 or score is None:
            continue
        label = f"{NAMES.get(str(row.architecture), row.architecture)}, {row.role}"
        axes.plot(
            row.megabytes,
            score,
            marker=MARKERS.get(row.role, "x"),
            color=FAMILIES.get(str(row.architecture), GREY),
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
    rows = [row for row in results.rows if None not in (row.scores.greedy.get("cider"), _beam_cider(row))]
    if not rows:
        return False
    figure.set_size_inches(9, 1.2 + 0.24 * len(rows))
    axes = figure.subplots()
    for index, row in enumerate(rows):
        greedy, beam = 100 * (row.scores.greedy["cider"] or 0), _beam_cider(row) or 0
        colour = SIZES.get(str(row.size), GREY)
        axes.plot([greedy, beam], [index, index], color=colour, linewidth=1.5)
        axes.plot(greedy, index, "o", color=colour, fillstyle="none", label=None if index else "greedy")
        axes.plot(beam, index, "o", color=colour, label=None if index else "beam")
        axes.annotate(
            f"{beam - greedy:+.1f}",
            (max(greedy, beam), index),
            (6, 0),
            textcoords="offset points",
            va="center",
            fontsize="small",
        )
    axes.set_yticks(range(len(rows)), [_plain(row.name) for row in rows], fontsize="small")
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.legend(fontsize="small")
    _finish(axes, "CIDEr")
    return True


def _curves(figure: Figure, results: Results) -> bool:
    """Loss of the cross-entropy phase, and validation CIDEr over both phases."""
    figure.set_size_inches(10, 3.6)
    loss, cider = figure.subplots(1, 2)
    for name, epochs in results.curves.items():
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
