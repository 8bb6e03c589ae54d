"""What a run was taught by, the runs that it began from included, and what that took."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from distilcap.reports.results import Member, all_labels, whole_training
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store

__all__ = ["labelling_seconds", "own_teachers", "teacher_key", "teacher_seconds"]


def teacher_key(train: Train) -> tuple[str, ...]:
    """What a student's captions and distributions came from."""
    return tuple(stage.key for stage in _taught_by(train))


def _taught_by(train: Train) -> list[Stage]:
    """Labels and teachers of tokens of the run and of those that it began from, each once."""
    given = (stage for run in whole_training(train) for stage in (run.labels, run.token_teacher))
    return list(dict.fromkeys(stage for stage in given if stage is not None))


def own_teachers(trains: Sequence[Train]) -> bool:
    """Whether each of a row's seeds had teachers that no other had."""
    if len({teacher_key(train) for train in trains}) < len(trains):
        return False
    runs = [_teacher_runs(train) for train in trains]
    return len(set().union(*runs)) == sum(map(len, runs))


def _teacher_runs(train: Train) -> set[str]:
    """Keys of the runs that captioned, alone or together, for a run and those that it began from."""
    made = [one for stage in _taught_by(train) for one in (*all_labels(stage), stage)]
    given = [one for stage in made for one in (stage, *stage.inputs()) if isinstance(one, Train)]
    return {run.key for run in given}


def labelling_seconds(train: Train, store: Store) -> float:
    """Of all labels and of others that they were made from; the teachers' training is not counted."""
    labels = dict.fromkeys(label for stage in _taught_by(train) for label in all_labels(stage))
    return sum(map(store.seconds, labels))


def teacher_seconds(member: Member, store: Store) -> float | None:
    """Of training what its captions or distributions came from, in the mean over seeds; None where nothing
    did, or where a run is not there, as in a pack of some rows."""
    seconds = []
    for train in member.trains:
        runs = [one.stage for one in store.plan(_taught_by(train)) if isinstance(one.stage, Train)]
        if not runs or not all(store.has(run) for run in runs):
            return None
        seconds.append(sum(run.summary(store)["train_seconds"] for run in runs))
    return round(fmean(seconds), 1)
