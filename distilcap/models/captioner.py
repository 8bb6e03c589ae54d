"""The protocol that training, decoding, export and the browser share.

Every tensor of a decoder has two leading dimensions: B images, and K captions of each image (its five
references, its samples, or the hypotheses of its beam). An image is therefore encoded once, however many
captions are computed for it.
"""

from __future__ import annotations

import abc

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from distilcap.shapes import Regions
from distilcap.text.vocabulary import PAD

__all__ = ["Captioner", "Memory", "State", "take_captions", "take_images"]

Memory = tuple[Tensor, ...]
"""What a captioner keeps of its images: tensors (B, …)."""

State = tuple[Tensor, ...]
"""What a captioner keeps of the words so far: tensors (B, K, H)."""


class Captioner(nn.Module, abc.ABC):
    """A captioner: `encode` an image once, then `step` through its captions word by word.

    Attributes:
        vocabulary_size: words that it knows (V).
        region_dim: features of a region that it reads (D).
        accelerated: whether decoders use the fast forms of `models.fast` with it.
    """

    vocabulary_size: int
    region_dim: int
    accelerated: bool = False

    @abc.abstractmethod
    def encode(self, regions: Regions) -> Memory:
        """Compute all that does not depend on words, from B images."""

    @abc.abstractmethod
    def initial_state(self, memory: Memory, captions: int) -> State:
        """Give the state before the first word, for `captions` captions (K) of each image."""

    @abc.abstractmethod
    def step(self, tokens: Tensor, state: State, memory: Memory) -> tuple[Tensor, State]:
        """Read one word of each caption and predict the next.

        Args:
            tokens: (B, K) ids of the words just read; the begin token at first.

        Returns:
            Logits of the next word (B, K, V), a tensor of the caller's own, and the state after reading.
        """

    def forward(self, regions: Regions, tokens: Tensor) -> Tensor:
        """Predict every next word of given captions (teacher forcing).

        Args:
            tokens: (B, K, T) ids, the begin token first.

        Returns:
            Logits (B, K, T, V): those at position t follow tokens 0 to t.
        """
        return self.predict(self.encode(regions), tokens)

    def predict(self, memory: Memory, tokens: Tensor) -> Tensor:
        """`forward`, from images that are encoded already."""
        state, steps = self.initial_state(memory, tokens.shape[1]), []
        for words in tokens.unbind(dim=2):
            logits, state = self.step(words, state, memory)
            steps.append(logits)
        return torch.stack(steps, dim=2)

    def negative_log_likelihood(
        self, memory: Memory, inputs: Tensor, targets: Tensor, label_smoothing: float = 0.0
    ) -> Tensor:
        """How unlikely each word of given captions is, in nats: the cross-entropy, which training minimises.

        Args:
            memory: of `encode`.
            inputs: (B, K, T) ids, the begin token first.
            targets: (B, K, T) the ids that should follow, pads after them.
            label_smoothing: share of the target's probability spread evenly over all words.

        Returns:
            (B, K, T), 0 at the pads.
        """
        inputs, targets = (tokens.to(memory[0].device) for tokens in (inputs, targets))
        losses = cross_entropy(
            self.predict(memory, inputs).flatten(0, 2),
            targets.flatten(),
            ignore_index=PAD,
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return losses.view_as(targets)

    def parameter_count(self) -> int:
        """The number of parameters; shared parameters count once."""
        return sum(parameter.numel() for parameter in self.parameters())


def take_images(memory: Memory, rows: Tensor) -> Memory:
    """Keep the images at `rows` (integers or booleans over B); also right for a `State`."""
    return tuple(tensor[rows] for tensor in memory)


def take_captions(state: State, parents: Tensor) -> State:
    """Give each image's captions the states at `parents` (B, K'), as a beam search reorders them."""
    images, captions = state[0].shape[:2]
    rows = parents + captions * torch.arange(images, device=parents.device)[:, None]
    return tuple(tensor.flatten(0, 1)[rows] for tensor in state)
