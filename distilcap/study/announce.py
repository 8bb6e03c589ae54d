"""What a training is going to be and to take, said before it begins."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from distilcap.progress import Progress
from distilcap.shown import counted
from distilcap.stages.pretrained import LabelWithPretrained
from distilcap.stages.train import Train
from distilcap.store.stage import Stage
from distilcap.store.store import Store
from distilcap.study.estimate import estimate_plan, facts_of_run
from distilcap.training.options import TrainingOptions

__all__ = ["announce", "at_most", "in_words"]


def announce(stages: Sequence[Stage], store: Store, progress: Progress) -> None:
    """Say how each captioner of a plan is going to be trained, and how long all stages are going to take.

    What is complete takes no time; where all trainings are, nothing is said. Of somebody else's model no
    speed is known: it is named instead.
    """
    plan = store.plan(stages)
    missing = [planned.stage for planned in plan if planned.to_do]
    runs = [stage for stage in missing if isinstance(stage, Train)]
    if not runs:
        return
    # Who learns a teacher's captions may see images that have none of their own.
    first = next((run for run in runs if run.labels is not None), runs[0])
    facts = facts_of_run(first, store)
    seconds = sum(cost.seconds for cost in estimate_plan(plan, facts, store))
    ways = dict.fromkeys(in_words(run.training) for run in runs)
    images, each = counted(facts.captioned, "training image"), round(facts.captions, 1)
    others = f", and {facts.uncaptioned:,} without captions" if facts.uncaptioned else ""
    often = counted(first.vocabulary.min_count, "time")
    took = counted(round(seconds / 60), "minute") if seconds >= 90 else counted(round(seconds), "second")
    models = dict.fromkeys(stage.model for stage in missing if isinstance(stage, LabelWithPretrained))
    without = f", without labelling by {' and '.join(models)}, whose speed is not known" if models else ""
    progress.note(
        f"{images}, {each:g} caption{'s' * (each != 1)} each{others}; words that occur {often} or more. "
        f"Training: {'; '.join(ways)}. All that is to be done takes "
        f"{at_most(runs)}about {took}{without}."
    )


def at_most(stages: Iterable[Stage]) -> str:
    """ "at most " where a run may end before its time or need not be trained, else empty."""
    runs = (stage for stage in stages if isinstance(stage, Train))
    return "at most " if any(run.training.patience or run.stays_with for run in runs) else ""


def in_words(options: TrainingOptions) -> str:
    """How long and how a captioner is trained."""
    crossed, critical = options.cross_entropy, options.self_critical
    said = (
        f"{counted(crossed.epochs, 'epoch')} of cross-entropy in batches of "
        f"{counted(options.batch_images, 'image')} (learning rate {crossed.learning_rate:g}, "
        f"{crossed.schedule}, label smoothing {crossed.label_smoothing:g}, averaging "
        f"{crossed.weight_averaging:.3g})"
    )
    if options.start_share:
        said += f", {options.start_share:.0%} of what it begins from kept"
    if critical.epochs:
        said += f", then {critical.epochs} of self-critical training ({critical.learning_rate:g})"
    if options.patience:
        said += f", fewer where {options.patience} validations in a row are no better"
    return said
