"""A published report, scored again from its packed captions, and compared number by number."""

from __future__ import annotations

import itertools
import math
import tempfile
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from distilcap.errors import DataError
from distilcap.metrics import create_metric
from distilcap.progress import Progress
from distilcap.reports.records import RESULTS, Results, read_results
from distilcap.stages.data import ImportData
from distilcap.stages.measure import Evaluate
from distilcap.store.contents import contents, remove
from distilcap.store.pack import import_results
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.tables import Table, finished, run_tables, stages_of_tables

__all__ = ["PACKS", "check_report", "left_out"]

PACKS = "results*.tar.gz"
"""What `distilcap store export` wrote, beside the report's `results.json`: one pack or several."""
_NOT_COMPARED = ("command", "samples")  # how it was called, and where pictures lie


def check_report(
    folder: Path, title: str, tables: Sequence[Table], metrics: tuple[str, ...], progress: Progress
) -> list[str]:
    """Score all captions of a report's pack again; what is not as the report says, a line each.

    Args:
        folder: of `results.json` and `PACKS`.
        tables: of the report, as the same command makes them.

    Raises:
        DataError: the report or the pack is damaged, or the pack lacks captions of a row.
    """
    published = read_results(folder / RESULTS)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        if not (packs := sorted(folder.glob(PACKS))):
            raise DataError(f"{folder}: there is no pack of results (`distilcap store export`).")
        for pack in packs:
            import_results(pack, store.root)
        for entry in contents(store.root):
            if isinstance(entry.stage, Evaluate):
                remove(store.root, entry.key)
        kept, missing = finished(tables, store)
        lacking = [stage.key for stage in _to_build(stages_of_tables(kept, metrics), store.has)]
        if not kept or lacking:
            lacks = ", ".join(lacking) or "the captions of every row"
            raise DataError(f"{folder / PACKS}: lacks {lacks}, without which nothing can be scored again.")
        again = run_tables(title, kept, store, progress, metrics, published.command, missing)
    return list(differences(published, again, left_out(metrics)))


def left_out(metrics: Sequence[str]) -> dict[str, str]:
    """Scores that this machine cannot compute, and why: of them nothing is compared."""
    made = [create_metric(name) for name in metrics]
    return {key: why for metric in made if (why := metric.unavailable()) for key in metric.keys}


def _to_build(stages: Sequence[Stage], complete: Callable[[Stage], bool]) -> Iterator[Stage]:
    """What would have to be trained or measured: everything that is missing but scores and data."""
    for stage in stages:
        if not complete(stage):
            if not isinstance(stage, Evaluate | ImportData):
                yield stage
            yield from _to_build(stage.inputs(), complete)


def differences(published: Results, again: Results, skipped: Collection[str] = ()) -> Iterator[str]:
    """Where two reports differ: "rows[0].scores.beam.cider: 0.48 in the report, 0.47 now".

    Args:
        skipped: names of what is not compared, wherever they stand.
    """
    ours, theirs = again.to_json(), published.to_json()
    for key in (key for key in ours if key not in _NOT_COMPARED):
        yield from _differences(key, theirs.get(key), ours[key], skipped)


def _differences(where: str, theirs: Any, ours: Any, skipped: Collection[str]) -> Iterator[str]:
    if isinstance(theirs, dict) and isinstance(ours, dict):
        for key in dict.fromkeys((*theirs, *ours)):
            if key not in skipped:
                yield from _differences(f"{where}.{key}", theirs.get(key), ours.get(key), skipped)
    elif isinstance(theirs, list | tuple) and isinstance(ours, list | tuple):
        for index, pair in enumerate(itertools.zip_longest(theirs, ours)):
            yield from _differences(f"{where}[{index}]", *pair, skipped)
    elif isinstance(theirs, float) and isinstance(ours, float):
        if not math.isclose(theirs, ours, rel_tol=1e-9, abs_tol=1e-12):
            yield f"{where}: {theirs:g} in the report, {ours:g} now"
    elif theirs != ours:
        yield f"{where}: {theirs!r} in the report, {ours!r} now"
