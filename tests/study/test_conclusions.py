"""Contrasts and verdicts on scores whose truth is known."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from distilcap.study.conclusions import judge
from distilcap.study.contrasts import Contrasts, Scored
from distilcap.study.published import TABLE_1, TABLE_2, TABLE_3, TABLE_4

FAMILIES = ("updown", "aoanet")
BEAMS = (1, 3, 5, 10)
QUALITY, SIZE, BEAM = range(3)


def systems_of(
    score: Callable[[str, str, str | None, int | None], float], noise: float = 0.01, seeds: int = 3
) -> list[Scored]:
    """All rows of the four tables with the given CIDEr (0 to 10) by (family, size, teacher, beam)."""
    random = np.random.default_rng(7)
    images = random.gamma(1.0, 1.0, size=800)

    def system(name: str, family: str, size: str, teacher: str | None, beam: int | None) -> Scored:
        own = images - images.mean() + score(family, size, teacher, beam)
        count = 1 if size == "big" else seeds
        drift = random.normal(0, noise / 10, size=(count, 1))
        jitter = random.normal(0, noise, size=(count, len(images)))
        return Scored(
            name, family, size, teacher, beam, own + drift + jitter - jitter.mean(1, keepdims=True) * 0.5
        )

    made = [system(f"{family} big", family, "big", None, None) for family in FAMILIES]
    for family, other in (FAMILIES, FAMILIES[::-1]):
        for size in ("medium", "small"):
            made.append(system(f"{family} {size}", family, size, None, None))
            for beam in BEAMS:
                made.append(system(f"{family} {size} {beam}", family, size, f"{family} big", beam))
            made.append(system(f"{family} {size} from {other}", family, size, f"{other} big", 5))
        for teacher in (f"{family} medium", f"{family} medium 5"):
            made.append(system(f"{family} small from {teacher}", family, "small", teacher, 5))
    return made


def as_the_paper_says(family: str, size: str, teacher: str | None, beam: int | None) -> float:
    """Students follow their teacher's quality, small ones gain; AoANet is the better family."""
    if teacher is None:
        return {"big": 1.1, "medium": 1.0, "small": 0.8}[size] + (0.2 if family == "aoanet" else 0.0)
    its_family, its_size, *its_beam = teacher.split()
    own_teacher = f"{its_family} big" if its_beam else None
    quality = as_the_paper_says(its_family, its_size, own_teacher, int(its_beam[0]) if its_beam else None)
    taught = (0.9 if size == "small" else 0.8) + 0.5 * (quality - 1.0)
    # The best beam differs from student to student.
    return taught + (0.04 if beam == {"small": 3, "medium": 10}[size] else 0.0)


def test_a_world_like_the_papers_confirms_all_three_conclusions() -> None:
    for conclusion in judge(systems_of(as_the_paper_says)):
        assert conclusion.verdict == "confirmed", conclusion
        assert {claim.outcome for claim in conclusion.claims} == {"holds"}


def test_another_world_refutes_them() -> None:
    def contrary(family: str, size: str, teacher: str | None, beam: int | None) -> float:
        if teacher is None:
            return {"big": 1.5, "medium": 1.0, "small": 0.95}[size] + (0.2 if family == "aoanet" else 0.0)
        # Teachers of the own family help; small students lose, medium ones gain; beam size does nothing.
        return (1.3 if teacher.startswith(family) else 1.1) - (0.4 if size == "small" else 0.0)

    assert [one.verdict for one in judge(systems_of(contrary))] == ["not confirmed"] * 3


def test_a_beam_size_that_acts_alike_everywhere_is_predictable() -> None:
    def alike(family: str, size: str, teacher: str | None, beam: int | None) -> float:
        return 1.0 + 0.02 * (beam or 0)

    claims = judge(systems_of(alike, noise=0.003))[BEAM].claims
    assert [claim.outcome for claim in claims] == ["holds", "refuted"]


def test_noise_leaves_everything_open() -> None:
    for conclusion in judge(systems_of(as_the_paper_says, noise=3.0)):
        assert conclusion.verdict == "not decided at this noise"
        assert {claim.outcome for claim in conclusion.claims} <= {"open", "holds"}


def test_one_run_each_decides_nothing() -> None:
    systems = systems_of(as_the_paper_says, seeds=1)
    assert Contrasts(systems).seed_deviation is None
    assert {one.verdict for one in judge(systems)} == {"not decided at this noise"}


def test_what_was_not_measured_is_named() -> None:
    table_1 = [
        one for one in systems_of(as_the_paper_says) if "aoanet" not in one.name and " from " not in one.name
    ]
    quality_, size, beam = judge(table_1)
    assert quality_.claims[0].evidence == "not measured: needs table 3 or 4"
    assert size.verdict == "confirmed"
    assert len(size.claims) == 3
    assert beam.verdict == "confirmed"
    plain = [one for one in table_1 if one.teacher is None]
    assert [one.verdict for one in judge(plain)] == ["not decided at this noise"] * 3
    assert "needs tables 1 and 2" in judge(plain)[BEAM].claims[0].evidence
    assert "needs table 1 or 2" in judge(plain)[SIZE].claims[-1].evidence


def test_a_size_that_decides_against_quality_refutes() -> None:
    def nearer_is_better(family: str, size: str, teacher: str | None, beam: int | None) -> float:
        if teacher and size == "small" and "medium" in teacher:
            return 1.5  # a worse teacher, nearer in size
        return as_the_paper_says(family, size, teacher, beam)

    conclusion = judge(systems_of(nearer_is_better))[QUALITY]
    assert conclusion.verdict == "not confirmed"
    assert [claim.outcome for claim in conclusion.claims][1] == "refuted"


def test_the_papers_own_numbers_without_any_noise() -> None:
    """At face value, its tables say this of its conclusions; the AoANet teacher is the better one."""

    def printed(family: str, size: str, teacher: str | None, beam: int | None) -> float:
        table = TABLE_1 if family == "updown" else TABLE_2
        if size == "big":
            return {"updown": 1.25, "aoanet": 1.35}[family]
        if teacher is None or teacher == f"{family} big":
            return table[size, beam].cider / 100
        if teacher.endswith("big"):
            return TABLE_3[family, size].cider / 100
        return TABLE_4[family, "distilled" if teacher.endswith("5") else "original"].cider / 100

    quality_, size, beam = judge(systems_of(printed, noise=1e-6))
    assert size.verdict == "confirmed"
    assert beam.verdict == "confirmed"
    # Up-Down's distilled medium teacher is worse than the undistilled one (117.6, 119.2), but teaches
    # better (115.5, 114.9): the paper's text passes over it.
    assert [claim.outcome for claim in quality_.claims] == ["holds", "refuted", "holds"]


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    random = np.random.default_rng(3)
    covered = 0
    for _ in range(100):
        shared = random.normal(0, 1, size=150)
        rows = [
            Scored(name, "updown", "small", None, None, (shared + random.normal(0, 0.3, 150) + gain)[None])
            for name, gain in (("a", 0.1), ("b", 0.0))
        ]
        estimate = Contrasts(rows, resamples=300).difference("a", "b")
        covered += estimate.low <= 0.1 <= estimate.high
    assert 89 <= covered <= 99


def test_seeds_that_disagree_widen_the_interval() -> None:
    random = np.random.default_rng(4)
    images = random.normal(1, 0.5, size=400)

    def rows(spread: float) -> list[Scored]:
        drifts = np.array([-1.0, 0.0, 1.0])[:, None] * spread
        return [
            Scored(name, "updown", "small", None, None, images + drifts + random.normal(0, 0.1, (3, 400)))
            for name in "ab"
        ]

    calm, wild = (Contrasts(rows(spread)).difference("a", "b") for spread in (0.0, 0.5))
    assert wild.high - wild.low > 10 * (calm.high - calm.low)
