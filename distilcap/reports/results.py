"""Result rows: what every step cost and gained, computed from artifacts, never written by hand."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from distilcap.progress import Progress
from distilcap.stages.captions import CaptionsOfSplit
from distilcap.stages.data import ImportData
from distilcap.stages.decoding import Decoding
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.measure import Evaluate, MeasureLatency, read_scores
from distilcap.stages.train import Train
from distilcap.store.stage import Stage, Store

__all__ = [
    "GREEDY",
    "METRICS",
    "GivenSystem",
    "Member",
    "System",
    "build_rows",
    "column_scores",
    "decoding_sentences",
    "gain_sentence",
    "stages_of",
    "trained_members",
]

METRICS = ("bleu", "meteor", "rouge_l", "cider")
GREEDY = 1
COLUMNS = ("greedy", "beam")
NOT_KNOWN: dict[str, Any] = dict.fromkeys(
    ("architecture", "size", "teacher", "labels", "parameters", "megabytes", "ms_per_image", "train_seconds")
) | {"images_seen": None, "seeds": [], "runs": []}
"""Of a system that is no run of ours."""


@dataclass(frozen=True)
class Member:
    """One system of an experiment: the same recipe under several seeds.

    Attributes:
        name: for people.
        role: "teacher", "student" (learns from the references), "distilled" or "control".
        size: of the captioner, such as "small".
        trains: one run a seed.
        teacher: the name of the member whose captions it learnt from.
        labels: what it learnt from, in words.
        beam: width of the beam column.
        data: that it is scored on, if not those that it was trained on.
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
    """A teacher that is no single run of ours: an ensemble, or somebody else's model.

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
    scores = [Evaluate.of(captions, metrics) for member in members for captions in _seed_by_seed(member)]
    return [*scores, *_latencies(trained_members(members)).values()]


def trained_members(members: Sequence[System]) -> list[Member]:
    """Those that are runs of ours."""
    return [member for member in members if isinstance(member, Member)]


def _seed_by_seed(member: System) -> list[CaptionsOfSplit]:
    """All that is scored of a system, in the order in which it is built."""
    columns = [member.scored(column) for column in COLUMNS]
    return [captions for several in zip(*columns, strict=True) for captions in several]


def _latencies(members: Sequence[Member]) -> dict[str, MeasureLatency]:
    """By member; captioners of one shape are as fast as each other, so one of them is timed."""
    timed: dict[Any, MeasureLatency] = {}
    for member in members:
        train = member.trains[0]
        timed.setdefault((train.architecture, train.options, train.seen.key), MeasureLatency(train))
    return {
        member.name: timed[train.architecture, train.options, train.seen.key]
        for member in members
        for train in member.trains[:1]
    }


def build_rows(
    members: Sequence[System], store: Store, progress: Progress, metrics: tuple[str, ...] = METRICS
) -> list[dict[str, Any]]:
    """Build what is missing and return one row a member, in the order given.

    Scores are means over seeds, in the official scale; `deviations` are sample deviations over seeds.
    """
    rows = []
    latencies = _latencies(trained_members(members))
    for member in members:
        for captions in _seed_by_seed(member):
            store.build(Evaluate.of(captions, metrics), progress)
        scored = {column: column_scores(member, column, store, metrics) for column in COLUMNS}
        known = NOT_KNOWN
        if isinstance(member, Member):
            store.build(latencies[member.name], progress)
            known = _known(member, latencies[member.name].load(store), store)
        decoding = {"decoding": [asdict(one) for one in _decodings(member, store)]}
        scores = _scores(member.beam, scored)
        rows.append({"name": member.name, "role": member.role, **known, **scores, **decoding})
    return rows


def _known(member: Member, milliseconds: float, store: Store) -> dict[str, Any]:
    """What a row says of runs beside their scores."""
    summaries = [train.summary(store) for train in member.trains]
    parameters = summaries[0]["parameters"]
    return {
        "architecture": member.trains[0].architecture,
        "size": member.size,
        "teacher": member.teacher,
        "labels": member.labels,
        "seeds": [train.training.seed for train in member.trains],
        "parameters": parameters,
        "megabytes": round(parameters * 4 / 1e6, 2),
        "ms_per_image": round(milliseconds, 2),
        "train_seconds": round(statistics.fmean(one["train_seconds"] for one in summaries), 1),
        "images_seen": summaries[0]["images_seen"],
        "runs": [train.key for train in member.trains],
    }


def _decodings(system: System, store: Store) -> list[Decoding]:
    """What was chosen for the beam column, by seed; empty where the length penalty was given."""
    searched = [one for one in system.scored("beam") if isinstance(one, (Generate, GenerateTogether))]
    return [one.decoding.load(store) for one in searched if one.decoding is not None]


def decoding_sentences(rows: Sequence[dict[str, Any]]) -> list[str]:
    """By what each row's beam search ranks, and a remark wherever beam search does not pay."""
    chosen = [(row["name"], [Decoding(**one) for one in row["decoding"]]) for row in rows if row["decoding"]]
    if not chosen:
        return []
    penalties = "; ".join(
        f"{name} {', '.join(f'{one.length_penalty:g}' for one in several)}" for name, several in chosen
    )
    remarks = [
        f"{name}: beam {one.beam} is below greedy decoding on validation (CIDEr {100 * one.cider:.1f} and "
        f"{100 * one.greedy_cider:.1f})."
        for name, several in chosen
        for one in several
        if one.below_greedy
    ]
    rule = "Beam search ranks by log-probability / length^p, p chosen on validation for each run: "
    return [f"{rule}{penalties}.", *remarks]


def _scores(beam: int, scored: dict[str, list[dict[str, dict[str, Any]]]]) -> dict[str, Any]:
    first = scored["beam"][0]
    return {
        "beam": beam,
        "scores": {column: _over_seeds(several, statistics.fmean) for column, several in scored.items()},
        "deviations": {column: _deviation(several) for column, several in scored.items()},
        "unavailable": {
            name: score["unavailable"] for name, score in first.items() if score["unavailable"] is not None
        },
        "signature": {name: score["signature"] for name, score in first.items()},
    }


def _over_seeds(
    several: list[dict[str, dict[str, Any]]], summary: Callable[[list[float]], float]
) -> dict[str, float | None]:
    """Summarise each metric's value over seeds; a metric that is not available stays None."""
    values = {name: [one[name]["value"] for one in several] for name in several[0]}
    return {name: None if None in each else summary(each) for name, each in values.items()}


def _deviation(several: list[dict[str, dict[str, Any]]]) -> dict[str, float | None]:
    return _over_seeds(several, statistics.stdev) if len(several) > 1 else dict.fromkeys(several[0])


def gain_sentence(systems: Sequence[System], store: Store, column: str = "beam") -> str:
    """Say whether the distilled students gained over the undistilled one, at what noise.

    A paired bootstrap over test images, averaged over seeds, of the difference in CIDEr.
    """
    members = trained_members(systems)
    students = [member for member in members if member.role == "student"]
    sentences = []
    for member in (one for one in members if one.role == "distilled"):
        twin = next((one for one in students if one.size == member.size), None)
        if twin is None:
            continue
        own, other = (_per_image_cider(one, store, column) for one in (member, twin))
        differences = [100 * (own[image_id] - other[image_id]) for image_id in own]
        low, high = _bootstrap_interval(differences)
        mean = statistics.fmean(differences)
        verdict = "gained" if low > 0 else "lost" if high < 0 else "neither clearly gained nor lost"
        sentences.append(
            f"{member.name} {verdict} against {twin.name}: {mean:+.1f} CIDEr ({column}), "
            f"95 % interval {low:+.1f} to {high:+.1f} over test images."
        )
    return " ".join(sentences)


def column_scores(
    member: System, column: str, store: Store, metrics: tuple[str, ...]
) -> list[dict[str, dict[str, Any]]]:
    """The scores of each seed in the "greedy" or the "beam" column, as `read_scores` gives them."""
    return [read_scores(Evaluate.of(captions, metrics), store) for captions in member.scored(column)]


def _per_image_cider(member: Member, store: Store, column: str) -> dict[str, float]:
    several = [one["cider"]["per_image"] for one in column_scores(member, column, store, METRICS)]
    return {image_id: statistics.fmean(one[image_id] for one in several) for image_id in several[0]}


def _bootstrap_interval(values: list[float], resamples: int = 2000) -> tuple[float, float]:
    import numpy as np

    generator = np.random.default_rng(0)
    array = np.array(values)
    means = array[generator.integers(len(array), size=(resamples, len(array)))].mean(axis=1)
    low, high = np.percentile(means, [2.5, 97.5])
    return float(low), float(high)
