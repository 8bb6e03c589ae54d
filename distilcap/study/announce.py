"""What a training is going to be and to take, said before it begins."""

from __future__ import annotations

from collections.abc import Sequence

from distilcap.progress import Progress
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.estimate import estimate_plan, facts_of
from distilcap.training.options import TrainingOptions

__all__ = ["announce", "in_words"]


def announce(stages: Sequence[Stage], store: Store, progress: Progress) -> None:
    """Say how each captioner of a plan is going to be trained, and how long all stages are going to take.

    What is complete takes no time; where all trainings are, nothing is said.
    """
    plan = store.plan(stages)
    runs = [planned.stage for planned in plan if isinstance(planned.stage, Train) and not planned.complete]
    if not runs:
        return
    first = runs[0]
    facts = facts_of(first.data, first.features, store, first.vocabulary.min_count)
    seconds = sum(cost.seconds for cost in estimate_plan(plan, facts, store))
    ways = dict.fromkeys(in_words(run.training) for run in runs)
    took = f"{seconds / 60:.0f} minutes" if seconds >= 90 else f"{seconds:.0f} seconds"
    progress.note(
        f"{facts.images['train']:,} training images, {facts.captions:.1f} captions each; words that occur "
        f"{first.vocabulary.min_count} times or more. Training: {'; '.join(ways)}. All that is to be done "
        f"takes {'at most ' if any(run.training.patience for run in runs) else ''}about {took}."
    )


def in_words(options: TrainingOptions) -> str:
    """How long and how a captioner is trained."""
    crossed, critical = options.cross_entropy, options.self_critical
    said = (
        f"{crossed.epochs} epochs of cross-entropy in batches of {options.batch_images} images (learning "
        f"rate {crossed.learning_rate:g}, {crossed.schedule}, label smoothing {crossed.label_smoothing:g}, "
        f"averaging {crossed.weight_averaging:g})"
    )
    if critical.epochs:
        said += f", then {critical.epochs} of self-critical training ({critical.learning_rate:g})"
    if options.patience:
        said += f", fewer where {options.patience} validations in a row are no better"
    return said
