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
            f"95 % interval {low:+.1f} to {high:+.1f} over {only}test images{tail}."
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
        others: those that took least to make come first, and are taken where the student is no better.
    """
    clauses: list[str] = []
    equal: list[str] = []
    best: System = student
    clear, most = True, 0.0
    for other in others:
        differences = _cider_differences(student, other, store, column)
        if not differences:
            names = ", ".join(f"'{each.name}'" for each in (student, *others))
            return Advice(
                f"Which of {names} to take cannot be told: CIDEr needs two test images with captions.",
                student,
            )
        low, high = mean_interval(differences)
        mean, same = statistics.fmean(differences), not any(differences)
        if same:
            equal.append(f"'{other.name}'")
        else:
            interval = f"95 % interval {low:+.1f} to {high:+.1f}"
            clauses.append(f"{mean:+.1f} CIDEr ({column}) against '{other.name}', {interval}")
        few = len(differences) < _LEAST_IMAGES
        if few:
            best = other if same and best is student else best
        elif -mean > most or (best is student and mean == 0):
            best, clear, most = other, same or high < 0, -mean
        elif best is student:
            clear = clear and low > 0
    if equal:
        them = "them" if len(equal) > 1 else "that"
        names = " and ".join(equal)
        clauses.append(f"the same score on every image as {names}, so it learnt nothing beyond {them}")
    if not clauses:
        return None
    count = len(differences)
    on = f"On only {count}" if count < FEW_IMAGES else f"On your {count:,}"
    doubt = "" if clear else "nothing is clearly better; "
    verdict = _TOO_FEW if few and best is student else f"{doubt}take '{best.name}'"
    return Advice(f"{on} test images, '{student.name}' has {'; '.join(clauses)}: {verdict}.", best)


def _cider_differences(first: System, second: System, store: Store, column: str) -> list[float]:
    """First less second of each test image, times 100; empty for a single image, which has no CIDEr."""
    own, other = (_per_image_cider(each, store, column) for each in (first, second))
    # Means over seeds that are equal may differ in their last digit.
    return [round(100 * (own[image_id] - other[image_id]), 9) for image_id in own]


def _per_image_cider(member: System, store: Store, column: str) -> dict[str, float]:
    seeds = [scores["cider"].per_image for scores in column_scores(member, column, store, METRICS)]
    return {image_id: statistics.fmean(seed[image_id] for seed in seeds) for image_id in seeds[0]}
