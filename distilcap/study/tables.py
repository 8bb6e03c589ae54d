"""Tables of systems beside the numbers that a paper prints, with differences and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

import numpy as np

from distilcap.errors import ConfigError
from distilcap.metrics import MeanMetric, Score, create_metric
from distilcap.metrics.base import FloatArray
from distilcap.metrics.significance import System, compare_systems
from distilcap.progress import Progress
from distilcap.reports import records
from distilcap.reports.collect import collect_results
from distilcap.reports.records import Difference, Entry, Results
from distilcap.reports.results import (
    Member,
    build_rows,
    column_scores,
    latencies_of,
    read_beside_scores,
    stages_of,
)
from distilcap.reports.sentences import decoding_sentences
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.conclusions import judge
from distilcap.study.contrasts import Contrasts, Scored
from distilcap.study.ranking import ranking_sentence
from distilcap.study.schedules import curve_ends, schedules
from distilcap.study.taught import labelling_seconds, own_teachers, teacher_seconds

__all__ = [
    "Table",
    "TableRow",
    "captioned",
    "finished",
    "members_of",
    "run_tables",
    "stages_of_tables",
    "with_strongest_controls",
]

COLUMN = "beam"


@dataclass(frozen=True)
class TableRow:
    """A row of a table: a system, and what it is compared with.

    Attributes:
        member: the system.
        label_beam: width with which its teacher labelled; None where none did.
        baseline: name of the system that it is compared with: the same captioner without a teacher.
        controls: names of systems of which the one that scores best on validation is the baseline, instead.
        printed: what the paper has in this row, by metric, in the official scale; None where it has no such
            row, as for teachers.
    """

    member: Member
    label_beam: int | None = None
    baseline: str | None = None
    printed: Mapping[str, float] | None = None
    controls: tuple[str, ...] = ()


@dataclass(frozen=True)
class Table:
    """Rows in order.

    Attributes:
        name: such as "table1".
        judged: whether it is evidence for the paper's conclusions; if not, its rows are ranked.
        left_out: names of rows that it has where more is given, such as crops.
    """

    name: str
    title: str
    rows: tuple[TableRow, ...]
    judged: bool = True
    left_out: tuple[str, ...] = ()


def members_of(tables: Sequence[Table]) -> tuple[Member, ...]:
    """All systems, each once."""
    return tuple({row.member.name: row.member for table in tables for row in table.rows}.values())


def finished(tables: Sequence[Table], store: Store) -> tuple[tuple[Table, ...], tuple[str, ...]]:
    """Tables with those of their rows that can be reported without a training, and the names of the others.

    A table without any row is left out; a row without its baseline, or without one of its controls, which
    may be the strongest, is compared with nothing.
    """
    names = _reportable(members_of(tables), store)
    kept = []
    for table in tables:
        rows = [row for row in table.rows if row.member.name in names]
        rows = [
            replace(
                row,
                baseline=row.baseline if row.baseline in names else None,
                controls=row.controls if names.issuperset(row.controls) else (),
            )
            for row in rows
        ]
        kept += [replace(table, rows=tuple(rows))] if rows else []
    missing = (member.name for member in members_of(tables) if member.name not in names)
    return tuple(kept), tuple(missing)


def captioned(member: Member, store: Store) -> bool:
    """Whether all its captions are there."""
    return all(store.has(captions) for column in ("greedy", "beam") for captions in member.scored(column))


def _reportable(members: Sequence[Member], store: Store) -> set[str]:
    """Names of those of which all is there but scores and what is quickly measured."""
    there = [
        member
        for member in members
        if captioned(member, store) and all(map(store.has, read_beside_scores(member)))
    ]
    # One captioner of each shape is timed. Without its weights that is another's.
    while True:
        timed = {latency.captioner for latency in latencies_of(there).values() if not store.has(latency)}
        without = {run.key for run in timed if not store.has(run, whole=True)}
        if not without:
            return {member.name for member in there}
        there = [member for member in there if member.trains[0].key not in without]


def run_tables(
    title: str,
    tables: Sequence[Table],
    store: Store,
    progress: Progress,
    metrics: tuple[str, ...],
    command: str = "",
    missing: tuple[str, ...] = (),
) -> Results:
    """Build what is missing, and give all that a report shows.

    Args:
        missing: names of rows that were left out.
    """
    members = members_of(tables)
    rows = build_rows(members, store, progress, metrics)
    scored = _scored(tables, store, metrics)
    conclusions = judge(scored) if scored and any(table.judged for table in tables) else ()
    setting = _setting(members)
    conclusions = tuple(
        replace(conclusion, verdict=conclusion.verdict + setting) for conclusion in conclusions
    )
    verdicts = [f"{conclusion.text.rstrip('.')}: {conclusion.verdict}." for conclusion in conclusions]
    compared = []
    for table in tables:
        chosen, said = with_strongest_controls(table, store)
        content = _compared(chosen, store, metrics)
        compared.append(content)
        verdicts += said
        verdicts += [] if table.judged else [ranking_sentence(content, Contrasts(scored) if scored else None)]
    results = collect_results(title, members, rows, " ".join(verdicts), store, progress)
    return replace(
        results,
        command=command,
        schedules=schedules(members),
        curve_ends=curve_ends(members, store),
        decoding=tuple(decoding_sentences(rows)),
        tables=tuple(compared),
        conclusions=conclusions,
        missing=missing,
    )


def with_strongest_controls(table: Table, store: Store) -> tuple[Table, list[str]]:
    """The table with the best of each row's controls as its baseline, and which that is, in a sentence."""
    members = {row.member.name: row.member for row in table.rows}

    def score(name: str) -> float:
        """Mean over seeds."""
        runs = [train.summary(store) for train in members[name].trains]
        return fmean(run["best_validation_cider"] for run in runs)

    said, rows = [], []
    for row in table.rows:
        ranked = sorted(row.controls, key=score, reverse=True)  # of equals the first
        rows.append(replace(row, baseline=ranked[0]) if ranked else row)
        if ranked:
            scores = ", ".join(f"{name}: {100 * score(name):.1f}" for name in ranked)
            said.append(
                f"Strongest without a teacher, by greedy CIDEr on validation: {ranked[0]} ({scores})."
            )
    return replace(table, rows=tuple(rows)), list(dict.fromkeys(said))


def _setting(members: Sequence[Member]) -> str:
    """What a verdict adds where encoder or data are not the paper's."""
    train = members[0].trains[0]
    others = []
    if train.features.encoder != "efficientdet-d0":
        others.append(f"the encoder {train.features.encoder} instead of EfficientDet-D0")
    if "coco" not in train.data.name.lower():
        others.append(f"{train.data.name} instead of COCO")
    return f", with {' and '.join(others)}" if others else ""


def _compared(table: Table, store: Store, metrics: tuple[str, ...]) -> records.Table:
    """The table with each row's differences from its baseline."""
    differences = _differences(table, store, metrics)
    entries = (
        Entry(
            row=row.member.name,
            label_beam=row.label_beam,
            baseline=row.baseline,
            printed=dict(row.printed) if row.printed else None,
            labelling_seconds=fmean(labelling_seconds(run, store) for run in row.member.trains),
            differences=differences.get(row.member.name, {}),
            teacher_seconds=teacher_seconds(row.member, store),
        )
        for row in table.rows
    )
    return records.Table(table.name, table.title, tuple(entries))


def _differences(table: Table, store: Store, metrics: tuple[str, ...]) -> dict[str, dict[str, Difference]]:
    """By system and metric; Holm's correction is over the systems with one baseline."""
    by_baseline: dict[str, list[Member]] = {}
    for row in table.rows:
        if row.baseline is not None:
            by_baseline.setdefault(row.baseline, []).append(row.member)
    members = {row.member.name: row.member for row in table.rows}
    differences: dict[str, dict[str, Difference]] = {}
    for baseline, compared in by_baseline.items():
        for key in _means(metrics):
            systems = [_system(member, key, store, metrics) for member in (members[baseline], *compared)]
            if any(score.unavailable for system in systems for score in system.seeds):
                continue
            for result in compare_systems(systems, create_metric(key)):
                interval, p, corrected = result.interval, result.randomisation_p, result.corrected_p
                if interval is None or p is None or corrected is None:  # of one image
                    continue
                difference = Difference(result.difference, interval, p, corrected)
                differences.setdefault(result.system, {})[key] = difference
    return differences


def _means(metrics: Sequence[str]) -> list[str]:
    """Metrics whose one score is the mean over images: differences are tested on these."""
    made = {name: create_metric(name) for name in metrics}
    return [
        name for name, metric in made.items() if isinstance(metric, MeanMetric) and metric.keys == (name,)
    ]


def _system(member: Member, key: str, store: Store, metrics: tuple[str, ...]) -> System:
    seeds = (scores[key] for scores in column_scores(member, COLUMN, store, metrics))
    # The mean over images is its own sufficient statistic.
    return System(
        member.name, tuple(replace(score, statistics=_per_image(score)[:, None]) for score in seeds)
    )


def _per_image(score: Score) -> FloatArray:
    return np.array(list(score.per_image.values()))


def _scored(tables: Sequence[Table], store: Store, metrics: tuple[str, ...]) -> list[Scored]:
    if "cider" not in metrics:
        return []
    systems = {}
    images: list[str] = []  # one order for all rows
    for row in (row for table in tables for row in table.rows):
        member = row.member
        scores = [seed["cider"].per_image for seed in column_scores(member, COLUMN, store, metrics)]
        if not all(scores):  # of a single image, which has no CIDEr
            return []
        images = images or list(scores[0])
        if any(seed.keys() != set(images) for seed in scores):
            raise ConfigError(
                f"{member.name} is scored on other images than {tables[0].rows[0].member.name}: they cannot "
                "be compared."
            )
        systems[member.name] = Scored(
            member.name,
            member.trains[0].architecture,
            member.size,
            member.teacher,
            row.label_beam,
            np.array([[seed[image] for image in images] for seed in scores]),
            own_teachers=own_teachers(member.trains),
        )
    return list(systems.values())


def stages_of_tables(tables: Sequence[Table], metrics: tuple[str, ...]) -> list[Stage]:
    """Everything that `run_tables` builds, for a plan."""
    return stages_of(members_of(tables), metrics)
