"""What a report shows, as types, and `results.json`, which holds it."""

from __future__ import annotations

import dataclasses
import reprlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

from distilcap.errors import DataError
from distilcap.files import read_json
from distilcap.reports.typed_json import from_json
from distilcap.stages.decoding import Decoding

__all__ = [
    "LATER",
    "RESULTS",
    "Claim",
    "Columns",
    "Conclusion",
    "Difference",
    "Entry",
    "Epoch",
    "Results",
    "Row",
    "Sample",
    "Table",
    "read_results",
]

RESULTS = "results.json"
LATER = ("width", "search", "teacher_seconds", "scored_images", "test_images", "curve_ends", "devices")
"""Fields that reports of older versions lack."""
MOST = 300
"""Rows, and samples: more could not be drawn, and nobody would read them."""


@dataclass(frozen=True)
class Columns:
    """A figure of each metric, by its key, for both ways of decoding; None where it could not be computed."""

    greedy: dict[str, float | None]
    beam: dict[str, float | None]


@dataclass(frozen=True)
class Row:
    """What a system cost and gained. A given teacher's costs are not known (None, or empty).

    Attributes:
        name: for people; it is unique.
        role: "teacher", "student" (learns from the references), "distilled", "control", or "start" (what
            students begin from, as it is).
        architecture: the family, such as "updown".
        size: of the captioner, such as "small".
        teacher: name of the row whose captions it learnt from, or of an ensemble.
        labels: what it learnt from, in words.
        seeds: of its runs.
        megabytes: of float32 weights.
        ms_per_image: milliseconds of encoder and greedy decoder, one image at a time.
        train_seconds: mean over seeds.
        images_seen: in training.
        runs: keys of the runs in the store.
        beam: width of the beam column.
        scores: means over seeds, in the official scale.
        deviations: sample deviations over seeds; None with one seed.
        unavailable: why a metric could not be computed, by metric.
        signature: how each score was made, by metric.
        decoding: what was chosen on validation for the beam column, by seed; empty where nothing was.
        width: of the captioner.
        search: how each column's captions were found, "greedy" and "beam", in the form of a signature.
        devices: that its runs were trained on; "" where an older version did not record it of a run, and
            nothing where it did of none.
    """

    name: str
    role: str
    architecture: str | None
    size: str | None
    teacher: str | None
    labels: str | None
    seeds: tuple[int, ...]
    parameters: int | None
    megabytes: float | None
    ms_per_image: float | None
    train_seconds: float | None
    images_seen: int | None
    runs: tuple[str, ...]
    beam: int
    scores: Columns
    deviations: Columns
    unavailable: dict[str, str]
    signature: dict[str, str]
    decoding: tuple[Decoding, ...] = ()
    width: int | None = None
    search: dict[str, str] = field(default_factory=dict)
    devices: tuple[str, ...] = ()


class _EveryEpoch(TypedDict):
    phase: str
    epoch: int
    images: int
    seconds: float
    loss: float


class Epoch(_EveryEpoch, total=False):
    """One record of a training log; figures that a phase does not have are left out."""

    reward: float
    divergence: float
    validation_cider: float


@dataclass(frozen=True)
class Sample:
    """A test image with what people and systems say of it.

    Attributes:
        image: its id.
        path: of the picture, from the folder of `results.json`; "" without a picture.
        captions: by row.
    """

    image: str
    path: str
    references: tuple[str, ...]
    captions: dict[str, str]


@dataclass(frozen=True)
class Difference:
    """A score less its baseline's.

    Attributes:
        interval: 95 % of the paired bootstrap; where few images differ Student's t (`metrics.significance`).
        p: of approximate randomisation.
        corrected_p: the same after Holm's correction.
    """

    difference: float
    interval: tuple[float, float]
    p: float
    corrected_p: float


@dataclass(frozen=True)
class Entry:
    """A row of a table.

    Attributes:
        row: name of the `Row` that it shows.
        label_beam: width with which its teacher labelled.
        baseline: name of the row that it is compared with.
        printed: what the paper has here, by metric, in the official scale.
        labelling_seconds: of its labels and of labels that they were made from, in the mean over seeds.
        differences: from the baseline, by metric.
        teacher_seconds: of training its teachers, and those that they learnt from, in the mean over seeds.
    """

    row: str
    label_beam: int | None
    baseline: str | None
    printed: dict[str, float] | None
    labelling_seconds: float
    differences: dict[str, Difference]
    teacher_seconds: float | None = None


@dataclass(frozen=True)
class Table:
    """Rows in the order of a table of the paper, or of our own."""

    name: str
    title: str
    rows: tuple[Entry, ...]


@dataclass(frozen=True)
class Claim:
    """One part of a conclusion, with the numbers that it was judged by."""

    text: str
    outcome: str
    evidence: str


@dataclass(frozen=True)
class Conclusion:
    """One of the paper's conclusions, judged."""

    text: str
    verdict: str
    claims: tuple[Claim, ...]


@dataclass(frozen=True)
class Results:
    """All that a report shows; `results.json` has these keys.

    Attributes:
        verdict: in words.
        curves: training logs, by row.
        command, schedules, decoding, tables, conclusions, missing: of reports with tables; left out of the
            JSON of others.
        schedules: how long each kind of captioner was trained, in words.
        curve_ends: how far validation still rose when training ended, in words.
        decoding: sentences about what beam search ranks by.
        missing: names of rows of the tables that are not trained yet, and left out.
        scored_images: test images that the scores are of.
        test_images: with captions, in the data set.
    """

    title: str
    rows: tuple[Row, ...]
    verdict: str
    curves: dict[str, tuple[Epoch, ...]]
    samples: tuple[Sample, ...]
    command: str = ""
    schedules: tuple[str, ...] = ()
    curve_ends: str = ""
    decoding: tuple[str, ...] = ()
    tables: tuple[Table, ...] = ()
    conclusions: tuple[Conclusion, ...] = ()
    missing: tuple[str, ...] = ()
    scored_images: int | None = None
    test_images: int | None = None

    def to_json(self) -> dict[str, Any]:
        """Give a JSON object; `read_results` reads it back equal."""
        content = dataclasses.asdict(self)
        entries = (entry for table in content["tables"] for entry in table["rows"])
        for part in (content, *content["rows"], *entries):
            for key in ("decoding", "missing", *LATER):  # reports of older versions have none
                if not part.get(key):
                    part.pop(key, None)
        if not self.tables:
            for key in ("command", "schedules", "decoding", "tables", "conclusions", "missing"):
                content.pop(key, None)
        return content

    def row(self, name: str) -> Row:
        """The row of this name."""
        return self._by_name[name]

    @property
    def compared(self) -> tuple[str, ...]:
        """Names of the rows whose captions a person compares: what the distilled student begins from, or else
        its teacher, and the student; empty where there are tables, or not both."""
        before = [row.name for role in ("teacher", "start") for row in self.rows if row.role == role]
        students = [row.name for row in self.rows if row.role == "distilled"]
        return (before[-1], students[-1]) if before and students and not self.tables else ()

    @cached_property
    def _by_name(self) -> dict[str, Row]:
        return {row.name: row for row in self.rows}


def read_results(path: Path) -> Results:
    """Read a `results.json`, which may be anybody's.

    Raises:
        DataError: it is missing, not of that form, or a table names a row that is not there.
    """
    results = from_json(Results, read_json(path), path)
    if not results.rows:
        raise DataError(f"{path}: `rows` must have at least one row, but has none.")
    for key, items in (("rows", results.rows), ("samples", results.samples)):
        if len(items) > MOST:
            raise DataError(f"{path}: `{key}` must have at most {MOST} items, but has {len(items)}.")
    names = {row.name for row in results.rows}
    for n, table in enumerate(results.tables):
        for k, entry in enumerate(table.rows):
            for key, name in (("row", entry.row), ("baseline", entry.baseline)):
                if name is not None and name not in names:
                    raise DataError(
                        f"{path}: `tables[{n}].rows[{k}].{key}` names no row of `rows`: {reprlib.repr(name)}."
                    )
    return results
