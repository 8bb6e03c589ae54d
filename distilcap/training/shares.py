"""A batch, or a split, shared by the processes of a launch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from distilcap.data.captions import Caption, CaptionSet
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import RegionSource, caption_images
from distilcap.models.captioner import Captioner
from distilcap.progress import SILENT, Progress
from distilcap.tensors import digest_of
from distilcap.text.vocabulary import Vocabulary
from distilcap.training.processes import Processes

__all__ = ["BatchShare", "caption_together", "forget_logs", "share_of_batch"]


@dataclass(frozen=True)
class BatchShare:
    """A process's part of a step.

    Attributes:
        loss: to differentiate; the processes' gradients add up to the whole batch's.
        whole: the loss of the whole batch.
        figures: of the whole batch.
    """

    loss: Tensor
    whole: float
    figures: dict[str, float]


def share_of_batch(
    processes: Processes, loss: Tensor, figures: Mapping[str, Tensor], words: float, images: int
) -> BatchShare:
    """Weigh a process's own loss by its share of the whole batch.

    Losses are means over the batch's words, so processes count by their words, not alike; rewards are means
    over images.

    Args:
        loss: mean over this process's words.
        words: of this process that the mean is over; 0 leaves it out.
        images: of this process.
    """
    all_figures = [figure.to(loss.device) for figure in (loss.detach(), *figures.values())]
    whole, *values = torch.stack(all_figures).tolist()  # a step waits for a GPU here
    if processes.count == 1:
        return BatchShare(loss, whole, dict(zip(figures, values, strict=True)))
    weights = [float(images) if name == "reward" else words for name in figures]
    own = [weight * value for weight, value in zip(weights, values, strict=True)]
    message = torch.tensor([words, images, words * whole, *own], dtype=torch.float64)
    all_words, all_images, whole, *sums = processes.total(message.to(processes.device)).tolist()
    totals = [all_images if name == "reward" else all_words for name in figures]
    means = {name: value / total for name, value, total in zip(figures, sums, totals, strict=True)}
    return BatchShare(loss * (words / all_words), whole / all_words, means)


def caption_together(
    processes: Processes,
    captioner: Captioner,
    vocabulary: Vocabulary,
    source: RegionSource,
    ids: Sequence[str],
    options: BeamSearch,
    *,
    n_best: int = 1,
    progress: Progress = SILENT,
    description: str = "Captioning",
    log: Path | None = None,
) -> CaptionSet:
    """`caption_images`, each process captioning its share; all get the captions of all images.

    Args:
        log: folder in which each process keeps what it has done, so that a killed job of the same weights
            goes on there; `forget_logs` deletes that when the captions are safe.
    """
    own_log = None
    if log:  # a run that was deleted and trained anew has the folder of the one before
        weights = digest_of(captioner.state_dict(), {})[:16]
        own_log = log / f"captions-{processes.rank + 1}-of-{processes.count}-{weights}.log"
    own = caption_images(
        captioner,
        vocabulary,
        source,
        processes.share(ids),
        options,
        n_best=n_best,
        progress=progress,
        description=description,
        log=own_log,
    )
    if processes.count > 1:
        captions: dict[str, tuple[Caption, ...]] = {}
        for shares in processes.gather(dict(own)):
            captions |= shares
        own = CaptionSet({image_id: captions[image_id] for image_id in ids})
    return own


def forget_logs(log: Path) -> None:
    """Delete what all processes kept, also those of an earlier launch, of more processes."""
    for path in log.glob("captions-*.log"):
        path.unlink()
