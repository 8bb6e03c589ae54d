"""An ensemble: every next word is chosen by all captioners together."""

from __future__ import annotations

import itertools
from collections.abc import Container, Sequence
from typing import Protocol

import torch
from torch import Tensor, nn

from distilcap.decode.captions import RegionSource
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory, State
from distilcap.shapes import Regions

__all__ = ["Beside", "Ensemble"]


class Ensemble(Captioner):
    """A captioner whose distribution is the geometric mean of its members', normalised again: a word must
    please all. For decoding.

    Memory and state are the members' tensors, one after another, so that beam search and sampling work on an
    ensemble as on any captioner.

    Args:
        members: captioners of one vocabulary.
        beside: each reads features of its own, which lie one after another in those of a region, as `Beside`
            gives them; else all read the same.

    Raises:
        ConfigError: no members, or members that do not fit together.
    """

    def __init__(self, members: Sequence[Captioner], beside: bool = False) -> None:
        super().__init__()
        if not members:
            raise ConfigError("An ensemble needs at least one captioner.")
        for what in ("vocabulary_size", *(() if beside else ("region_dim",))):
            values = {getattr(member, what) for member in members}
            if len(values) > 1:
                raise ConfigError(
                    f"The captioners of an ensemble must have the same `{what}`, but have "
                    f"{', '.join(map(str, sorted(values)))}."
                )
        self.members = nn.ModuleList(members)
        self.accelerated = any(member.accelerated for member in members)
        self._widths = [member.region_dim for member in members] if beside else []
        self.vocabulary_size = members[0].vocabulary_size
        self.region_dim = sum(self._widths) or members[0].region_dim
        memories = [self._probe(member) for member in members]
        self._memory_ends = list(itertools.accumulate(memory for memory, _ in memories))
        self._state_ends = list(itertools.accumulate(state for _, state in memories))

    @staticmethod
    @torch.no_grad()
    def _probe(member: Captioner) -> tuple[int, int]:
        """How many tensors a member's memory and state have."""
        device = next(member.parameters()).device
        memory = member.encode(Regions.full(torch.zeros(1, 1, member.region_dim, device=device)))
        return len(memory), len(member.initial_state(memory, 1))

    def _shares(self, tensors: tuple[Tensor, ...], ends: list[int]) -> list[tuple[Tensor, ...]]:
        return [tensors[start:end] for start, end in zip([0, *ends], ends, strict=False)]

    def _captioners(self) -> list[Captioner]:
        return [member for member in self.members if isinstance(member, Captioner)]

    def _seen(self, regions: Regions) -> list[Regions]:
        """What each member reads."""
        if not self._widths:
            return [regions] * len(self.members)
        parts = torch.split(regions.features, self._widths, dim=-1)
        return [Regions(features, regions.mask) for features in parts]

    def encode(self, regions: Regions) -> Memory:
        """Give all members' memories in a row."""
        seen = zip(self._captioners(), self._seen(regions), strict=True)
        return tuple(tensor for member, own in seen for tensor in member.encode(own))

    def initial_state(self, memory: Memory, captions: int) -> State:
        """Give all members' states in a row."""
        shares = zip(self._captioners(), self._shares(memory, self._memory_ends), strict=True)
        return tuple(tensor for member, share in shares for tensor in member.initial_state(share, captions))

    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """See `Captioner.step`; the logits are log-probabilities."""
        log_probs: list[Tensor] = []
        states: list[Tensor] = []
        for member, own_state, own_memory in zip(
            self._captioners(),
            self._shares(state, self._state_ends),
            self._shares(memory, self._memory_ends),
            strict=True,
        ):
            logits, own_state = member.step(tokens, own_state, own_memory)
            log_probs.append(logits.float().log_softmax(dim=-1))
            states += own_state
        return self._mean(log_probs), tuple(states)

    def forward(self, regions: Regions, tokens: Tensor) -> Tensor:
        """See `Captioner.forward`; the logits are log-probabilities."""
        seen = zip(self._captioners(), self._seen(regions), strict=True)
        return self._mean([member(own, tokens).float().log_softmax(dim=-1) for member, own in seen])

    def _mean(self, log_probs: list[Tensor]) -> Tensor:
        return torch.stack(log_probs).mean(dim=0).log_softmax(dim=-1)


class Grids(RegionSource, Container[str], Protocol):
    """The cells of images that it has: a `FeatureStore`."""


class Beside:
    """Features of images from several stores, one after another in each region.

    Args:
        stores: of grids of equally many cells.
    """

    def __init__(self, stores: Sequence[Grids]) -> None:
        self._stores = stores

    def __contains__(self, image: object) -> bool:
        """Whether all stores have an image."""
        return all(image in store for store in self._stores)

    def regions_of(self, ids: Sequence[str]) -> Regions:
        """The regions of the named images (B, R, D), D being the sum of the stores'.

        Raises:
            ConfigError: the stores have not as many regions of an image.
        """
        seen = [store.regions_of(ids) for store in self._stores]
        if any(regions.mask.shape != seen[0].mask.shape or not regions.mask.all() for regions in seen):
            raise ConfigError(
                "Captioners of an ensemble with encoders of their own must see grids of equally many cells."
            )
        return Regions(torch.cat([regions.features for regions in seen], dim=-1), seen[0].mask)
