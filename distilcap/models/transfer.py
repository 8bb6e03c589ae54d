"""A captioner begins from another's weights: words that both know keep their rows."""

from __future__ import annotations

import torch

from distilcap.errors import ConfigError
from distilcap.models.families import family_of
from distilcap.models.weights import TrainedCaptioner

__all__ = ["begin_from"]


@torch.no_grad()
def begin_from(new: TrainedCaptioner, start: TrainedCaptioner) -> None:
    """Give a captioner the weights of one of the same widths, whatever words the two know.

    A word that only the new captioner knows begins as the mean of all words of the other.

    Raises:
        ConfigError: the two are of other families or widths, or read features of other widths.
    """
    of_words = family_of(new.architecture).parameters_of_words(new.options)
    weights = dict(start.captioner.named_parameters())
    own = dict(new.captioner.named_parameters())
    ids = {word: row for row, word in enumerate(start.vocabulary.words)}
    rows = [ids.get(word, len(ids)) for word in new.vocabulary.words]
    inherited = {
        name: torch.cat([weight, weight.mean(dim=0, keepdim=True)])[rows] if name in of_words else weight
        for name, weight in weights.items()
    }
    shapes = {name: tuple(weight.shape) for name, weight in own.items()}
    if start.architecture != new.architecture or shapes != {
        name: tuple(weight.shape) for name, weight in inherited.items()
    }:
        raise ConfigError(
            f"`start` is {start.architecture}, {start.options}, on features of width "
            f"{start.captioner.region_dim}; what begins from it must be the same, but is {new.architecture}, "
            f"{new.options}, on features of width {new.captioner.region_dim}."
        )
    for name, weight in own.items():
        weight.copy_(inherited[name])
