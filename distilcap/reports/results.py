"""Result rows: what every step cost and gained, computed from artifacts, never written by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from distilcap.metrics import Score
from distilcap.progress import Progress
from distilcap.reports.records import Columns, Row
from distilcap.stages.captions import CaptionsOfSplit, Labels
from distilcap.stages.data import ImportData
from distilcap.stages.decoding import Decoding
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.measure import Evaluate, MeasureLatency, read_scores
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store

__all__ = [
    "GREEDY",
    "METRICS",
    "GivenSystem",
    "Member",
    "System",
    "all_labels",
    "build_rows",
    "column_scores",
    "latencies_of",
    "read_beside_scores",
    "stages_of",
    "trained_members",
    "whole_training",
]

METRICS = ("bleu", "meteor", "rouge_l", "cider")
SPICE = "spice"
GREEDY = 1
COLUMNS = ("greedy", "beam")


@dataclass(frozen=True)
class Member:
    """A system of an experiment: the same recipe under several seeds.

    Attributes:
        name: for people.
        role: "teacher", "student" (learns from the references), "distilled" or "control".
        size: of the captioner, such as "small".
        trains: a run for each seed.
        teacher: the name of the member whose captions it learnt from, or of an ensemble.
        labels: what it learnt from, in words.
        beam: width of the beam column.
        data: that it is scored on; None is the data that it was trained on.
        length_penalty: of the beam column; None chooses each run's own on validation.
    """

    name: str
    role: str
    size: str
    trains: tuple[Train, ...]
    teacher: str | None = None
    labels: str = "references"
    beam: int = 5
    data: ImportData | None = None
    length_penalty: float | None = None

    def captions(self, train: Train, beam: int, split: str = "test") -> Generate:
        """The captions that are scored."""
        if self.length_penalty is None:
            return Generate.as_chosen(train, split, beam, data=self.data)
        penalty = 0.0 if beam == GREEDY else self.length_penalty
        return Generate(train, split, beam, length_penalty=penalty, data=self.data)

    def scored(self, column: str) -> tuple[CaptionsOfSplit, ...]:
        """What the "greedy" or the "beam" column scores: captions of the test split by every seed."""
        beam = GREEDY if column == "greedy" else self.beam
        return tuple(self.captions(train, beam) for train in self.trains)


@dataclass(frozen=True)
class GivenSystem:
    """A system that is no single run of ours: an ensemble, somebody else's model, or what was begun from.

    Its captions are scored like anybody's; what it cost is not known.

    Attributes:
        greedy, searched: its captions of the test split.
        beam: width of the beam column.
    """

    name: str
    greedy: CaptionsOfSplit
    searched: CaptionsOfSplit
    beam: int = 5
    role: str = "teacher"

    def scored(self, column: str) -> tuple[CaptionsOfSplit, ...]:
        """See `Member.scored`."""
        return (self.greedy if column == "greedy" else self.searched,)


System = Member | GivenSystem


def stages_of(members: Sequence[System], metrics: tuple[str, ...] = METRICS) -> list[Stage]:
    """Everything that `build_rows` will need, for a plan."""
    scores = [stage for member in members for stage in _all_evaluations(member, metrics)]
    return [*scores, *latencies_of(trained_members(members)).values()]


def read_beside_scores(member: Member) -> list[Stage]:
    """What a report reads of a system that was captioned with and scored: the runs with those that they began
    from, how they decode, and labels. It is made anew where it is missing."""
    captions = [member.captions(train, beam) for train in member.trains for beam in (GREEDY, member.beam)]
    chosen = [one.decoding for one in captions if one.decoding is not None]
    runs = [run for train in member.trains for run in whole_training(train)]
    labels = [stage for run in runs for stage in all_labels(run.labels)]
    return [*runs, *chosen, *labels]


def all_labels(labels: Stage | None) -> list[Stage]:
    """Labels and other labels that they were made from."""
    if not isinstance(labels, Labels):
        return []
    return [labels, *(earlier for stage in labels.inputs() for earlier in all_labels(stage))]


def trained_members(members: Sequence[System]) -> list[Member]:
    """Those that are runs of ours."""
    return [member for member in members if isinstance(member, Member)]


def _all_evaluations(member: System, metrics: tuple[str, ...]) -> list[Evaluate]:
    """All that is scored of a system, in the order in which it is built: seed by seed."""
    columns = [
        [_evaluations(captions, column, metrics) for captions in member.scored(column)] for column in COLUMNS
    ]
    return [stage for seed in zip(*columns, strict=True) for stages in seed for stage in stages]


def _evaluations(captions: CaptionsOfSplit, column: str, metrics: tuple[str, ...]) -> list[Evaluate]:
    """SPICE takes a hundred times as long as all others: it has a stage of its own, which adds it to scores
    that are there already, and only captions of beam search have it."""
    others = tuple(name for name in metrics if name != SPICE)
    apart = (SPICE,) if SPICE in metrics and column == "beam" else ()
    return [Evaluate.of(captions, names) for names in (others, apart) if names]


def latencies_of(members: Sequence[Member]) -> dict[str, MeasureLatency]:
    """By member's name; captioners of one shape are as fast as each other, so one of them is timed."""
    timed: dict[Any, MeasureLatency] = {}
    latencies = {}
    for member in members:
        train = member.trains[0]
        shape = train.architecture, train.options, train.seen_in(member.data).key
        latencies[member.name] = timed.setdefault(shape, MeasureLatency(train))
    return latencies


def build_rows(
    members: Sequence[System], store: Store, progress: Progress, metrics: tuple[str, ...] = METRICS
) -> tuple[Row, ...]:
    """Build what is missing and return the row of each member, in the order given."""
    latencies = latencies_of(trained_members(members))
    rows = []
    for member in members:
        for evaluation in _all_evaluations(member, metrics):
            store.build(evaluation, progress)
        if isinstance(member, Member):
            store.build(latencies[member.name], progress)
        scores = {column: column_scores(member, column, store, metrics) for column in COLUMNS}
        costs = _costs(member, latencies.get(member.name), store)
        figures = _figures(scores) | {"decoding": tuple(_decodings(member, store))}
        figures["search"] = {column: how for column in COLUMNS if (how := _search(member, column, store))}
        rows.append(Row(name=member.name, role=member.role, beam=member.beam, **costs, **figures))
    return tuple(rows)


def _costs(member: System, latency: MeasureLatency | None, store: Store) -> dict[str, Any]:
    """The fields of a `Row` about its runs; of a given system nothing is known."""
    if isinstance(member, GivenSystem) or latency is None:
        unknown = ("architecture", "size", "teacher", "labels", "parameters", "megabytes", "ms_per_image")
        return dict.fromkeys((*unknown, "train_seconds", "images_seen")) | {"seeds": (), "runs": ()}
    summaries = [[run.summary(store) for run in whole_training(train)] for train in member.trains]
    parameters = summaries[0][0]["parameters"]
    seconds = (sum(run["train_seconds"] for run in runs) for runs in summaries)
    return {
        "architecture": member.trains[0].architecture,
        "size": member.size,
        "width": member.trains[0].options.hidden,
        "teacher": member.teacher,
        "labels": member.labels,
        "seeds": tuple(train.training.seed for train in member.trains),
        "parameters": parameters,
        "megabytes": round(parameters * 4 / 1e6, 2),
        "ms_per_image": round(latency.load(store), 2),
        "train_seconds": round(statistics.fmean(seconds), 1),
        "images_seen": sum(run["images_seen"] for run in summaries[0]),
        "runs": tuple(train.key for train in member.trains),
        "devices": _devices(member, store),
    }


def _devices(member: Member, store: Store) -> tuple[str, ...]:
    """See `Row.devices`."""
    devices = dict.fromkeys(train.device(store) for train in member.trains)
    return tuple(devices) if any(devices) else ()


def whole_training(train: Train) -> list[Train]:
    """The run and those that it began from: all were paid for. What began outside this store is not known."""
    begun = train.start
    return [train, *(whole_training(begun) if isinstance(begun, Train) else ())]


def _decodings(system: System, store: Store) -> list[Decoding]:
    """What was chosen for the beam column, by seed; empty where the length penalty was given."""
    searched = [
        captions for captions in system.scored("beam") if isinstance(captions, (Generate, GenerateTogether))
    ]
    return [captions.decoding.load(store) for captions in searched if captions.decoding is not None]


def _search(system: System, column: str, store: Store) -> str:
    """How a column's captions were found: "beam:5|length-penalty:0.3,1|chosen:val" of two seeds, or ""."""
    penalties, chosen = [], ""
    for captions in system.scored(column):
        if not isinstance(captions, (Generate, GenerateTogether)):
            return ""
        decoding = captions.decoding
        penalties.append(decoding.load(store).length_penalty if decoding else captions.length_penalty)
        chosen = "|chosen:val" if decoding else ""
    beam = GREEDY if column == "greedy" else system.beam
    ranked = f"|length-penalty:{','.join(f'{penalty:g}' for penalty in penalties)}{chosen}"
    return f"beam:{beam}{ranked if beam > GREEDY else ''}"


def _figures(scores: dict[str, list[dict[str, Score]]]) -> dict[str, Any]:
    """The fields of a `Row` about its scores."""
    first = scores["beam"][0]
    return {
        "scores": Columns(
            **{column: _over_seeds(seeds, statistics.fmean) for column, seeds in scores.items()}
        ),
        "deviations": Columns(**{column: _deviation(seeds) for column, seeds in scores.items()}),
        "unavailable": {key: score.unavailable for key, score in first.items() if score.unavailable},
        "signature": {key: score.signature for key, score in first.items()},
    }


def _over_seeds(
    seeds: list[dict[str, Score]], summary: Callable[[list[float]], float]
) -> dict[str, float | None]:
    """Summarise each metric's value over seeds; None where it is not available."""
    values: dict[str, float | None] = {}
    for key in seeds[0]:
        scores = [seed[key] for seed in seeds]
        missing = any(score.unavailable for score in scores)
        values[key] = None if missing else summary([score.value for score in scores])
    return values


def _deviation(seeds: list[dict[str, Score]]) -> dict[str, float | None]:
    return _over_seeds(seeds, statistics.stdev) if len(seeds) > 1 else dict.fromkeys(seeds[0])


def column_scores(
    member: System, column: str, store: Store, metrics: tuple[str, ...]
) -> list[dict[str, Score]]:
    """The scores of each seed in the "greedy" or the "beam" column, by metric."""
    return [
        {
            key: _score(key, content)
            for stage in _evaluations(captions, column, metrics)
            for key, content in read_scores(stage, store).items()
        }
        for captions in member.scored(column)
    ]


def _score(key: str, content: dict[str, Any]) -> Score:
    if content["unavailable"] is not None:
        return Score.missing(key, content["signature"], content["unavailable"])
    return Score(key, content["value"], content["signature"], content["per_image"])
