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

from distilcap.models.likelihood import Odds
from distilcap.shapes import Regions
from distilcap.text.vocabulary import PAD

__all__ = ["Captioner", "Memory", "State", "lstm_cell", "take_captions", "take_images"]

Memory = tuple[Tensor, ...]
"""What a captioner keeps of its images: tensors (B, …)."""

State = tuple[Tensor, ...]
"""What a captioner keeps of the words so far: tensors (B, K, H)."""


class Captioner(nn.Module, abc.ABC):
    """A captioner: `encode` an image once, then `step` through its captions word by word."""

    vocabulary_size: int
    region_dim: int

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
            Logits of the next word (B, K, V), which the caller may overwrite, and the state after reading.
        """

    @abc.abstractmethod
    def forward(self, regions: Regions, tokens: Tensor) -> Tensor:
        """Predict every next word of given captions (teacher forcing), equal to stepping but faster.

        Args:
            tokens: (B, K, T) ids, the begin token first.

        Returns:
            Logits (B, K, T, V): those at place t follow tokens 0 to t.
        """

    def negative_log_likelihood(
        self,
        memory: Memory,
        inputs: Tensor,
        targets: Tensor,
        label_smoothing: float = 0.0,
        odds: Odds | None = None,
    ) -> Tensor:
        """How unlikely each word of given captions is, in nats; what training minimises.

        Equal to the cross-entropy of `forward`'s logits, but captioners may compute nothing at the pads.

        Args:
            memory: of `encode`.
            inputs: (B, K, T) ids, the begin token first.
            targets: (B, K, T) the ids that should follow, pads after them.
            label_smoothing: share of the target's probability spread evenly over all words.
            odds: kept while these captions were drawn, with the same weights and without dropout; saves time.
                They are overwritten.

        Returns:
            (B, K, T), 0 at the pads.
        """
        device = memory[0].device
        state, logits = self.initial_state(memory, inputs.shape[1]), []
        for words in inputs.to(device).unbind(dim=2):
            predicted, state = self.step(words, state, memory)
            logits.append(predicted)
        targets = targets.to(device)
        losses = cross_entropy(
            torch.stack(logits, dim=2).flatten(0, 2),
            targets.flatten(),
            ignore_index=PAD,
            reduction="none",
            label_smoothing=label_smoothing,
        )
        return losses.view_as(targets)

    def parameter_count(self) -> int:
        """The number of parameters, shared ones counted once."""
        return sum(parameter.numel() for parameter in self.parameters())


def take_images(memory: Memory, rows: Tensor) -> Memory:
    """Keep the images at `rows` (integers or booleans over B); also right for a `State`."""
    return tuple(tensor[rows] for tensor in memory)


def take_captions(state: State, places: Tensor) -> State:
    """Give each image's captions the states at `places` (B, K'), as a beam search reorders them."""
    images, captions = state[0].shape[:2]
    rows = places + captions * torch.arange(images, device=places.device)[:, None]
    return tuple(tensor.flatten(0, 1)[rows] for tensor in state)


def lstm_cell(gates: Tensor, cell: Tensor) -> tuple[Tensor, Tensor]:
    """An LSTM's element-wise half (Hochreiter & Schmidhuber 1997; gates in PyTorch's order i, f, g, o).

    Args:
        gates: (…, 4H) pre-activations.
        cell: (…, H) the previous cell.

    Returns:
        The new hidden state and the new cell, each (…, H).
    """
    width = cell.shape[-1]
    candidate = torch.tanh(gates[..., 2 * width : 3 * width])
    # Of all gates at once, though the candidate has no use for it: an operator less, and memory in one piece.
    input_gate, forget_gate, _, output_gate = torch.sigmoid(gates).chunk(4, dim=-1)
    cell = torch.addcmul(input_gate * candidate, forget_gate, cell)
    return output_gate * torch.tanh(cell), cell
