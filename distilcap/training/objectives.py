"""What a step minimises: cross-entropy, or minus the expected CIDEr-D (self-critical)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from distilcap.decode.beam import BeamSearch, forbidden_tokens, search_memory
from distilcap.decode.sample import sample_memory
from distilcap.models.captioner import Captioner, Memory
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.kept import Kept
from distilcap.models.fast.sampling import draw
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, PAD
from distilcap.training.batches import Batch

__all__ = ["CrossEntropy", "Objective", "Reward", "SelfCritical", "scheduled_sampling_logits"]


class Reward(Protocol):
    """Scores drawn captions of images, as `metrics.reward.CiderReward` does."""

    def __call__(self, image_ids: list[str], samples: np.ndarray) -> np.ndarray:
        """Reward (B, K) of captions given as ids (B, K, T) with their end tokens, padded."""


class Objective(Protocol):
    """A loss of a batch, and the figures to log."""

    def __call__(
        self, captioner: Captioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Give the loss (a scalar to differentiate) and named figures (scalars, which nobody waits for).

        "words" is how many words the loss is the mean over, on the CPU; without it, all of the batch's.
        """


class CrossEntropy:
    """Mean negative log-likelihood of a caption's tokens, end token included, in nats.

    Args:
        label_smoothing: share of probability spread evenly over all words.
        sampling: probability that a word the model drew itself is read instead of the caption's.
    """

    def __init__(self, label_smoothing: float = 0.0, sampling: float = 0.0) -> None:
        self.label_smoothing, self.sampling = label_smoothing, sampling

    def __call__(
        self, captioner: Captioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`."""
        targets = batch.targets.to(regions.features.device)
        if self.sampling:
            inputs = batch.inputs.to(regions.features.device)
            logits = scheduled_sampling_logits(captioner, regions, inputs, self.sampling)
            loss = cross_entropy(
                logits.flatten(0, 2),
                targets.flatten(),
                ignore_index=PAD,
                label_smoothing=self.label_smoothing,
            )
        else:
            memory = captioner.encode(regions)
            losses = captioner.negative_log_likelihood(
                memory, batch.inputs, batch.targets, self.label_smoothing
            )
            loss = losses.sum() / (batch.targets != PAD).sum()
        return loss, {"loss": loss.detach()}


def scheduled_sampling_logits(
    captioner: Captioner, regions: Regions, inputs: Tensor, probability: float
) -> Tensor:
    """Like `captioner(regions, inputs)`, but each word read is, with `probability`, drawn from the model's
    own last prediction (Bengio et al. 2015). (B, K, T) to (B, K, T, V)."""
    memory = captioner.encode(regions)
    state = captioner.initial_state(memory, inputs.shape[1])
    steps: list[Tensor] = []
    for step, given in enumerate(inputs.unbind(dim=2)):
        words = given
        if step:
            # As `torch.multinomial` draws, which waits for a GPU to say whether these are probabilities.
            odds = steps[-1].detach().softmax(-1).flatten(0, 1)
            drawn = (odds / torch.empty_like(odds).exponential_()).argmax(-1).view_as(given)
            own = (torch.rand(given.shape, device=given.device) < probability) & (given != PAD)
            words = torch.where(own, drawn, given)
        logits, state = captioner.step(words, state, memory)
        steps.append(logits)
    return torch.stack(steps, dim=2)


class SelfCritical:
    """REINFORCE with a baseline from the model itself (Rennie et al. 2017, equation 7).

    Captions are drawn without a graph and with dropout off; one teacher-forced pass over them gives the
    gradient. With rewards r and baselines b of K samples w of each image, the loss is

        -sum over images i and samples k of (r_ik - b_ik) sum over t of log p(w_ikt) / N,

    where N is the number of all these samples' tokens, end tokens too, as published implementations have it.
    `<unk>` is drawn too, though search writes none: where it was forbidden, nothing punished its probability,
    which grew to 0.8 in an epoch (docs/log.md). The reward can call it wrong (`unk_is_wrong`).

    Args:
        reward: of drawn captions.
        samples: K, captions drawn of each image; at least 2 where the baseline is "others".
        baseline: "others", the mean reward of the image's other samples, or "greedy", that of its greedy
            caption.
        max_words: most words of a drawn caption, its end token not counted.
        dropout: on in the pass that gives the gradient.
    """

    def __init__(
        self,
        reward: Reward,
        samples: int = 5,
        baseline: str = "others",
        max_words: int = 16,
        dropout: bool = False,
    ) -> None:
        self.reward, self.samples, self.baseline = reward, samples, baseline
        self.max_words, self.dropout = max_words, dropout
        self._kept = Kept()

    def __call__(
        self, captioner: Captioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """See `Objective`; the batch's captions are not read, only its images."""
        captioner.train(self.dropout)
        memory = captioner.encode(regions)
        captioner.eval()
        with torch.no_grad():
            seen = captioner.encode(regions) if self.dropout else tuple(tensor.detach() for tensor in memory)
        drawn, kept = self._draw(captioner, seen)
        drawn = drawn.cpu()  # where they are rewarded; nothing else of this step waits for a GPU
        tokens, advantage, figures = self.rewarded(batch.ids, drawn)
        captioner.train(self.dropout)
        inputs = torch.cat([torch.full_like(tokens[..., :1], BOS), tokens[..., :-1]], dim=-1)
        if kept is None:
            negative_log_probs = captioner.negative_log_likelihood(memory, inputs, tokens)
        else:
            assert isinstance(captioner, FastCaptioner)
            negative_log_probs = captioner.drawn_negative_log_likelihood(memory, inputs, tokens, kept)
        loss = (advantage.to(memory[0].device) * negative_log_probs).sum() / (tokens != PAD).sum()
        return loss, {"loss": loss.detach(), **figures}

    def rewarded(self, ids: Sequence[str], drawn: Tensor) -> tuple[Tensor, Tensor, dict[str, Tensor]]:
        """Score drawn captions (B, K, T) of images: the samples, how much more each was rewarded than its
        baseline (B, K, 1), and figures; all on the CPU."""
        scores = torch.from_numpy(self.reward(list(ids), drawn.numpy())).to(torch.float32)
        tokens, rewards = drawn[:, : self.samples], scores[:, : self.samples]
        if self.baseline == "greedy":
            baseline = scores[:, self.samples :]
        else:
            baseline = (rewards.sum(dim=1, keepdim=True) - rewards) / (self.samples - 1)
        figures = {"reward": rewards.mean(), "words": (tokens != PAD).sum()}
        return tokens, (rewards - baseline)[..., None], figures

    def _draw(self, captioner: Captioner, memory: Memory) -> tuple[Tensor, Kept | None]:
        """Samples (B, K, T), the greedy caption after them where that is the baseline, and what is kept of
        them, if the gradient can use it."""
        words, greedy = self.max_words + 1, self.baseline == "greedy"
        if isinstance(captioner, FastCaptioner):
            # With dropout the gradient's pass goes through other states than those drawn from.
            kept = None if self.dropout else self._kept
            self._kept.clear()
            forbidden = forbidden_tokens(True, memory[0].device)
            drawn, _ = draw(captioner, memory, self.samples, forbidden, words, with_best=greedy, kept=kept)
            return drawn, kept
        samples = sample_memory(captioner, memory, self.samples, words).tokens
        if not greedy:
            return samples, None
        best = search_memory(captioner, memory, BeamSearch(1, words, allow_unk=True)).tokens
        return torch.cat([samples, best], dim=1), None
