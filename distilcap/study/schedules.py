"""How long each captioner of a table was trained, in words."""

from __future__ import annotations

from collections.abc import Sequence

from distilcap.reports.results import Member
from distilcap.stages.train import Train

__all__ = ["schedules"]


def schedules(members: Sequence[Member]) -> tuple[str, ...]:
    """How long each kind of captioner was trained: what a score means depends on it."""
    return tuple(dict.fromkeys(_schedule(train) for member in members for train in member.trains))


def _schedule(train: Train) -> str:
    """All phases of a run, with those of the run that it began from."""
    first, second = train.training.cross_entropy.epochs, train.training.self_critical.epochs
    images = f"{train.training.batch_images} images a step"
    if train.start is None:
        return (
            f"{train.architecture} {train.options.hidden} wide: {first} epochs of cross-entropy, {second} of "
            f"self-critical training, {images}"
        )
    phases = {"cross-entropy": first, "self-critical training": second}
    learnt = ", ".join(f"{epochs} epochs of {phase}" for phase, epochs in phases.items() if epochs)
    if isinstance(train.start, Train):
        return f"{_schedule(train.start)}, then {learnt}, {images}"
    return (
        f"{train.architecture} {train.options.hidden} wide: from {train.start.describe()}, {learnt}, {images}"
    )
