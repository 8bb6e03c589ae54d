"""Table and curve of docs/own-photos.md, from the lines that `python -m benchmarks own_photos` recorded."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.pages import put_between, read_lines
from distilcap.files import write_text
from distilcap.metrics.resampling import mean_interval
from distilcap.study.contrasts import Contrasts, Scored

PAGE = Path(__file__).resolve().parents[1] / "docs" / "own-photos.md"
RESULTS, CURVE = "results.jsonl", "curve.svg"
KEPT = PAGE.parent / "results" / "own-photos"
BEGIN = "<!-- table: python -m benchmarks own_photos --write -->\n"
HEADINGS = (
    "photographs",
    "captions",
    "seeds",
    "box as it is",
    "from nothing",
    "from the box, undistilled",
    "from the box",
    "more than the box",
    "more than undistilled",
    "more than its teacher",
    "more than from nothing",
)
COLOURS = {"from the box": "#1f6fb4", "from nothing": "#d9541e", "box as it is": "#555555"}
Cells = Sequence[dict[str, Any]]
Group = tuple[str, int, str, int, str | None]


def table(cells: Cells) -> str:
    """Markdown: a row for each kind, size and style; starts from nothing stand beside each box."""
    lines = ["| " + " | ".join(["kind", *HEADINGS]) + " |", "|---" * (1 + len(HEADINGS)) + "|"]
    for kind, size, captions, unlabelled, box in groups(cells):
        group = [one for one in cells if group_of(one)[:4] == (kind, size, captions, unlabelled)]
        group.sort(key=lambda one: one["seed"])
        begun = {one["seed"]: one["cider"] for one in group if box is not None and one["box"] == box}
        nothing = {one["seed"]: one["cider"] for one in group if one["box"] is None}
        seeds = begun or nothing
        more = f" + {unlabelled:,} without captions" if unlabelled else ""
        paired = [seed for seed in begun if seed in nothing]
        figures = [
            over_seeds([cider["start"] for cider in begun.values()]),
            over_seeds([cider["distilled"] for cider in nothing.values()]) + of_seeds(nothing, seeds),
            over_seeds([cider["student"] for cider in begun.values()]),
            over_seeds([cider["distilled"] for cider in begun.values()]),
            *(
                difference([(cider["distilled"], cider[other]) for cider in begun.values()])
                for other in ("start", "student", "teacher")
            ),
            difference([(begun[seed]["distilled"], nothing[seed]["distilled"]) for seed in paired])
            + of_seeds(paired, seeds),
        ]
        row = [f"{kind}{more}", f"{size:,}", captions, ", ".join(map(str, seeds)), *figures]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def group_of(one: dict[str, Any]) -> Group:
    """Kind, size, style, images without captions, and box."""
    return one["kind"], one["size"], one["captions"], one["unlabelled"], one["box"]


def cell_of(one: dict[str, Any]) -> tuple[object, ...]:
    """What is measured once: the group, how it started, and the seed."""
    return *group_of(one), one["start"], one["seed"]


def groups(cells: Cells) -> list[Group]:
    """Of each row; starts from nothing have a row of their own only where none began from a box."""
    keys = {group_of(one) for one in cells}
    beside = {key[:4] for key in keys if key[4] is not None}
    rows = [key for key in keys if key[4] is not None or key[:4] not in beside]
    return sorted(rows, key=lambda key: (key[2], key[0], key[1], key[3], key[4] or ""))


def over_seeds(ciders: Sequence[Sequence[int]]) -> str:
    """Mean CIDEr, with the sample deviation over seeds."""
    means = [float(np.mean(cider)) for cider in ciders]
    if not means:
        return ""
    return f"{np.mean(means):.1f}" + (f" ± {np.std(means, ddof=1):.1f}" if len(means) > 1 else "")


def difference(pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> str:
    """Paired difference with its 95 % interval over test images and seeds (`study.contrasts`); of a single
    seed over images alone."""
    if not pairs:
        return ""
    rows = np.array([np.subtract(first, second) for first, second in pairs], dtype=np.float64)
    if len(rows) == 1:
        low, high = mean_interval(rows[0])
    else:
        paired = Contrasts([Scored("difference", "", "", None, None, rows)])
        estimate = paired.estimate({"difference": 1.0})
        low, high = estimate.low, estimate.high
    return f"{rows.mean():+.1f} ({low:+.1f} to {high:+.1f})"


def on_other_devices(cells: Cells) -> str:
    """Which cells no CPU trained, in a sentence; empty where there are none."""
    named = [
        f"{one['size']:,} {one['kind']}, {one['captions']}, seed {one['seed']}, from "
        f"{'the box' if one['box'] else 'nothing'} ({one['device']})"
        for one in cells
        if one.get("device", "CPU") != "CPU"
    ]
    return f"Trained on a CPU, but for: {'; '.join(named)}." if named else ""


def of_seeds(used: Collection[int], row: Collection[int]) -> str:
    """Which seeds a cell rests on, where they are not those of its row."""
    if not used or set(used) == set(row):
        return ""
    return f" (seed{'s' * (len(used) > 1)} {', '.join(map(str, used))})"


def draw(cells: Cells, box: str, to: Path) -> None:
    """CIDEr by the number of photographs, a panel for each kind; dashed are captions in a large style."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    kinds = sorted({one["kind"] for one in cells if one["box"] == box})
    figure = Figure(figsize=(4.5 * len(kinds), 3.4), layout="constrained")
    for axes, kind in zip(figure.subplots(1, len(kinds), squeeze=False)[0], kinds, strict=True):
        for captions, dashes in (("five", "-"), ("one", "--")):
            for name, whose, role in (
                ("from the box", box, "distilled"),
                ("from nothing", None, "distilled"),
                ("box as it is", box, "start"),
            ):
                wanted = (kind, captions, whose)
                chosen = [one for one in cells if (one["kind"], one["captions"], one["box"]) == wanted]
                sizes = sorted({one["size"] for one in chosen})
                means = [
                    np.mean([np.mean(one["cider"][role]) for one in chosen if one["size"] == size])
                    for size in sizes
                ]
                if sizes:
                    label = name if captions == "five" else f"{name}, {captions}"
                    axes.plot(sizes, means, dashes, marker="o", color=COLOURS[name], label=label)
        axes.set(title=kind, xlabel="photographs", ylabel="CIDEr", xscale="log", ylim=(0, None))
        axes.set_xticks([50, 200, 1000], ["50", "200", "1,000"])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with mpl.rc_context({"svg.hashsalt": "own photos"}):
        figure.savefig(to, metadata={"Date": None})


def write_page(path: Path) -> None:
    """Keep the recorded lines beside the page, draw the curve, and put the table between the page's marks.

    Lines kept before stay, but for those of the same cell and box.
    """
    kept = {cell_of(one): one for file in (KEPT / RESULTS, path) for one in read_lines(file)}
    cells = list(kept.values())
    KEPT.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(one, separators=(",", ":")) for one in cells)
    write_text(KEPT / RESULTS, "\n".join([*lines, ""]))
    boxes = list(dict.fromkeys(one["box"] for one in cells if one["box"] is not None))
    beside = {group_of(one)[:4] for one in cells if one["box"] is not None}
    alone = [one for one in cells if group_of(one)[:4] not in beside]
    others = [one for one in cells if group_of(one)[:4] in beside]
    parts = []
    for box in boxes:
        measured = {group_of(one)[:4] for one in others if one["box"] == box}
        rows = table([one for one in others if one["box"] in (None, box) and group_of(one)[:4] in measured])
        parts.append(f"The box is `{box}`.\n\n{rows}\n")
    if elsewhere := on_other_devices(cells):
        parts.append(f"{elsewhere}\n")
    if alone:
        parts.append(f"Measured from nothing only:\n\n{table(alone)}\n")
    if boxes:
        # The newest of those that are measured most.
        drawn = max(reversed(boxes), key=lambda box: sum(one["box"] == box for one in cells))
        draw(cells, drawn, KEPT / CURVE)
        parts.append(f"![CIDEr by number of photographs, box {drawn}](results/own-photos/{CURVE})\n")
    put_between(PAGE, BEGIN, "\n".join(parts))
