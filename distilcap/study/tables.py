"""Tables of systems beside the numbers that a paper prints, with differences and verdicts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from distilcap.metrics import Score, create_metric
from distilcap.metrics.significance import System, compare_systems
from distilcap.progress import Progress
from distilcap.reports.report import collect_results
from distilcap.reports.results import Member, build_rows, column_scores, decoding_sentences, stages_of
from distilcap.stages.captions import Labels
from distilcap.stages.train import Train
from distilcap.store.stage import Stage, Store
from distilcap.study.conclusions import Conclusion, judge
from distilcap.study.contrasts import Scored
from distilcap.study.ranking import ranking_sentence

__all__ = ["MEANS", "METRICS", "Table", "TableRow", "members_of", "run_tables", "stages_of_tables"]

METRICS = ("bleu", "meteor", "rouge_l", "cider", "spice")
MEANS = ("rouge_l", "cider", "spice")
"""Metrics whose corpus score is the mean over images; differences are tested on these."""
COLUMN = "beam"


@dataclass(frozen=True)
class TableRow:
    """A system's place in a table.

    Attributes:
        member: the system.
        label_beam: width with which its teacher labelled; None where none did.
        baseline: name of the system that it is compared with: the same captioner without a teacher.
        printed: what the paper has in this row, by metric, in the official scale; None where it has no such
            row, as for teachers.
    """

    member: Member
    label_beam: int | None = None
    baseline: str | None = None
    printed: Mapping[str, float] | None = None


@dataclass(frozen=True)
class Table:
    """Rows in order.

    Attributes:
        name: such as "table1".
        judged: whether it is evidence for the paper's conclusions; if not, its rows are ranked.
    """

    name: str
    title: str
    rows: tuple[TableRow, ...]
    judged: bool = True


def members_of(tables: Sequence[Table]) -> tuple[Member, ...]:
    """All systems, each once."""
    return tuple({row.member.name: row.member for table in tables for row in table.rows}.values())


def run_tables(
    title: str,
    tables: Sequence[Table],
    store: Store,
    progress: Progress,
    metrics: tuple[str, ...] = METRICS,
    command: str = "",
) -> dict[str, Any]:
    """Build what is missing, and give all that a report shows, as JSON.

    That is what `report.collect_results` gives, and beside it "tables" (rows by name, what the paper prints,
    differences), "conclusions" (verdicts with their claims), "command" and "schedules" (of training
    and decoding, in words).
    """
    members = members_of(tables)
    rows = build_rows(members, store, progress, metrics)
    scored = _scored(tables, store, metrics)
    conclusions = judge(scored) if scored and any(table.judged for table in tables) else ()
    compared = [_table_results(table, store, metrics) for table in tables]
    setting = _setting(members)
    verdicts = [f"{one.text.rstrip('.')}: {one.verdict}{setting}." for one in conclusions]
    for table, content in zip(tables, compared, strict=True):
        verdicts += [] if table.judged else [ranking_sentence(content)]
    results = collect_results(title, members, rows, " ".join(verdicts), store)
    return results | {
        "command": command,
        "schedules": [*_schedules(members), *decoding_sentences(rows)],
        "tables": compared,
        "conclusions": [_conclusion(one, setting) for one in conclusions],
    }


def _schedules(members: Sequence[Member]) -> list[str]:
    """How long each kind of captioner was trained: what a score means depends on it."""
    found = []
    for member in members:
        for train in member.trains:
            first, second = train.training.cross_entropy, train.training.self_critical
            found.append(
                f"{train.architecture} {train.options.hidden} wide: {first.epochs} epochs of cross-entropy, "
                f"{second.epochs} of self-critical training, {train.training.batch_images} images a step"
            )
    return list(dict.fromkeys(found))


def _conclusion(conclusion: Conclusion, setting: str) -> dict[str, Any]:
    claims = [asdict(claim) for claim in conclusion.claims]
    return asdict(conclusion) | {"verdict": conclusion.verdict + setting, "claims": claims}


def _setting(members: Sequence[Member]) -> str:
    """What a verdict adds where encoder or data are not the paper's."""
    train = members[0].trains[0]
    others = []
    if train.features.encoder != "efficientdet-d0":
        others.append(f"the encoder {train.features.encoder} instead of EfficientDet-D0")
    if "coco" not in train.data.name.lower():
        others.append(f"{train.data.name} instead of COCO")
    return f", with {' and '.join(others)}" if others else ""


def _table_results(table: Table, store: Store, metrics: tuple[str, ...]) -> dict[str, Any]:
    """One table as JSON: rows by the name of their system, and each row's difference from its baseline."""
    by_baseline: dict[str, list[Member]] = {}
    for row in table.rows:
        if row.baseline is not None:
            by_baseline.setdefault(row.baseline, []).append(row.member)
    members = {row.member.name: row.member for row in table.rows}
    differences: dict[str, dict[str, Any]] = {}
    for baseline, several in by_baseline.items():
        for key in (key for key in MEANS if key in metrics):
            systems = [_system(one, key, store, metrics) for one in (members[baseline], *several)]
            if any(score.unavailable for system in systems for score in system.seeds):
                continue
            for one in compare_systems(systems, create_metric(key)):
                differences.setdefault(one.system, {})[key] = {
                    "difference": one.difference,
                    "interval": list(one.interval),
                    "p": one.randomisation_p,
                    "corrected_p": one.corrected_p,
                }
    rows = [
        {
            "row": row.member.name,
            "label_beam": row.label_beam,
            "baseline": row.baseline,
            "printed": dict(row.printed) if row.printed else None,
            "labelling_seconds": _labelling_seconds(row.member.trains[0].labels, store),
            "differences": differences.get(row.member.name, {}),
        }
        for row in table.rows
    ]
    return {"name": table.name, "title": table.title, "rows": rows}


def _labelling_seconds(labels: Labels | None, store: Store) -> float:
    """Of the labels and of other labels that they were made from; the teacher's training is not counted."""
    if labels is None:
        return 0.0
    earlier = (one for one in labels.inputs() if isinstance(one, Labels))
    return store.seconds(labels) + sum(_labelling_seconds(one, store) for one in earlier)


def _system(member: Member, key: str, store: Store, metrics: tuple[str, ...]) -> System:
    scores = []
    for content in column_scores(member, COLUMN, store, metrics):
        entry = content[key]
        if entry["unavailable"] is not None:
            scores.append(Score.missing(key, entry["signature"], entry["unavailable"]))
            continue
        # The mean over images is its own sufficient statistic.
        statistics = np.array(list(entry["per_image"].values()))[:, None]
        scores.append(
            Score(key, entry["value"], entry["signature"], entry["per_image"], statistics=statistics)
        )
    return System(member.name, tuple(scores))


def _scored(tables: Sequence[Table], store: Store, metrics: tuple[str, ...]) -> list[Scored]:
    if "cider" not in metrics:
        return []
    systems = {}
    for row in (row for table in tables for row in table.rows):
        several = column_scores(row.member, COLUMN, store, metrics)
        per_image = np.array([list(one["cider"]["per_image"].values()) for one in several])
        train = row.member.trains[0]
        systems[row.member.name] = Scored(
            row.member.name,
            train.architecture,
            row.member.size,
            row.member.teacher,
            row.label_beam,
            per_image,
            own_teachers=len({_teacher_key(train) for train in row.member.trains}) == len(row.member.trains),
        )
    return list(systems.values())


def _teacher_key(train: Train) -> str:
    """What a student's captions came from."""
    return "" if train.labels is None else train.labels.key


def stages_of_tables(tables: Sequence[Table], metrics: tuple[str, ...]) -> list[Stage]:
    """Everything that `run_tables` builds, for a plan."""
    return stages_of(members_of(tables), metrics)
