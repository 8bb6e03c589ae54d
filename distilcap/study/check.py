"""A published report, scored again from its packed captions, and compared number by number."""

from __future__ import annotations

import dataclasses
import itertools
import math
import re
import tempfile
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from distilcap.errors import DataError
from distilcap.metrics import create_metric
from distilcap.progress import Progress
from distilcap.reports.collect import samples_again
from distilcap.reports.records import LATER, RESULTS, Results, read_results
from distilcap.reports.report import report_texts
from distilcap.reports.results import read_beside_scores, stages_of
from distilcap.stages.data import ImportData
from distilcap.stages.measure import Evaluate
from distilcap.store.contents import contents, remove
from distilcap.store.pack import import_results
from distilcap.store.store import Store
from distilcap.study.tables import (
    Table,
    captioned,
    finished,
    members_of,
    run_tables,
    stages_of_tables,
)

__all__ = ["PACKS", "check_report", "left_out"]

PACKS = "results*.tar.gz"
"""What `distilcap store export` wrote, beside the report's `results.json`: one pack or several."""
_NOT_COMPARED = ("command",)  # how it was called
_EMBEDDED = re.compile(r"(?<=;base64,)[^\"]*")  # pictures of a page


def check_report(
    folder: Path,
    title: str,
    data: ImportData,
    tables: Sequence[Table],
    metrics: tuple[str, ...],
    progress: Progress,
) -> list[str]:
    """Score all captions of a report's pack again; what is not as the report says, a line each.

    Its other forms (Markdown, LaTeX, CSV, the page) are compared with its `results.json`, pictures left out.

    Args:
        folder: of `results.json` and `PACKS`.
        data: of the tables.
        tables: of the report, as the same command makes them. What they leave out is not compared, which is
            noted.

    Raises:
        DataError: the report or the pack is damaged, the pack is of other data or of other tables, or it
            lacks what a row needs.
    """
    published = read_results(folder / RESULTS)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        if not (packs := sorted(folder.glob(PACKS))):
            raise DataError(f"{folder}: there is no pack of results (`distilcap store export`).")
        for pack in packs:
            import_results(pack, store.root)
            _expect_data(data, store)
        for entry in contents(store.root):
            if isinstance(entry.stage, Evaluate):
                remove(store.root, entry.key)
        members = [member for member in members_of(tables) if captioned(member, store)]
        if not members:
            names, theirs = (" ".join(table.name for table in some) for some in (tables, published.tables))
            raise DataError(
                f"{folder / PACKS}: holds the captions of no row of {names} with these options; the report "
                f"is of {theirs}. Leave WHAT and the options out, and they are the report's."
            )
        read = [stage for member in members for stage in read_beside_scores(member)]
        needed = [*stages_of(members, metrics), *read]
        # Scores are made again; the data are given.
        unmade = reversed(store.missing(needed, weights=False))  # a run before what it is made of
        if lacking := [one.key for one in unmade if not isinstance(one, Evaluate | ImportData)]:
            raise DataError(
                f"{folder / PACKS}: lacks {', '.join(lacking)}, without which its rows cannot be made again."
            )
        kept, missing = finished(tables, store)
        scores = [stage for stage in stages_of_tables(kept, metrics) if isinstance(stage, Evaluate)]
        for stage in progress.track(scores, "Scoring captions again", len(scores)):
            store.build(stage)
        progress.note("Comparing rows, with their intervals.")
        again = run_tables(title, kept, store, progress, metrics, published.command, missing)
        # Which images are shown is no number: older versions chose others.
        samples = samples_again(published.samples, members_of(kept), store)
        again = dataclasses.replace(again, samples=samples)
    skipped, compared = set(left_out(metrics)), published
    of_report = {*(row.name for row in published.rows), *published.missing}
    # An older version's tables had fewer rows: the report says nothing of the others.
    again = dataclasses.replace(again, missing=tuple(name for name in again.missing if name in of_report))
    if lacking := [name for table in tables for name in table.left_out if name in of_report]:
        progress.note(
            f"Not compared: {'; '.join(lacking)}. Nor are p-values corrected for the number of rows, "
            "nor sentences about all rows."
        )
        compared = _without(published, lacking, again)
        skipped.add("corrected_p")
    return [*differences(compared, again, skipped), *_changed_texts(published, folder)]


def _without(published: Results, names: Collection[str], again: Results) -> Results:
    """A report without these rows; what is said about all rows is as of the others, made again."""

    def kept(content: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in content.items() if name not in names}

    return dataclasses.replace(
        published,
        verdict=again.verdict,
        conclusions=again.conclusions,
        schedules=again.schedules,
        curve_ends=again.curve_ends,
        decoding=again.decoding,
        missing=tuple(name for name in published.missing if name not in names),
        rows=tuple(row for row in published.rows if row.name not in names),
        curves=kept(published.curves),
        samples=tuple(
            dataclasses.replace(sample, captions=kept(sample.captions)) for sample in published.samples
        ),
        tables=tuple(
            dataclasses.replace(table, rows=tuple(entry for entry in table.rows if entry.row not in names))
            for table in published.tables
        ),
    )


def _expect_data(data: ImportData, store: Store) -> None:
    """Make sure that what was unpacked is of these data, as its recipes say."""
    planned = store.plan(entry.stage for entry in contents(store.root) if entry.stage is not None)
    theirs = [one.stage for one in planned if isinstance(one.stage, ImportData)]
    if data.fingerprint not in {one.fingerprint for one in theirs}:
        raise DataError(f"`--data {data.path}` is not the data set of this report: its content is another.")
    if data.name not in (names := {one.name for one in theirs}):
        raise DataError(
            f"`--data {data.path}` is the data set of this report, but is called {data.name}; call it "
            f"{' or '.join(sorted(names))}, as the report does."
        )


def _changed_texts(published: Results, folder: Path) -> Iterator[str]:
    """Where a file beside `results.json` says something else; files that are not there say nothing.

    An older version worded them otherwise: those of a report without all of today's fields are left alone.
    """
    if not published.curve_ends:
        return
    for name, text in report_texts(published).items():
        if not (path := folder / name).is_file():
            continue
        try:
            theirs, ours = (_EMBEDDED.sub("", one).splitlines() for one in (path.read_text("utf-8"), text))
        except UnicodeDecodeError:
            raise DataError(f"{path}: no text in UTF-8.") from None
        for number, (line, right) in enumerate(itertools.zip_longest(theirs, ours, fillvalue=""), 1):
            if line != right:
                yield f"{name}, line {number}: {line!r} in the report, {right!r} by its {RESULTS}"


def left_out(metrics: Sequence[str]) -> dict[str, str]:
    """Scores that this machine cannot compute, and why: of them nothing is compared."""
    made = [create_metric(name) for name in metrics]
    return {key: why for metric in made if (why := metric.unavailable()) for key in metric.keys}


def differences(published: Results, again: Results, skipped: Collection[str] = ()) -> Iterator[str]:
    """Where two reports differ: "rows[0].scores.beam.cider: 0.48 in the report, 0.47 now".

    Args:
        skipped: names of what is not compared, wherever they stand.
    """
    ours, theirs = (_compared(results) for results in (again, published))
    for key in dict.fromkeys((*theirs, *ours)):
        if key in theirs or key not in LATER:
            yield from _differences(key, theirs.get(key), ours.get(key), skipped)


def _compared(results: Results) -> dict[str, Any]:
    """The JSON without how the report was called, and where its pictures lie."""
    samples = tuple(dataclasses.replace(sample, path="") for sample in results.samples)
    content = dataclasses.replace(results, samples=samples).to_json()
    return {key: value for key, value in content.items() if key not in _NOT_COMPARED}


def _differences(where: str, theirs: Any, ours: Any, skipped: Collection[str]) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys((*theirs, *ours)):
            if key not in skipped and (key in theirs or key not in LATER):
                yield from _differences(f"{where}.{key}", theirs.get(key), ours.get(key), skipped)
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        for index, pair in enumerate(itertools.zip_longest(theirs, ours)):
            yield from _differences(f"{where}[{index}]", *pair, skipped)
    elif isinstance(theirs, float) and isinstance(ours, float):
        if not math.isclose(theirs, ours, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{where}: {theirs:g} in the report, {ours:g} now"
    elif theirs != ours:
        yield f"{where}: {theirs!r} in the report, {ours!r} now"
