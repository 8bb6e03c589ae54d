"""Tables that are not the paper's: ways of distilling, what it is worth, and the options of all tables."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from distilcap.errors import ConfigError
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.label import Generate, GenerateTogether
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.extra import extra_table
from distilcap.study.options import TableOptions
from distilcap.study.presets import table_preset
from distilcap.study.rows import Students
from distilcap.study.schedules import schedules
from distilcap.study.tables import Table, _compared, finished, members_of, with_strongest_controls
from distilcap.study.worth import worth_table

NOWHERE = Store(Path("nowhere"))


def students_of(preset: str, seeds: int = 3) -> Students:
    """Of no real data: enough to look at rows and keys."""
    data = ImportData("0", "data", "nowhere", None)
    features = ExtractFeatures(data, "{}", None, "efficientnet-lite0", None, "random", "grid")
    return Students(data, features, table_preset(preset), tuple(range(seeds)))


def test_extra_changes_nothing_but_what_is_learnt_from() -> None:
    rows = extra_table(students_of("quick")).rows
    small = [row.member.trains[0] for row in rows if row.member.size == "small"]
    assert len({(train.options, train.training) for train in small}) == 1
    assert len({train.key for train in small}) == len(small) == 13


def test_the_largest_teacher_is_all_big_captioners_of_both_families() -> None:
    """With one seed these are the two teachers, which have a row."""
    name = "updown-small, top 1 of all teachers"
    for preset in ("flickr8k", "quick"):
        rows = {row.member.name: row.member for row in extra_table(students_of(preset)).rows}
        for train in rows[name].trains:
            assert isinstance(train.labels, GenerateTogether)
            together = [(one.architecture, one.training.seed) for one in train.labels.captioners]
            assert together == [(family, seed) for family in ("updown", "aoanet") for seed in (0, 1, 2)]
    assert name not in {row.member.name for row in extra_table(students_of("quick", 1)).rows}


def test_an_ensemble_is_no_teacher_of_the_others_name() -> None:
    """Contrasts let the luck of one teacher cancel out between its students: these must have the same."""
    taught_by: dict[str | None, set[frozenset[str]]] = {}
    for row in extra_table(students_of("flickr8k")).rows:
        if row.member.role == "distilled":
            (train, *_) = row.member.trains
            needed = NOWHERE.plan([one for one in (train.labels, train.token_teacher) if one is not None])
            runs = frozenset(one.stage.key for one in needed if isinstance(one.stage, Train))
            taught_by.setdefault(row.member.teacher, set()).add(runs)
    assert len(taught_by) == 4
    assert all(len(runs) == 1 for runs in taught_by.values())


def test_seconds_of_labelling_are_the_mean_over_seeds() -> None:
    class Timed(Store):
        def seconds(self, stage: Stage) -> float:
            assert isinstance(stage, Generate)
            return 10.0 * stage.captioner.training.seed

    table = extra_table(students_of("flickr8k"))
    shown = _compared(Table("extra", "Ways", table.rows[3:4]), Timed(Path("nowhere")), ())
    assert shown.rows[0].labelling_seconds == 10.0


@pytest.mark.parametrize("preset", ["flickr8k", "quick"])
def test_the_best_ways_take_more_seeds_and_so_does_what_they_are_compared_with(preset: str) -> None:
    few = students_of(preset, 1)
    options = TableOptions(preset=preset, seeds=1, more_seeds=3, more_for="5 best; top 1 of all teachers")
    table = extra_table(options.students(few.data, few.features))
    seeds = {row.member.name: len(row.member.trains) for row in table.rows if row.member.role != "teacher"}
    several = {"updown-small", "updown-small, 5 best", "updown-small, top 1 of all teachers"}
    assert {name for name, count in seeds.items() if count == 3} == several
    assert {count for name, count in seeds.items() if name not in several} == {1}
    first = {row.member.name: row.member.trains[0].key for row in extra_table(few).rows}
    now = {row.member.name: row.member.trains[0].key for row in table.rows}
    assert first.items() <= now.items()  # nothing is trained anew
    half = TableOptions(preset=preset, seeds=1, more_seeds=2, more_for="half of the captions")
    for row in extra_table(half.students(few.data, few.features)).rows:
        if row.member.role != "teacher":
            assert len(row.member.trains) == (2 if "half of the captions" in row.member.name else 1)


def test_more_seeds_that_say_nothing_are_refused() -> None:
    few = students_of("quick", 1)

    def refused(**options: Any) -> str:
        with pytest.raises(ConfigError) as error:
            extra_table(TableOptions(preset="quick", seeds=1, **options).students(few.data, few.features))
        return str(error.value)

    assert "go together" in refused(more_seeds=3)
    assert "go together" in refused(more_for="5 best")
    assert "must name ways of `extra` (top 1; 5 best; " in refused(more_seeds=3, more_for="6 best")
    with pytest.raises(ConfigError, match="must be above `seeds`, 3, but is 2"):
        TableOptions(more_seeds=2, more_for="5 best").students(few.data, few.features)


def test_metrics_are_named_with_spaces_or_not_but_one_at_least() -> None:
    assert TableOptions(metrics=" cider, rouge_l,,cider").metric_names == ("cider", "rouge_l")
    with pytest.raises(ConfigError, match="`metrics` must name at least one metric"):
        TableOptions(metrics=" , ").metric_names  # noqa: B018


def test_the_strongest_control_has_all_but_the_teacher() -> None:
    teacher, undistilled, control, distilled, rewarded = (
        row.member for row in worth_table(students_of("flickr8k")).rows
    )
    for plain, then in ((undistilled, control), (distilled, rewarded)):
        assert [train.start for train in then.trains] == list(plain.trains)
        for train in (*plain.trains, *then.trains):
            phases = train.training.cross_entropy.epochs, train.training.self_critical.epochs
            assert phases == ((0, 5) if train.start else (10, 0))
    for own, taught in zip(undistilled.trains, distilled.trains, strict=True):
        assert isinstance(taught.labels, Generate)
        assert taught.labels.n_best == 5
        assert taught.labels.captioner in teacher.trains
        assert dataclasses.replace(taught, labels=None) == own
    baselines = [row.baseline for row in worth_table(students_of("flickr8k")).rows]
    assert baselines == [None, None, undistilled.name, None, None]  # of distilled ones the scores decide
    with pytest.raises(ConfigError, match="Preset quick trains students without a self-critical phase"):
        worth_table(students_of("quick"))


@pytest.mark.parametrize("rewarded", [0.4, 0.6])
def test_the_strongest_control_is_the_one_that_scores_best(
    rewarded: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    def summary(train: Train, store: Store) -> dict[str, float]:
        return {"best_validation_cider": rewarded if train.start else 0.5}

    monkeypatch.setattr(Train, "summary", summary)
    table = worth_table(students_of("flickr8k"))
    chosen, said = with_strongest_controls(table, NOWHERE)
    plain, control = (row.member.name for row in table.rows[1:3])
    best, other = (control, plain) if rewarded > 0.5 else (plain, control)
    assert [row.baseline for row in chosen.rows] == [None, None, plain, best, best]
    scores = f"{best}: {100 * max(rewarded, 0.5):.1f}, {other}: {100 * min(rewarded, 0.5):.1f}"
    assert said == [f"Strongest without a teacher, by greedy CIDEr on validation: {best} ({scores})."]

    def has(store: Store, stage: Stage, whole: bool = False) -> bool:
        return not (isinstance(stage, Generate) and getattr(stage.captioner, "start", None))

    monkeypatch.setattr(Store, "has", has)
    (kept,), _ = finished([table], NOWHERE)
    assert [row.member.name for row in kept.rows[1:]] == [plain, table.rows[3].member.name]
    assert not any(row.controls for row in kept.rows)  # the one that is missing may be the strongest


def test_a_schedule_tells_what_a_run_began_from() -> None:
    (_, alone, then) = schedules(members_of([worth_table(students_of("flickr8k"))]))
    assert alone == (
        "updown 256 wide: 10 epochs of cross-entropy, 0 of self-critical training, 16 images a step"
    )
    assert then == f"{alone}, then 5 epochs of self-critical training, 16 images a step"
