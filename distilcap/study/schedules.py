"""How long each captioner of a table was trained, in words, and whether that was its end."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from distilcap.files import read_json
from distilcap.reports.results import Member
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.training.loop import LOG

__all__ = ["curve_ends", "schedules"]


def schedules(members: Sequence[Member]) -> tuple[str, ...]:
    """How long each kind of captioner was trained: what a score means depends on it."""
    return tuple(dict.fromkeys(_schedule(train) for member in members for train in member.trains))


def curve_ends(members: Sequence[Member], store: Store) -> str:
    """By role and size, how far validation rose in the last epoch: a curve that rises is not at its end.

    Empty where no run was validated twice.
    """
    steps: dict[str, list[float]] = {}
    for member in members:
        role = {"student": "undistilled"}.get(member.role, member.role)
        for train in member.trains:
            log = read_json(store.path(train) / LOG)
            curve = [100 * epoch["validation_cider"] for epoch in log if "validation_cider" in epoch]
            if len(curve) > 1:
                steps.setdefault(f"{role} {member.size}", []).append(curve[-1] - max(curve[:-1]))
    said = "; ".join(
        f"{name} {fmean(some):+.1f} (best in its last epoch: {sum(step > 0 for step in some)} of {len(some)})"
        for name, some in steps.items()
    )
    return said and f"Validation CIDEr of the last epoch less the best before it, mean over runs: {said}."


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
