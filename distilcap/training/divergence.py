"""When a loss says that training diverged, and what is to blame: a weight, an image, or the learning rate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from torch import nn

from distilcap.errors import TrainingError
from distilcap.models.captioner import Captioner
from distilcap.models.finite import broken_images, broken_weight
from distilcap.shapes import Regions
from distilcap.shown import some
from distilcap.training.checkpoint import Position
from distilcap.training.options import LEARNT_NOTHING, CrossEntropyPhase, SelfCriticalPhase

__all__ = ["check_loss", "check_weights", "fallen"]

FALLEN, FALLEN_FROM_START = 0.9, 0.5  # where what training began from is kept
"""Share of the best validation below which the last one of a phase is told of."""


def check_loss(
    loss: float,
    phase: CrossEntropyPhase | SelfCriticalPhase,
    position: Position,
    captioner: Captioner,
    source: object,
    regions: Regions,
    ids: Sequence[str],
    folder: Path,
) -> None:
    """Raise where a loss is not finite or, in cross-entropy, far above a uniform guess.

    Args:
        position: of the step.
        source: of the regions; blamed where it is a network that is trained along.
        regions, ids: of the batch.
        folder: where the best weights are kept.

    Raises:
        TrainingError: says which weight or image is broken, and what to do.
    """
    too_high = isinstance(phase, CrossEntropyPhase) and loss > 3 * math.log(captioner.vocabulary_size)
    if math.isfinite(loss) and not too_high:
        return
    where = f"epoch {position.epoch + 1}, batch {position.batch + 1}"
    kept = _kept(position, folder)
    lower = f"a lower `{_rate(position)}` than {phase.learning_rate:g} is the usual fix. {kept}"
    if math.isfinite(loss):
        raise TrainingError(f"Training diverged at {where}: the loss is {loss:.3g}; {lower}")
    # Weights first: those of an encoder that is trained along spoil the features.
    weight = broken_weight(captioner)
    if weight is None and isinstance(source, nn.Module):
        weight = broken_weight(source)
    if weight is not None and position.step == 0:
        raise TrainingError(
            f"The weight `{weight}` held NaN or infinity before the first step at {where}: the weights "
            f"that training began from are damaged. {kept}"
        )
    if weight is None and (images := broken_images(regions, ids)):
        raise TrainingError(
            f"The loss is {loss:.3g} at {where}, since the features of image {some(images)} "
            f"hold NaN or infinity; extract them again. {kept}"
        )
    became = f", and the weight `{weight}` is not finite" if weight else ""
    raise TrainingError(f"Training diverged at {where}: the loss is {loss:.3g}{became}; {lower}")


def check_weights(captioner: Captioner, position: Position, folder: Path) -> None:
    """Raise `TrainingError` where a weight is NaN or infinite, before a captioner is validated."""
    if weight := broken_weight(captioner):
        raise TrainingError(
            f"Training diverged in epoch {position.epoch}: the weight `{weight}` holds NaN or "
            f"infinity; a lower `{_rate(position)}` is the usual fix. {_kept(position, folder)}"
        )


def fallen(phase: CrossEntropyPhase | SelfCriticalPhase, position: Position) -> str:
    """What to tell at a phase's end where its last validation is far below the best; else empty.

    Where what training began from is kept, only a fall below half of it: epochs that are no better are
    usual there, and told at the end.
    """
    validated = [record for record in position.history if "validation_cider" in record]
    best = position.best_score
    if (
        not validated
        or best < LEARNT_NOTHING
        or (last := validated[-1]["validation_cider"])
        >= (FALLEN_FROM_START if position.start_scores else FALLEN) * best
    ):
        return ""
    kept = next((one for one in reversed(validated) if one["validation_cider"] == round(best, 6)), None)
    when = f"{kept['phase'].replace('_', '-')}, epoch {kept['epoch']}" if kept else "before training"
    flag = f"--{_rate(position).replace('_', '-')}"
    return (
        f"Validation CIDEr fell from {100 * best:.1f} ({when}) to {100 * last:.1f}; the weights of then are "
        f"kept. Next step: a lower `{flag}` than {phase.learning_rate:g} is the usual fix."
    )


def _rate(position: Position) -> str:
    """The option that is the learning rate of the phase."""
    return "scst_learning_rate" if position.phase else "learning_rate"


def _kept(position: Position, folder: Path) -> str:
    if position.best_phase < 0:
        return "No epoch was finished before."
    return f"The best weights so far (CIDEr {100 * position.best_score:.1f}) are kept in {folder}."
