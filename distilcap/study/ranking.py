"""Which way of distilling helps most, as a sentence computed from differences."""

from __future__ import annotations

from distilcap.reports.records import Table

__all__ = ["ranking_sentence"]


def ranking_sentence(table: Table) -> str:
    """Rank a table's rows by their gain in CIDEr over the student that they are compared with.

    A row "gains" if its 95 % interval over test images lies above 0, and "loses" if it lies below.
    """
    compared = [(entry, entry.differences["cider"]) for entry in table.rows if "cider" in entry.differences]
    compared.sort(key=lambda pair: -pair[1].difference)
    groups: dict[str, list[str]] = {"gain": [], "neither clearly gain nor lose": [], "lose": []}
    for entry, gain in compared:
        low, high = gain.interval
        verb = "gain" if low > 0 else "lose" if high < 0 else "neither clearly gain nor lose"
        cost = f", labels {entry.labelling_seconds:.0f} s" if entry.labelling_seconds else ""
        interval = f"95 % {100 * low:+.1f} to {100 * high:+.1f}"
        groups[verb].append(f"{entry.row} ({100 * gain.difference:+.1f}, {interval}{cost})")
    sentences = [f"Those that {verb}: {'; '.join(names)}." for verb, names in groups.items() if names]
    return "In points of CIDEr, best first. " + " ".join(sentences) if sentences else "Nothing was compared."
