"""Which way of distilling helps most, as a sentence computed from differences."""

from __future__ import annotations

from distilcap.reports.records import Difference, Entry, Table
from distilcap.shown import some
from distilcap.study.contrasts import Contrasts

__all__ = ["ranking_sentence"]


def ranking_sentence(table: Table, contrasts: Contrasts | None) -> str:
    """Rank a table's rows by their gain in CIDEr over the row that they are compared with.

    A row "gains" if its 95 % interval lies above 0, and "loses" if it lies below. The interval is over test
    images and seeds where rows ran several times, else over test images alone.

    Args:
        contrasts: of the rows' CIDEr; None where that was not measured.
    """
    seeds = contrasts if contrasts is not None and contrasts.seed_deviation is not None else None
    compared = [(entry, entry.differences["cider"]) for entry in table.rows if "cider" in entry.differences]
    compared.sort(key=lambda pair: -pair[1].difference)
    groups: dict[str, list[str]] = {"gain": [], "neither clearly gain nor lose": [], "lose": []}
    for entry, gain in compared:
        low, high = gain.interval
        if seeds is not None:
            estimate = seeds.estimate({entry.row: 1.0, str(entry.baseline): -1.0})
            low, high = estimate.low, estimate.high
        verb = "gain" if low > 0 else "lose" if high < 0 else "neither clearly gain nor lose"
        cost = f", labels {entry.labelling_seconds:.0f} s" if entry.labelling_seconds else ""
        interval = f"95 % {100 * low:+.1f} to {100 * high:+.1f}"
        gained = f"{100 * gain.difference:+.1f} against {entry.baseline}"
        groups[verb].append(f"{entry.row} ({gained}, {interval}{cost})")
    sentences = [f"Those that {verb}: {'; '.join(names)}." for verb, names in groups.items() if names]
    over = "over test images and seeds" if seeds is not None else "over test images alone (one run each)"
    first = f"In points of CIDEr, best first, with intervals {over}, not widened for the number of rows."
    return " ".join([first, *sentences, *_lacking(compared, seeds)]) if sentences else "Nothing was compared."


def _lacking(compared: list[tuple[Entry, Difference]], seeds: Contrasts | None) -> list[str]:
    """Of which rows the interval lacks their teacher's luck, in a sentence."""
    if seeds is None:
        return []
    taught = [system for entry, _ in compared if (system := seeds.systems[entry.row]).teacher]
    once = [system.name for system in taught if len(system.per_image) == 1]
    shared = [system.name for system in taught if len(system.per_image) > 1 and not system.own_teachers]
    of_rows = ["of rows that ran once"] if once else []
    of_rows += [f"of those whose seeds have one teacher ({some(shared, 2)})"] if shared else []
    return [f"A teacher's luck is not in the intervals {', nor '.join(of_rows)}."] if of_rows else []
