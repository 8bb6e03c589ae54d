"""A row of one report less rows of others, CIDEr by beam search, with intervals over test images and seeds.

    python -m benchmarks across docs/results/flickr8k-extra-preset "updown-small, top 1 of all teachers" \\
        docs/results/flickr8k "updown-small from updown-big, beam 5"

Reads the scores that are packed beside the reports (`distilcap store export`); scores nothing anew. The luck
of seeds and teachers is pooled over all rows of the reports, as in a report (`distilcap.study.contrasts`);
equal names in two reports are two rows, also where their runs have one recipe.
"""

from __future__ import annotations

import argparse
import itertools
import math
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean

import numpy as np

from distilcap.errors import ConfigError
from distilcap.reports.records import RESULTS, Row, read_results
from distilcap.stages.folders import import_stages
from distilcap.stages.label import Generate
from distilcap.stages.measure import Evaluate, read_scores
from distilcap.stages.train import Train
from distilcap.store.contents import contents
from distilcap.store.pack import import_results
from distilcap.store.store import Store
from distilcap.study.check import PACKS
from distilcap.study.contrasts import Contrasts, Scored
from distilcap.study.taught import own_teachers

METRIC = "cider"


def rows_of(folder: Path) -> dict[str, tuple[Scored, list[str]]]:
    """The rows of a report whose scores are in its packs, by name, with the images that were scored."""
    import_stages()
    results = read_results(folder / RESULTS)
    with tempfile.TemporaryDirectory() as scratch:
        store = Store(Path(scratch))
        for pack in sorted(folder.glob(PACKS)):
            import_results(pack, store.root)
        stages = [entry.stage for entry in contents(store.root)]
        runs = {stage.key: stage for stage in stages if isinstance(stage, Train)}
        scored: dict[tuple[str, int], list[dict[str, float]]] = {}
        for stage in stages:
            if not (isinstance(stage, Evaluate) and METRIC in stage.available):
                continue
            if isinstance(stage.captions, Generate) and stage.captions.split == "test":
                per_image = read_scores(stage, store)[METRIC]["per_image"]
                scored.setdefault((stage.captions.captioner.key, stage.captions.beam), []).append(per_image)
        rows = {}
        for row in results.rows:
            if not row.runs or any((run, row.beam) not in scored for run in row.runs):
                continue  # a given teacher, or not packed
            found = reported(row, [scored[run, row.beam] for run in row.runs], folder)
            names = sorted(found[0])
            rows[row.name] = (
                Scored(
                    row.name,
                    str(row.architecture),
                    str(row.size),
                    row.teacher,
                    None,
                    np.array([[one[image] for image in names] for one in found]),
                    own_teachers=own_teachers([runs[run] for run in row.runs]),
                ),
                names,
            )
    return rows


def reported(
    row: Row, packed: Sequence[Sequence[dict[str, float]]], folder: Path
) -> Sequence[Mapping[str, float]]:
    """By seed the scores of which the row's is the mean: packs may hold captions of a run by two devices."""
    for seeds in itertools.product(*packed):
        mean = fmean(fmean(per_image.values()) for per_image in seeds)
        if math.isclose(mean, row.scores.beam[METRIC] or 0.0, rel_tol=1e-9):
            return seeds
    raise ConfigError(f"{folder}: its packs have scores of {row.name!r}, but none with the report's mean.")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "rows", nargs="+", metavar="FOLDER ROW", help="a row, and those that it is compared with"
    )
    given = parser.parse_args().rows
    pairs = list(zip(given[::2], given[1::2], strict=False))
    if len(given) % 2 or len(pairs) < 2:
        parser.error("give a folder and a row, and again for each row that it is compared with")
    reports = {folder: rows_of(Path(folder)) for folder, _ in pairs}
    for folder, name in pairs:
        if name not in reports[folder]:
            held = "; ".join(reports[folder]) or "none"
            raise ConfigError(f"{folder}: its packs have no scores of a row {name!r}, but of {held}.")
    if len({tuple(images) for rows in reports.values() for _, images in rows.values()}) > 1:
        raise ConfigError("The reports' rows are scored on different images: they cannot be compared.")
    contrasts = Contrasts(
        [
            replace(row, name=f"{folder}: {name}", teacher=row.teacher and f"{folder}: {row.teacher}")
            for folder, rows in reports.items()
            for name, (row, _) in rows.items()
        ]
    )
    first, *others = (f"{folder}: {name}" for folder, name in pairs)
    for other in others:
        gain = contrasts.difference(first, other)
        value, low, high = (f"{100 * number:+.1f}" for number in (gain.value, gain.low, gain.high))
        print(f"{first} less {other}: {value} ({low} to {high})")


if __name__ == "__main__":
    main()
