"""Intervals and tests against what is known: closed forms, exact enumeration, and no effect where none is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError
from distilcap.metrics import Score, create_metric, evaluate
from distilcap.metrics.resampling import intervals, mean_interval
from distilcap.metrics.significance import System, compare_systems, compare_table, holm
from distilcap.metrics.student import half_width

ROUGE = create_metric("rouge_l")


def scored(values: np.ndarray, signature: str = "s", metric: str = "rouge_l") -> Score:
    """A mean metric's score with these values per image."""
    per_image = {str(place): float(value) for place, value in enumerate(values)}
    return Score(metric, float(np.mean(values)), signature, per_image, statistics=values[:, None])


def test_the_interval_of_a_mean_is_the_normal_one() -> None:
    values = np.random.default_rng(1).normal(0.5, 0.2, size=2000)
    low, high = intervals({"rouge_l": scored(values)})["rouge_l"].interval or (0, 0)
    half = 1.96 * values.std(ddof=1) / np.sqrt(2000)
    assert low == pytest.approx(values.mean() - half, abs=half / 15)
    assert high == pytest.approx(values.mean() + half, abs=half / 15)


def test_randomisation_agrees_with_exact_enumeration() -> None:
    generator = np.random.default_rng(3)
    ours, theirs = generator.normal(0.55, 0.1, 9), generator.normal(0.5, 0.1, 9)
    observed = abs((ours - theirs).mean())
    signs = np.array(list(itertools.product([1, -1], repeat=9)))
    exact = np.mean(np.abs((signs * (ours - theirs)).mean(axis=1)) >= observed - 1e-12)
    (found,) = compare_systems([System("b", (scored(theirs),)), System("a", (scored(ours),))], ROUGE)
    assert found.randomisation_p == pytest.approx(exact, abs=0.02)
    assert found.difference == pytest.approx((ours - theirs).mean())


def test_false_alarms_come_as_often_as_promised() -> None:
    generator = np.random.default_rng(5)
    alarms = 0
    for trial in range(200):
        base, other = generator.normal(0.5, 0.2, 80), generator.normal(0.5, 0.2, 80)
        systems = [System("a", (scored(base),)), System("b", (scored(other),))]
        (found,) = compare_systems(systems, ROUGE, resamples=200, seed=trial)
        alarms += found.randomisation_p < 0.05
    assert 2 <= alarms <= 20  # 10 expected


def test_a_clear_difference_is_found_and_an_interval_excludes_zero() -> None:
    generator = np.random.default_rng(7)
    base = generator.normal(0.5, 0.2, 500)
    (found,) = compare_systems(
        [System("a", (scored(base),)), System("b", (scored(base + generator.normal(0.05, 0.1, 500)),))], ROUGE
    )
    assert found.interval[0] > 0
    assert found.bootstrap_p < 0.01
    assert found.randomisation_p < 0.01


def test_corpus_bleu_is_resampled_by_its_sufficient_statistics() -> None:
    references = CaptionSet.of_texts(
        {str(n): [f"a dog runs on grass {n}", "the dog is running"] for n in range(30)}
    )
    candidates = CaptionSet.of_texts(
        {str(n): ["a dog runs on the grass" if n % 3 else "a cat"] for n in range(30)}
    )
    score = intervals(evaluate(candidates, references, ["bleu"]), resamples=1000)["bleu_2"]
    low, high = score.interval or (0, 0)
    assert low < score.value < high

    # By hand: draw images with replacement and score the drawn corpus anew.
    generator, redone = np.random.default_rng(0), []
    for _ in range(60):
        drawn = generator.integers(30, size=30)
        again = {str(place): [candidates.texts(str(n))[0]] for place, n in enumerate(drawn)}
        known = {str(place): references.texts(str(n)) for place, n in enumerate(drawn)}
        scores = evaluate(CaptionSet.of_texts(again), CaptionSet.of_texts(known), ["bleu"])
        redone.append(scores["bleu_2"].value)
    assert np.percentile(redone, 5) > low - 0.03
    assert np.percentile(redone, 95) < high + 0.03
    assert np.mean(redone) == pytest.approx((low + high) / 2, abs=0.08)


def test_seeds_are_averaged() -> None:
    generator = np.random.default_rng(9)
    values = generator.normal(0.5, 0.1, (3, 100))
    system = System("a", tuple(scored(one) for one in values))
    assert system.mean == pytest.approx(values.mean())
    assert system.deviation == pytest.approx(values.mean(axis=1).std(ddof=1))
    assert System("b", system.seeds[:1]).deviation is None
    baseline = System("b", (scored(values.mean(axis=0)),))
    (found,) = compare_systems([baseline, system], ROUGE, resamples=200)
    assert found.difference == pytest.approx(0)
    assert found.randomisation_p == 1.0


def test_unequal_numbers_of_seeds_are_exchanged_equally_often() -> None:
    """Means 15 and 14: of 20 equal images, only all or none exchanged differ as much."""
    baseline = System("a", tuple(scored(np.full(20, value)) for value in (0.0, 30.0)))
    system = System("b", (scored(np.full(20, 14.0)),) * 3)
    (found,) = compare_systems([baseline, system], ROUGE)
    assert found.difference == pytest.approx(-1)
    assert found.randomisation_p < 0.01


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_is_its_definition(p_values: list[float]) -> None:
    corrected = holm(p_values)
    order = np.argsort(p_values, kind="stable")
    for rank, place in enumerate(order):
        expected = max(min(1.0, (len(order) - k) * p_values[order[k]]) for k in range(rank + 1))
        assert corrected[place] == pytest.approx(expected)
    assert all(new >= old for new, old in zip(corrected, p_values, strict=True))


def test_what_cannot_be_compared_is_refused() -> None:
    values = np.linspace(0, 1, 10)
    good = System("a", (scored(values),))
    with pytest.raises(ConfigError, match="at least two systems"):
        compare_systems([good], ROUGE)
    with pytest.raises(ConfigError, match="a and b were scored differently and cannot be compared: s and t"):
        compare_systems([good, System("b", (scored(values, "t"),))], ROUGE)
    with pytest.raises(ConfigError, match="scored on different images"):
        compare_systems([good, System("b", (scored(values[:5]),))], ROUGE)
    missing = Score.missing("rouge_l", "s", "no Java")
    with pytest.raises(ConfigError, match=r"b: rouge_l is not available \(no Java\)"):
        compare_systems([good, System("b", (missing,))], ROUGE)


def test_a_table_is_corrected_as_a_whole_and_equals_its_columns_alone() -> None:
    generator = np.random.default_rng(11)
    values = generator.normal(0.5, 0.1, (3, 60))
    systems = [System(name, (scored(one),)) for name, one in zip("abc", values, strict=True)]
    references = CaptionSet.of_texts({str(n): ["a dog runs on grass", "the dog runs"] for n in range(60)})
    bleu = [
        evaluate(CaptionSet.of_texts({str(n): [text if n % k else "a cat"] for n in range(60)}), references)
        for k, text in ((2, "a dog runs on grass"), (3, "the dog runs fast"), (5, "a dog is on grass"))
    ]
    columns = [(ROUGE, systems)]
    for key in ("bleu_2", "bleu_4"):
        several = [System(name, (one[key],)) for name, one in zip("abc", bleu, strict=True)]
        columns.append((create_metric("bleu"), several))
    table = compare_table(columns, resamples=300, seed=4)
    alone = [
        one for metric, several in columns for one in compare_systems(several, metric, resamples=300, seed=4)
    ]
    assert len(table) == 6
    for one, other in zip(table, alone, strict=True):
        assert one.interval == pytest.approx(other.interval)
        assert one.randomisation_p == pytest.approx(other.randomisation_p)
        assert one.bootstrap_p == pytest.approx(other.bootstrap_p)
    assert [one.corrected_p for one in table] == holm([one.randomisation_p for one in alone])


def test_what_is_not_available_has_no_interval() -> None:
    missing = Score.missing("spice", "s", "no Java")
    found = intervals({"rouge_l": scored(np.ones(5)), "spice": missing}, resamples=10)
    assert found["spice"] is missing
    assert found["rouge_l"].interval == (1.0, 1.0)
    assert intervals({"spice": missing})["spice"].interval is None


def test_student_s_t_widens_where_few_show_a_variance() -> None:
    assert half_width([(4.0, 9)]) == pytest.approx(2 * 2.262157)  # of the tables
    assert half_width([(2.0, 9), (2.0, 9), (0.0, 1)]) == pytest.approx(2 * 2.100922)  # 18 degrees of freedom
    assert half_width([(4.0, 9)], 0.995) == pytest.approx(2 * 3.249836)
    assert half_width([(0.0, 9)]) == 0
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
