"""Verdicts on the paper's three conclusions (its section 5), computed from scores by stated rules.

A conclusion is a list of claims, each about contrasts of systems (see `contrasts`), in points of CIDEr (the
score times 100). A claim holds, is refuted, or is open, by its intervals alone:

- "above": holds where the whole interval is above 0, is refuted where it is below.
- "no gain": holds where the interval ends below `MARGIN`, is refuted where it begins above 0.
- "equal": holds where the interval lies within `MARGIN` of 0, is refuted where it lies on one side of 0.
- "differ": holds where any of several intervals excludes 0, is refuted where all lie within `MARGIN` of 0.

A conclusion is confirmed if all its claims hold, not confirmed if one is refuted, and else not decided.
Intervals are 95 % over images and seeds, widened for the number of estimates that a conclusion looks at
(Bonferroni), so that chance refutes a true conclusion one time in 20 at most. With one run of each system
the noise of seeds is unknown and nothing is decided. An open claim says how many seeds would decide it, if
its value and the spreads stayed as they were measured: the fewest with which its interval leaves the rule no
choice.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence

from distilcap.reports.records import Claim, Conclusion
from distilcap.study.contrasts import MOST_SEEDS, Contrasts, Estimate, Scored

__all__ = ["CONCLUSIONS", "MARGIN", "Claim", "Conclusion", "judge"]

MARGIN = 1.0
"""Points of CIDEr that count as no difference: the spread that the paper's own beam sizes have."""

HOLDS, REFUTED, OPEN = "holds", "refuted", "open"
CONFIRMED, NOT_CONFIRMED, NOT_DECIDED = "confirmed", "not confirmed", "not decided at this noise"

QUALITY = "The teacher's quality decides, not its architecture or size."
SIZE = "Small students gain, medium ones do not."
BETTER_MEAN = "Students of the better teacher score above equal students of the worse one, on average."
NO_REVERSAL = "No worse teacher, of whatever architecture or size, makes the better student."
BEAM = "The teacher's beam size matters, unpredictably."


def judge(systems: Sequence[Scored]) -> tuple[Conclusion, ...]:
    """Judge all three conclusions by what was measured; missing systems leave claims open."""
    contrasts = Contrasts(systems)
    return tuple(_conclude(text, rule(systems, contrasts), contrasts) for text, rule in CONCLUSIONS.items())


def _conclude(text: str, claims: list[Claim], contrasts: Contrasts) -> Conclusion:
    outcomes = {claim.outcome for claim in claims}
    if contrasts.seed_deviation is None or not claims:
        verdict = NOT_DECIDED
    elif REFUTED in outcomes:
        verdict = NOT_CONFIRMED
    else:
        verdict = CONFIRMED if outcomes == {HOLDS} else NOT_DECIDED
    return Conclusion(text, verdict, tuple(claims))


def _points(estimate: Estimate) -> str:
    return f"{100 * estimate.value:+.1f} ({100 * estimate.low:+.1f} to {100 * estimate.high:+.1f})"


def _excludes_zero(estimate: Estimate) -> bool:
    return estimate.low > 0 or estimate.high < 0


def _within(estimate: Estimate) -> bool:
    return 100 * estimate.low > -MARGIN and 100 * estimate.high < MARGIN


def _above(estimate: Estimate) -> str:
    return HOLDS if estimate.low > 0 else REFUTED if estimate.high < 0 else OPEN


def _no_gain(estimate: Estimate) -> str:
    return HOLDS if 100 * estimate.high < MARGIN else REFUTED if estimate.low > 0 else OPEN


def _equal(estimate: Estimate) -> str:
    return HOLDS if _within(estimate) else REFUTED if _excludes_zero(estimate) else OPEN


def _not_below(estimate: Estimate) -> str:
    return REFUTED if estimate.high < 0 else HOLDS if 100 * estimate.low > -MARGIN else OPEN


Weights = dict[str, float]


def _claim(
    text: str, rule: Callable[[Estimate], str], weights: Weights, looks: int, contrasts: Contrasts
) -> Claim:
    estimate = contrasts.estimate(weights, looks)
    return Claim(text, rule(estimate), _evidence(rule, weights, looks, contrasts))


def _evidence(rule: Callable[[Estimate], str], weights: Weights, looks: int, contrasts: Contrasts) -> str:
    """The estimate, and where it leaves a claim open, how many seeds would decide it."""
    estimate = contrasts.estimate(weights, looks)
    if rule(estimate) != OPEN or contrasts.seed_deviation is None:
        return _points(estimate)
    seeds = contrasts.seeds_to_decide(weights, looks, lambda foretold: rule(foretold) != OPEN)
    needed = f"about {seeds} seeds" if seeds else f"not even {MOST_SEEDS} seeds"
    return f"{_points(estimate)}; at this spread {needed} would decide it"


def _differ(text: str, named: dict[str, Weights], looks: int, contrasts: Contrasts) -> Claim:
    if not named:
        return Claim(text, OPEN, "not measured: needs tables 1 and 2")
    estimates = {name: contrasts.estimate(weights, looks) for name, weights in named.items()}
    clear = {name: estimate for name, estimate in estimates.items() if _excludes_zero(estimate)}
    outcome = HOLDS if clear else REFUTED if all(map(_within, estimates.values())) else OPEN
    largest = max(clear or estimates, key=lambda name: abs(estimates[name].value))
    evidence = _evidence(_equal, named[largest], looks, contrasts)
    return Claim(text, outcome, f"largest of {len(named)}: {largest} {evidence}")


def _pairs(systems: Sequence[Scored]) -> Iterable[tuple[Scored, Scored]]:
    """Pairs of equal students with labels of one beam size, by different teachers."""
    for first, second in itertools.combinations([system for system in systems if system.teacher], 2):
        same = (first.architecture, first.size, first.label_beam) == (
            second.architecture,
            second.size,
            second.label_beam,
        )
        if same and first.label_beam is not None and first.teacher != second.teacher:
            yield first, second


def _teacher_quality(systems: Sequence[Scored], contrasts: Contrasts) -> list[Claim]:
    names = {system.name: system for system in systems}
    pairs = [
        (first, second)
        for first, second in _pairs(systems)
        if first.teacher in names and second.teacher in names
    ]
    if not pairs:
        return [Claim("Better teachers make better students.", OPEN, "not measured: needs table 3 or 4")]
    teachers = {frozenset((str(first.teacher), str(second.teacher))) for first, second in pairs}
    # Counted before any is looked at: the teachers' differences choose the students' that are judged.
    looks = len(teachers) + len(pairs) + 2
    oriented: list[tuple[Scored, Scored]] = []
    for first, second in pairs:
        difference = contrasts.difference(str(first.teacher), str(second.teacher), looks)
        if _excludes_zero(difference):
            oriented.append((first, second) if difference.value > 0 else (second, first))
    if not oriented:
        evidence = _seeds_of_teachers(teachers, looks, contrasts)
        judged = [Claim(text, OPEN, evidence) for text in (BETTER_MEAN, NO_REVERSAL)]
    else:
        judged = [_oriented_mean(oriented, looks, contrasts), _reversals(oriented, looks, contrasts)]
    return [*judged, _own_family(systems, looks, contrasts)]


def _seeds_of_teachers(teachers: Iterable[frozenset[str]], looks: int, contrasts: Contrasts) -> str:
    """How many seeds would tell a pair of teachers apart, and which pair, where none are."""
    text = "the teachers of no pair differ clearly"
    if contrasts.seed_deviation is None:
        return text
    needed = []
    for first, second in sorted(sorted(pair) for pair in teachers):
        seeds = contrasts.seeds_to_decide({first: 1.0, second: -1.0}, looks, _excludes_zero)
        needed += [(seeds, first, second)] if seeds else []
    if not needed:
        return f"{text}; at this spread not even {MOST_SEEDS} seeds would tell a pair apart"
    seeds, first, second = min(needed)
    return f"{text}; at this spread about {seeds} seeds would tell {first} and {second} apart"


def _oriented_mean(oriented: list[tuple[Scored, Scored]], looks: int, contrasts: Contrasts) -> Claim:
    weights: dict[str, float] = {}
    for better, worse in oriented:
        weights[better.name] = weights.get(better.name, 0.0) + 1 / len(oriented)
        weights[worse.name] = weights.get(worse.name, 0.0) - 1 / len(oriented)
    return _claim(BETTER_MEAN, _above, weights, looks, contrasts)


def _reversals(oriented: list[tuple[Scored, Scored]], looks: int, contrasts: Contrasts) -> Claim:
    """Where a worse teacher's student is better, something else than quality decides."""
    weights = {
        f"{better.name} less {worse.name}": {better.name: 1.0, worse.name: -1.0} for better, worse in oriented
    }
    estimates = {name: contrasts.estimate(contrast, looks) for name, contrast in weights.items()}
    lowest = min(estimates, key=lambda name: estimates[name].value)
    outcomes = {_not_below(estimate) for estimate in estimates.values()}
    outcome = REFUTED if REFUTED in outcomes else OPEN if OPEN in outcomes else HOLDS
    evidence = _evidence(_not_below, weights[lowest], looks, contrasts)
    return Claim(NO_REVERSAL, outcome, f"lowest of {len(estimates)}: {lowest} {evidence}")


def _own_family(systems: Sequence[Scored], looks: int, contrasts: Contrasts) -> Claim:
    """Interaction of student's and teacher's family, in which the quality of both teachers cancels out."""
    text = "At equal quality, a teacher of the student's own architecture is no better and no worse."
    teachers = {system.name: system for system in systems}
    cells: dict[tuple[str, int], dict[tuple[str, str], Scored]] = {}
    for taught in systems:
        teacher = teachers.get(taught.teacher or "")
        if teacher is not None and teacher.size == "big" and taught.label_beam is not None:
            cell = cells.setdefault((taught.size, taught.label_beam), {})
            cell[taught.architecture, teacher.architecture] = taught
    complete = [cell for cell in cells.values() if len(cell) == 4]
    if not complete:
        return Claim(text, OPEN, "not measured: needs table 3 with both families")
    weights = {
        system.name: (0.5 if student == teacher else -0.5) / len(complete)
        for cell in complete
        for (student, teacher), system in cell.items()
    }
    return _claim(text, _equal, weights, looks, contrasts)


Group = dict[int, Scored]


def _same_family(systems: Sequence[Scored]) -> dict[tuple[str, str], Group]:
    """Students of the big captioner of their own family, by architecture and size, then by beam size."""
    names = {system.name: system for system in systems}
    groups: dict[tuple[str, str], Group] = {}
    for student in systems:
        teacher = names.get(student.teacher or "")
        if teacher is None or student.label_beam is None:
            continue
        if (teacher.architecture, teacher.size) == (student.architecture, "big"):
            groups.setdefault((student.architecture, student.size), {})[student.label_beam] = student
    return groups


def _student_size(systems: Sequence[Scored], contrasts: Contrasts) -> list[Claim]:
    claims = []
    groups = _same_family(systems)
    undistilled = {
        (system.architecture, system.size): system
        for system in systems
        if not system.teacher and system.size != "big"
    }
    families = tuple(dict.fromkeys(architecture for architecture, _ in groups))
    looks = 3 * len(families)
    for family in families:
        gains = {}
        for size in ("small", "medium"):
            distilled, control = groups.get((family, size)), undistilled.get((family, size))
            if distilled and control:
                mean = {system.name: 1 / len(distilled) for system in distilled.values()}
                gains[size] = mean | {control.name: -1.0}
        judged: list[tuple[str, Callable[[Estimate], str], Weights]] = []
        if "small" in gains:
            judged.append(("the small student gains (mean over beam sizes)", _above, gains["small"]))
        if "medium" in gains:
            judged.append(
                ("the medium student does not gain (mean over beam sizes)", _no_gain, gains["medium"])
            )
        if len(gains) == 2:
            less = {name: -weight for name, weight in gains["medium"].items()}
            judged.append(("the small student gains more than the medium one", _above, gains["small"] | less))
        claims += [
            _claim(f"{family}: {text}.", rule, weights, looks, contrasts) for text, rule, weights in judged
        ]
    if len(claims) < 3:
        claims.append(
            Claim("Small students gain, medium ones do not.", OPEN, "not measured: needs table 1 or 2")
        )
    return claims


def _beam_size(systems: Sequence[Scored], contrasts: Contrasts) -> list[Claim]:
    groups = {group: by_beam for group, by_beam in _same_family(systems).items() if len(by_beam) > 1}
    effects = {
        (group, low, high): {by_beam[high].name: 1.0, by_beam[low].name: -1.0}
        for group, by_beam in groups.items()
        for low, high in itertools.combinations(sorted(by_beam), 2)
    }
    crossed = {
        f"beam {high} less {low}, {' '.join(group)} against {' '.join(other)}": weights
        | {name: -weight for name, weight in effects[other, low, high].items()}
        for (group, low, high), weights in effects.items()
        for other in list(groups)[list(groups).index(group) + 1 :]
        if (other, low, high) in effects
    }
    looks = len(effects) + len(crossed)
    matters = {
        f"{' '.join(group)}, beam {high} less {low}": weights
        for (group, low, high), weights in effects.items()
    }
    changes = "The beam size with which the teacher labels changes the student's score."
    varies = "What a beam size does depends on the student, so that no rule predicts it."
    return [
        _differ(changes, matters, looks, contrasts),
        _differ(varies, crossed, looks, contrasts),
    ]


Rule = Callable[[Sequence[Scored], Contrasts], list[Claim]]
CONCLUSIONS: dict[str, Rule] = {QUALITY: _teacher_quality, SIZE: _student_size, BEAM: _beam_size}
