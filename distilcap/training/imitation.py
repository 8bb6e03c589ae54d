"""Token-level distillation: a student imitates its teacher's distribution of every next word."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import kl_div

from distilcap.decode.captions import RegionSource
from distilcap.models.captioner import Captioner
from distilcap.shapes import Regions
from distilcap.text.vocabulary import PAD
from distilcap.training.batches import Batch
from distilcap.training.objectives import Objective
from distilcap.training.options import TokenDistillation

__all__ = ["Imitation", "TokenTeacher"]


@dataclass(frozen=True)
class TokenTeacher:
    """Who is imitated.

    Attributes:
        captioner: with the student's vocabulary.
        source: regions of the images as the teacher reads them.
        options: how much.
    """

    captioner: Captioner
    source: RegionSource
    options: TokenDistillation


class Imitation:
    """(1 - w) x objective + w x temperature^2 x KL(teacher || student), in nats a token.

    The divergence is that of Hinton et al. (2015), whose square of the temperature keeps the gradient's size;
    on a teacher's own captions it is Kim & Rush's mix of word-level and sequence-level distillation.

    Args:
        objective: of the captions' own words.
        teacher: runs without dropout and without gradient.
    """

    def __init__(self, objective: Objective, teacher: TokenTeacher) -> None:
        self.objective, self.teacher = objective, teacher

    def __call__(
        self, captioner: Captioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`."""
        options = self.teacher.options
        divergence = options.temperature**2 * self._divergence(captioner, regions, batch)
        if options.weight == 1:
            return divergence, {"divergence": divergence.detach()}
        loss, figures = self.objective(captioner, regions, batch)
        loss = (1 - options.weight) * loss + options.weight * divergence
        return loss, figures | {"divergence": divergence.detach()}

    def _divergence(self, captioner: Captioner, regions: Regions, batch: Batch) -> Tensor:
        device, temperature = regions.features.device, self.teacher.options.temperature
        inputs, words = batch.inputs.to(device), (batch.targets != PAD).flatten().nonzero()[:, 0]
        counted = words.to(device)
        with torch.no_grad():
            teacher = self.teacher.captioner.to(device).eval()
            seen = self.teacher.source.regions_of(batch.ids).to(device)
            wanted = (teacher(seen, inputs).flatten(0, 2)[counted] / temperature).float().log_softmax(dim=-1)
        given = (captioner(regions, inputs).flatten(0, 2)[counted] / temperature).float().log_softmax(dim=-1)
        return kl_div(given, wanted, reduction="sum", log_target=True) / len(counted)
