"""Intervals and tests against what is known: closed forms, exact enumeration, and no effect where none is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import distilcap
from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError
from distilcap.metrics import Score, create_metric, evaluate
from distilcap.metrics.resampling import FEW_IMAGES, intervals, mean_interval
from distilcap.metrics.significance import System, compare_systems, compare_table, holm
from distilcap.metrics.student import T_975, half_width

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


def corpus(images: int) -> tuple[CaptionSet, CaptionSet, CaptionSet]:
    """References, and the captions of two systems."""
    references = {str(n): [f"a dog runs on grass {n}", "the dog is running"] for n in range(images)}
    good = {id: ["a dog runs on the grass" if int(id) % 3 else "the dog runs"] for id in references}
    bad = {id: ["a dog on a grass" if int(id) % 2 else "a cat runs"] for id in references}
    first, *others = (CaptionSet.of_texts(texts) for texts in (references, good, bad))
    return first, others[0], others[1]


def test_one_image_gives_neither_interval_nor_p() -> None:
    references, good, bad = corpus(1)
    scores = intervals(evaluate(good, references, ["bleu", "rouge_l"]))
    assert {score.interval for score in scores.values()} == {None}
    systems = [System(name, (scored(np.array([value])),)) for name, value in (("b", 0.4), ("a", 0.5))]
    (found,) = compare_systems(systems, ROUGE)
    assert found.difference == pytest.approx(0.1)
    assert (found.interval, found.bootstrap_p, found.randomisation_p, found.corrected_p) == (None,) * 4
    assert distilcap.evaluate(good, references, metrics="rouge_l")["rouge_l"].interval is None
    assert distilcap.compare(good, bad, references, metrics="bleu")["bleu_1"].bootstrap_p is None


def test_the_mean_of_few_images_has_student_s_t() -> None:
    ours, theirs = np.array([[0.5, 0.7, 0.4], [0.4, 0.9, 0.5]]), np.array([0.4, 0.5, 0.4])
    differences = ours.mean(axis=0) - theirs
    half = 4.302653 * differences.std(ddof=1) / 3**0.5
    systems = [System("b", (scored(theirs),)), System("a", tuple(map(scored, ours)))]
    (found,) = compare_systems(systems, ROUGE)
    assert found.interval == pytest.approx((differences.mean() - half, differences.mean() + half))
    assert found.interval == pytest.approx(mean_interval(differences))
    assert found.bootstrap_p is None
    assert found.randomisation_p == pytest.approx(0.25, abs=0.02)  # 2 of 8: all or none exchanged
    alone = intervals({"rouge_l": scored(theirs)})["rouge_l"].interval
    assert alone == pytest.approx(mean_interval(theirs))


def test_bleu_of_few_images_is_scored_again_without_each() -> None:
    """By hand: the jackknife's variance, of corpora that lack an image each, and Student's t."""
    references, *both = corpus(12)
    good, bad = (evaluate(captions, references, ["bleu"])["bleu_4"] for captions in both)

    def half_of(values: list[float]) -> float:
        return 2.200985 * (11 * float(np.var(values))) ** 0.5

    without = [[id for id in references if id != left] for left in references]
    ours, theirs = (
        [evaluate(captions.only(kept), references, ["bleu"])["bleu_4"].value for kept in without]
        for captions in both
    )
    half = half_of(ours)
    found = intervals({"bleu_4": good})["bleu_4"].interval
    assert found == pytest.approx((good.value - half, good.value + half))
    (compared,) = compare_systems([System("b", (bad,)), System("a", (good,))], create_metric("bleu"))
    half = half_of([one - other for one, other in zip(ours, theirs, strict=True)])
    assert compared.interval == pytest.approx((compared.difference - half, compared.difference + half))
    assert compared.bootstrap_p is None


def test_from_thirty_images_on_an_interval_is_percentiles_of_drawn_images() -> None:
    values = np.random.default_rng(2).normal(0.5, 0.2, 30)
    drawn = np.random.default_rng(4).integers(30, size=(200, 30), dtype=np.int32)
    expected = np.percentile(values[drawn].mean(axis=1), [2.5, 97.5])
    found = intervals({"rouge_l": scored(values)}, resamples=200, seed=4)["rouge_l"].interval
    assert found == pytest.approx(tuple(expected))
    assert mean_interval(values, resamples=200, seed=4) == pytest.approx(tuple(expected))


def false_alarms(images: int, differing: int, draws: int = 300) -> float:
    """How often `mean_interval` excludes a true 0, where so many differ on average, in percent."""
    generator, alarms = np.random.default_rng(6), 0
    for _ in range(draws):
        values = generator.laplace(0, 60, images) * (generator.random(images) < differing / images)
        low, high = mean_interval(values, resamples=400)
        alarms += low > 0 or high < 0
    return 100 * alarms / draws


def test_intervals_of_differences_exclude_a_true_0_as_rarely_where_few_of_many_differ() -> None:
    assert max(false_alarms(40, 6), false_alarms(40, 10), false_alarms(100, 8)) < 5
    assert false_alarms(60, 50) < 9  # 5 expected of percentiles, and some more of so few images


def test_where_few_of_many_images_differ_the_interval_is_student_s_t_of_these() -> None:
    differences = np.zeros(40)
    differences[:4] = 0.5, 0.25, 0.5, 0.25
    half = 3.182446 * differences.std(ddof=1) / 40**0.5
    expected = pytest.approx((differences.mean() - half, differences.mean() + half), rel=0.03)
    assert mean_interval(differences) == expected
    values = np.random.default_rng(8).normal(0.5, 0.1, 40)
    systems = [System("b", (scored(values),)), System("a", (scored(values + differences),) * 2)]
    (found,) = compare_systems(systems, ROUGE)
    assert found.interval == expected
    assert found.bootstrap_p is None
    assert found.randomisation_p == pytest.approx(2 / 16, abs=0.02)  # exact
    assert mean_interval(np.zeros(40)) == (0, 0)
    (same,) = compare_systems([systems[0], System("c", (scored(values),))], ROUGE)
    assert same.interval == (0, 0)


def test_the_table_of_student_s_t_is_that_of_the_distribution() -> None:
    assert len(T_975) == FEW_IMAGES - 2
    for degrees, quantile in enumerate(T_975, 1):
        assert quantile == pytest.approx(half_width([(1.0, degrees)]), abs=1e-6)


def test_student_s_t_widens_where_few_show_a_variance() -> None:
    assert half_width([(4.0, 9)]) == pytest.approx(2 * 2.262157)  # of the tables
    assert half_width([(2.0, 9), (2.0, 9), (0.0, 1)]) == pytest.approx(2 * 2.100922)  # 18 degrees of freedom
    assert half_width([(4.0, 9)], 0.995) == pytest.approx(2 * 3.249836)
    assert half_width([(0.0, 9)]) == 0
    low, high = mean_interval([1.0, 2.0, 3.0])
    assert (low, high) == pytest.approx((2 - 4.302653 / 3**0.5, 2 + 4.302653 / 3**0.5))
