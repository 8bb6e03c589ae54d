"""What is said of rows in a sentence: how they decode, what distillation gained, and which system to take."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from distilcap.metrics.resampling import FEW_IMAGES, mean_interval
from distilcap.reports.records import Row
from distilcap.reports.results import METRICS, Member, System, column_scores, trained_members
from distilcap.store.store import Store

__all__ = ["Advice", "decoding_sentences", "gain_sentence", "which_to_take"]

_LEAST_IMAGES = 8
"""Differences over fewer are told without a verdict."""
_TOO_FEW = "too few test images to tell"


@dataclass(frozen=True)
class Advice:
    """Which of some systems to take.

    Attributes:
        sentence: that says so.
        take: the system; the student itself where they cannot be compared.
    """

    sentence: str
    take: System


def decoding_sentences(rows: Sequence[Row]) -> list[str]:
    """By what each row's beam search ranks, and a remark wherever beam search does not pay."""
    chosen = [row for row in rows if row.decoding]
    if not chosen:
        return []
    penalties = "; ".join(
        f"{row.name} {', '.join(f'{decoding.length_penalty:g}' for decoding in row.decoding)}"
        for row in chosen
    )
    remarks = [
        f"{row.name}: beam {decoding.beam} is below greedy decoding on validation "
        f"(CIDEr {100 * decoding.cider:.1f} and {100 * decoding.greedy_cider:.1f})."
        for row in chosen
        for decoding in row.decoding
        if decoding.below_greedy
    ]
    rule = "Beam search ranks by log-probability / length^p, p chosen on validation for each run: "
    return [f"{rule}{penalties}.", *remarks]


def gain_sentence(systems: Sequence[System], store: Store, column: str = "beam") -> str:
    """Say whether each distilled student gained over its equal without a teacher, at what noise.

    By the paired difference in CIDEr over test images (`mean_interval`), averaged over seeds.
    """
    members = trained_members(systems)
    undistilled = [member for member in members if member.role == "student"]
    sentences = []
    for member in members:
        baseline = next((other for other in undistilled if _equal_but_undistilled(other, member)), None)
        if member.role != "distilled" or baseline is None:
            continue
        differences = _cider_differences(member, baseline, store, column)
        if not differences:
            sentences.append(
                f"{member.name} cannot be compared with {baseline.name}: CIDEr needs two test images."
            )
            continue
        low, high = mean_interval(differences)
        mean = statistics.fmean(differences)
        verdict = "gained" if low > 0 else "lost" if high < 0 else "neither clearly gained nor lost"
        tail = ""
        if len(differences) < _LEAST_IMAGES:
            verdict, tail = "stands", f": {_TOO_FEW}"
        only = f"only {len(differences)} " if len(differences) < FEW_IMAGES else ""
        sentences.append(
            f"{member.name} {verdict} against {baseline.name}: {mean:+.1f} CIDEr ({column}), "
            f"{_interval(differences)} over {only}test images{tail}."
        )
    return " ".join(sentences)


def _equal_but_undistilled(student: Member, distilled: Member) -> bool:
    families = {run.architecture for member in (student, distilled) for run in member.trains}
    return student.size == distilled.size and len(families) < 2


def which_to_take(
    others: Sequence[System], student: Member, store: Store, column: str = "beam"
) -> Advice | None:
    """Whether to take the student, or another system of the same size: by test images, paired.

    None where there is no other.

    Args:
        others: those that took least to make come first. Of those that are no worse than the student by the
            mean the first is taken, unless a later one is clearly better: their own interval excludes 0.
    """
    behind = {other.name: _cider_differences(student, other, store, column) for other in others}
    if not behind:
        return None
    count = len(next(iter(behind.values())))
    if not count:
        names = ", ".join(f"'{each.name}'" for each in (student, *others))
        return Advice(
            f"Which of {names} to take cannot be told: CIDEr needs two test images with captions.", student
        )
    few = count < _LEAST_IMAGES
    clauses = [_gain(differences, name, column) for name, differences in behind.items() if any(differences)]
    equal = [f"'{name}'" for name, differences in behind.items() if not any(differences)]
    if equal:
        them = "them" if len(equal) > 1 else "that"
        names = " and ".join(equal)
        clauses.append(f"the same score on every image as {names}, so it learnt nothing beyond {them}")
    behind[student.name] = [0.0] * count
    best: System = student
    for other in others:
        lead = _less(behind[best.name], behind[other.name])
        mean = statistics.fmean(lead)
        if best is student:
            best = other if not any(lead) or (mean >= 0 and not few) else best
        elif mean > 0 and not few:
            if any(behind[best.name]):
                clauses.append(f"'{other.name}' has {_gain(lead, best.name, column)}")
            best = other if mean_interval(lead)[0] > 0 else best
    leads = [_less(theirs, behind[best.name]) for theirs in behind.values()]
    clear = few or all(mean_interval(lead)[0] > 0 for lead in leads if any(lead))
    on = f"On only {count}" if count < FEW_IMAGES else f"On your {count:,}"
    doubt = "" if clear else "nothing is clearly better; "
    verdict = _TOO_FEW if few and best is student else f"{doubt}take '{best.name}'"
    return Advice(f"{on} test images, '{student.name}' has {'; '.join(clauses)}: {verdict}.", best)


def _gain(differences: Sequence[float], over: str, column: str) -> str:
    return f"{statistics.fmean(differences):+.1f} CIDEr ({column}) against '{over}', {_interval(differences)}"


def _interval(differences: Sequence[float]) -> str:
    low, high = mean_interval(differences)
    differing = sum(map(bool, differences))
    few = f" (only {differing} differ)" if differing < FEW_IMAGES <= len(differences) else ""
    return f"95 % interval {low:+.1f} to {high:+.1f}{few}"


def _less(first: Sequence[float], second: Sequence[float]) -> list[float]:
    return [round(one - other, 9) for one, other in zip(first, second, strict=True)]


def _cider_differences(first: System, second: System, store: Store, column: str) -> list[float]:
    """First less second of each test image, times 100; empty for a single image, which has no CIDEr."""
    own, other = (_per_image_cider(each, store, column) for each in (first, second))
    # Means over seeds that are equal may differ in their last digit.
    return [round(100 * (own[image_id] - other[image_id]), 9) for image_id in own]


def _per_image_cider(member: System, store: Store, column: str) -> dict[str, float]:
    seeds = [scores["cider"].per_image for scores in column_scores(member, column, store, METRICS)]
    return {image_id: statistics.fmean(seed[image_id] for seed in seeds) for image_id in seeds[0]}
