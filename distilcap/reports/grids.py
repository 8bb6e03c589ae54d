"""Results as tables for people: headings and cells, with all scores times 100.

In a table of the paper, a score is "ours ± deviation over seeds (the paper's)". `▲` and `▼` mark differences
from the baseline whose 95 % interval excludes 0, `▲▲` and `▼▼` those that stay significant after
Holm's correction.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from distilcap.metrics.registry import heading_of, in_tables
from distilcap.metrics.resampling import FEW_IMAGES
from distilcap.reports.formats import csv_text
from distilcap.reports.records import Columns, Entry, Results, Row, Table

__all__ = ["Grid", "grids_of", "legend", "results_csv", "signatures"]

SYSTEM_METRICS = {"bleu_4": "BLEU-4", "meteor": "METEOR", "rouge_l": "ROUGE-L", "cider": "CIDEr"}
SYSTEM_HEADINGS = ("system", "role", "labels", "M par.", "MB", "ms/image", "train s")
TABLE_METRICS = {"bleu_4": "B@4", "meteor": "M", "rouge_l": "R", "cider": "C", "spice": "S"}
GAINS = ("cider", "spice")
COST_HEADINGS = ("M par.", "MB", "ms/image", "label s", "train s")
WIDTH, TEACHER = "width", "teacher s"


@dataclass(frozen=True)
class Grid:
    """A table for people; the first column names the row."""

    title: str
    headings: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def columns(self, chosen: slice, title: str) -> Grid:
        """The first column and some others, under another title."""
        first, *rows = ((cells[0], *cells[chosen]) for cells in (self.headings, *self.rows))
        return Grid(title, first, tuple(rows))


def grids_of(results: Results) -> tuple[Grid, ...]:
    """The tables of results; where there are none, all rows in one table without a title."""
    if not results.tables:
        columns = _columns(results, SYSTEM_METRICS)
        cells = tuple(_system_cells(row, columns) for row in results.rows)
        return (Grid("", (*SYSTEM_HEADINGS, *columns.values()), cells),)
    columns = _columns(results, TABLE_METRICS)
    gains = {key: columns[key] for key in (*GAINS, *_more_gains(results))}
    headings = (
        "system",
        *columns.values(),
        "C greedy",
        *(f"gain in {name} [95 %]" for name in gains.values()),
        *((WIDTH,) if _has_widths(results) else ()),
        *COST_HEADINGS,
        *((TEACHER,) if _has_teachers(results) else ()),
    )
    return tuple(
        Grid(table.title, headings, _table_cells(table, results, columns, gains)) for table in results.tables
    )


def _has_widths(results: Results) -> bool:
    return any(row.width is not None for row in results.rows)


def _has_teachers(results: Results) -> bool:
    """Whether it is known how long teachers were trained."""
    return any(entry.teacher_seconds is not None for table in results.tables for entry in table.rows)


def _columns(results: Results, usual: Mapping[str, str]) -> dict[str, str]:
    """Scores and their headings: the usual, whether they were measured or not, and all others that were."""
    measured = dict.fromkeys(key for row in results.rows for key in row.scores.beam)
    more = {key: heading_of(key) for key in measured if key not in TABLE_METRICS and in_tables(key)}
    return {**usual, **more}


def _more_gains(results: Results) -> list[str]:
    """The scores beside the usual that differences were tested on."""
    tested = dict.fromkeys(key for table in results.tables for row in table.rows for key in row.differences)
    return [key for key in tested if key not in TABLE_METRICS]


def _system_cells(row: Row, scores: Iterable[str]) -> tuple[str, ...]:
    return (
        row.name,
        row.role,
        row.labels or "–",
        *_costs(row),
        _number(row.train_seconds, 0),
        *(_both_scores(row, key) for key in scores),
    )


def _costs(row: Row) -> tuple[str, str, str]:
    return _number(row.parameters, 2, 1e-6), _number(row.megabytes, 1), _number(row.ms_per_image, 1)


def _number(value: float | None, digits: int, factor: float = 1) -> str:
    return "–" if value is None else f"{factor * value:.{digits}f}"


def _both_scores(row: Row, key: str) -> str:
    """Greedy / beam."""
    scores = [_score(row, column, key) for column in ("greedy", "beam")]
    return " / ".join(scores) if all(scores) else f"n/a ({row.unavailable.get(key, 'not measured')})"


def _score(row: Row, column: str, key: str) -> str:
    """With its deviation over seeds; "" without a score."""
    value, deviation = (_column(figures, column).get(key) for figures in (row.scores, row.deviations))
    spread = "" if deviation is None else f" ± {100 * deviation:.1f}"
    return "" if value is None else f"{100 * value:.1f}{spread}"


def _column(columns: Columns, name: str) -> dict[str, float | None]:
    return columns.greedy if name == "greedy" else columns.beam


def _table_cells(
    table: Table, results: Results, columns: Iterable[str], compared: Iterable[str]
) -> tuple[tuple[str, ...], ...]:
    printed = {entry.row: entry.printed or {} for entry in table.rows}
    rows = []
    for entry in table.rows:
        row = results.row(entry.row)
        scores = [_beside(_score(row, "beam", key) or "n/a", printed[entry.row].get(key)) for key in columns]
        gains = [_gain(entry, key, printed.get(entry.baseline or "", {})) for key in compared]
        greedy = _score(row, "greedy", "cider") or "n/a"
        width = (_number(row.width, 0),) if _has_widths(results) else ()
        seconds = [f"{entry.labelling_seconds:.0f}", _number(row.train_seconds, 0)]
        if _has_teachers(results):
            seconds.append(_number(entry.teacher_seconds, 0))
        rows.append((row.name, *scores, greedy, *gains, *width, *_costs(row), *seconds))
    return tuple(rows)


def _beside(text: str, printed: float | None) -> str:
    return text if printed is None else f"{text} ({100 * printed:.1f})"


def _gain(entry: Entry, key: str, baseline: Mapping[str, float]) -> str:
    """The difference from the baseline, and in parentheses the paper's."""
    parts = []
    if (gain := entry.differences.get(key)) is not None:
        low, high = gain.interval
        mark = "▲" if low > 0 else "▼" if high < 0 else ""
        mark *= 2 if gain.corrected_p < 0.05 else 1
        parts.append(f"{100 * gain.difference:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]{mark}")
    if entry.printed and key in entry.printed and key in baseline:
        parts.append(f"({100 * (entry.printed[key] - baseline[key]):+.1f})")
    return " ".join(parts)


def legend(results: Results) -> str:
    """What the numbers mean, in one paragraph."""
    rows = results.rows
    beams = ", ".join(str(beam) for beam in sorted({row.beam for row in rows}))
    several = sorted({len(row.seeds) for row in rows} - {1})
    means = f"means of {' or '.join(map(str, several))} seeds"
    if not results.tables:
        runs = f"students are {means} ± deviation" if several else "one run each"
        return (
            f"Scores on the test split{_images(results)}, times 100, greedy / beam of width {beams}; {runs}; "
            "ms per image: encoder and greedy decoder in PyTorch, one image at a time."
            f"{_left_out(results)}"
        )
    runs = f"rows are {means}, ± is the deviation over seeds" if several else "one run each"
    if several and {len(row.seeds) for row in rows if row.role == "teacher"} == {1}:
        runs += "; teachers ran once, which is not counted as noise"
    if several and any(len(row.seeds) == 1 for row in rows if row.role != "teacher"):
        runs += "; rows without ± ran once"
    reasons = dict.fromkeys(f"{key}: {reason}" for row in rows for key, reason in row.unavailable.items())
    return (
        f"Scores on the test split{_images(results)}, times 100, beam search of width {beams}, and CIDEr "
        f"with greedy decoding; {runs}. In parentheses: what the paper prints (COCO, 113,287 training "
        f"images). Gains are against {_baselines(results)}: {_test(results)}, seeds "
        "averaged, 95 % interval; ▲ or ▼ where it excludes 0, doubled where approximate randomisation stays "
        "below 0.05 after Holm's correction. MB: weights in float32. ms/image: encoder and greedy decoder in "
        "PyTorch, one image at a time."
        + (
            " teacher s: training of its teachers, and of those that they learnt from."
            * _has_teachers(results)
        )
        + (f" Not available: {'; '.join(reasons)}." if reasons else "")
        + _devices(rows)
        + _left_out(results)
    )


def _devices(rows: Sequence[Row]) -> str:
    """A remark where rows were trained on different devices, as far as it was recorded."""
    trained: dict[tuple[str, ...], list[str]] = {}
    for row in rows:
        trained.setdefault(row.devices, []).append(repr(row.name))
    unknown = "; not recorded of the others" if trained.pop((), None) else ""
    if len({device for devices in trained for device in devices if device}) < 2:
        return ""
    shown = "; ".join(
        f"{' and '.join(device or 'an unrecorded one' for device in devices)} in {', '.join(names)}"
        for devices, names in trained.items()
    )
    return f" Rows were trained on different devices, which alone may move scores: {shown}{unknown}."


def _images(results: Results) -> str:
    return "" if results.scored_images is None else f" ({results.scored_images:,} images)"


def _test(results: Results) -> str:
    """Where the intervals of gains come from."""
    images = results.scored_images
    if images is None or images >= FEW_IMAGES:
        return "paired bootstrap over test images"
    return (
        "none, for there is one test image" if images == 1 else f"Student's t over only {images} test images"
    )


def _left_out(results: Results) -> str:
    """A remark where scores are not of the whole test split."""
    scored, whole = results.scored_images, results.test_images
    if scored is None or whole is None or scored >= whole:
        return ""
    return (
        f" Only {scored:,} of {whole:,} test images are scored: the photographs of the others are missing or "
        "damaged (`distilcap data check`)."
    )


def _baselines(results: Results) -> str:
    """What gains are against; by name, unless it is always the one row of a student without its teacher."""
    compared: dict[str, list[str]] = {}
    usual = True
    plain = Counter((row.architecture, row.size) for row in results.rows if row.role == "student")
    for entry in (entry for table in results.tables for entry in table.rows if entry.baseline):
        row, baseline = results.row(entry.row), results.row(str(entry.baseline))
        kind = (baseline.architecture, baseline.size)
        usual = usual and row.role == "distilled" and baseline.role == "student" and plain[kind] == 1
        usual = usual and kind == (row.architecture, row.size)
        compared.setdefault(baseline.name, []).append(row.name)
    if usual:
        return "the same captioner without a teacher"
    return "; ".join(
        f"{name!r} in {', '.join(repr(row) for row in dict.fromkeys(rows))}"
        for name, rows in compared.items()
    )


def signatures(results: Results) -> list[str]:
    """How each score was made, each signature once."""
    made = (how for row in results.rows for how in (*row.signature.values(), *row.search.values()))
    return list(dict.fromkeys(made))


def results_csv(results: Results) -> str:
    """All numbers unrounded, one line for each row of a table; scores in the official scale."""
    tables = results.tables
    return csv_text([_csv_row(table, entry, results) for table in tables for entry in table.rows])


def _csv_row(table: Table, entry: Entry, results: Results) -> dict[str, str | float | None]:
    row = results.row(entry.row)
    cells: dict[str, str | float | None] = {"table": table.name, "name": row.name, "role": row.role}
    cells |= {"architecture": row.architecture, "size": row.size, "teacher": row.teacher}
    cells |= {"width": row.width} if _has_widths(results) else {}
    cells |= {"label_beam": entry.label_beam, "seeds": len(row.seeds), "beam": row.beam}
    for key in _columns(results, TABLE_METRICS):
        for column in ("greedy", "beam"):
            cells[f"{key}_{column}"] = _column(row.scores, column).get(key)
            cells[f"{key}_{column}_deviation"] = _column(row.deviations, column).get(key)
        cells[f"{key}_paper"] = (entry.printed or {}).get(key)
    for key in ("rouge_l", "cider", "spice", *_more_gains(results)):
        gain = entry.differences.get(key)
        figures = (gain.difference, *gain.interval, gain.p) if gain else (None,) * 4
        names = ("gain", "gain_low", "gain_high", "gain_p")
        cells |= {f"{key}_{name}": figure for name, figure in zip(names, figures, strict=True)}
    cells |= {"labelling_seconds": entry.labelling_seconds, "parameters": row.parameters}
    cells |= {"megabytes": row.megabytes, "ms_per_image": row.ms_per_image}
    cells |= {"train_seconds": row.train_seconds, "images_seen": row.images_seen}
    return cells | ({"teacher_seconds": entry.teacher_seconds} if _has_teachers(results) else {})
