"""The self-critical step against its definition, written out by stepping with autograd."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from small_captioners import small_captioner
from torch import Tensor

from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.decode.sample import sample, sample_memory
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import accelerate, aoanet_recurrence, likelihood, plain, updown_recurrence
from distilcap.models.fast.kept import Kept
from distilcap.models.fast.packing import Packing
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, PAD
from distilcap.training.batches import Batch
from distilcap.training.objectives import SelfCritical

WORDS, DIM, MAX_WORDS = 12, 5, 6
BATCH = Batch(("a", "b"), torch.empty(2, 0, 0), torch.empty(2, 0, 0))


PATHS = {"plain": plain, "fast": accelerate}


def captioner_of(architecture: str, path: str, words: int = WORDS) -> Captioner:
    return PATHS[path](small_captioner(architecture, words, DIM, 3, dropout=0.5, refiner_layers=6).train())


def two_images() -> Regions:
    generator = torch.Generator().manual_seed(1)
    return Regions.full(torch.randn(2, 3, DIM, generator=generator))


class Reward:
    """Some reward of the words; keeps what it was asked."""

    def __init__(self) -> None:
        self.seen: list[Tensor] = []

    def __call__(self, image_ids: list[str], samples: np.ndarray) -> np.ndarray:
        self.seen.append(torch.from_numpy(samples.copy()))
        value: np.ndarray = np.sin(samples.astype(np.float64)).sum(axis=2)
        return value


def stepped_log_probs(captioner: Captioner, regions: Regions, tokens: Tensor) -> Tensor:
    memory = captioner.encode(regions)
    state, last = captioner.initial_state(memory, tokens.shape[1]), torch.full(tokens.shape[:2], BOS)
    found = []
    for words in tokens.unbind(dim=2):
        logits, state = captioner.step(last, state, memory)
        found.append(logits.log_softmax(dim=-1).gather(2, words[..., None])[..., 0])
        last = words
    return torch.stack(found, dim=2).masked_fill(tokens == PAD, 0.0)


def others_of(rewards: Tensor) -> Tensor:
    """The mean reward of an image's other captions (B, K)."""
    captions = range(rewards.shape[1])
    return torch.stack([rewards[:, [k for k in captions if k != one]].mean(1) for one in captions], 1)


def expected_loss(
    captioner: Captioner, regions: Regions, drawn: Tensor, rewards: Tensor, baseline: Tensor
) -> Tensor:
    log_probs = stepped_log_probs(captioner, regions, drawn).sum(dim=2)
    return -((rewards - baseline) * log_probs).sum() / (drawn != PAD).sum()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("architecture", families())
@pytest.mark.parametrize(("baseline", "block"), [("others", 1 << 22), ("greedy", 1 << 22), ("greedy", 40)])
def test_loss_and_gradients_are_those_of_the_definition(
    architecture: str, path: str, baseline: str, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        likelihood, "_BLOCK", block
    )  # the odds kept while drawing fill several blocks, or one
    captioner, regions, reward = captioner_of(architecture, path), two_images(), Reward()
    torch.manual_seed(5)
    objective = SelfCritical(reward, 4, baseline, MAX_WORDS)
    objective(captioner, regions, BATCH)  # leaves its odds' memory to the next
    reward.seen.clear()
    loss, _ = objective(captioner, regions, BATCH)
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: one.grad for name, one in captioner.named_parameters()}
    captioner.zero_grad(set_to_none=True)

    captioner.eval()
    drawn = reward.seen[0][:, :4]
    rewards = torch.from_numpy(Reward()(["a", "b"], drawn.numpy())).float()
    if baseline == "greedy":
        best = beam_search(captioner, regions, BeamSearch(1, MAX_WORDS + 1, allow_unk=True)).tokens
        assert torch.equal(reward.seen[0][:, 4:, : best.shape[2]], best)
        others = torch.from_numpy(Reward()(["a", "b"], best.numpy())).float().expand_as(rewards)
    else:
        others = others_of(rewards)
    expected = expected_loss(captioner, regions, drawn, rewards, others)
    expected.backward()  # type: ignore[no-untyped-call]
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for name, one in captioner.named_parameters():
        torch.testing.assert_close(found[name], one.grad, atol=1e-6, rtol=1e-4, msg=name)


@pytest.mark.parametrize("architecture", ["updown", "aoanet"])
def test_the_gradient_reads_each_state_that_was_drawn_from_and_runs_no_recurrence(
    architecture: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To change one that is kept changes the gradient; so none is kept for nothing, or computed again."""
    monkeypatch.setattr(updown_recurrence, "_run", None)
    monkeypatch.setattr(aoanet_recurrence, "_run", None)
    captioner, changed = captioner_of(architecture, "fast"), -1
    activations = Kept.activations

    def spoilt(kept: Kept, packing: Packing) -> tuple[Tensor, ...]:
        recorded = activations(kept, packing)
        for index, tensor in enumerate(recorded):
            tensor.add_(0.1 * (index == changed))
        return recorded

    monkeypatch.setattr(Kept, "activations", spoilt)
    gradients = []
    for changed in range(-1, 11 if architecture == "updown" else 7):
        torch.manual_seed(5)
        loss, _ = SelfCritical(Reward(), 4, "greedy", MAX_WORDS)(captioner, two_images(), BATCH)
        captioner.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        gradients.append(torch.cat([one.grad.flatten() for one in captioner.parameters()]))
        assert changed == -1 or not torch.allclose(gradients[0], gradients[-1], atol=1e-7), changed


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("architecture", families())
def test_under_autocast_the_gradient_is_nearly_that_of_the_definition(architecture: str, path: str) -> None:
    captioner, regions, reward = captioner_of(architecture, path), two_images(), Reward()
    torch.manual_seed(5)
    with torch.autocast("cpu", torch.bfloat16):
        loss, _ = SelfCritical(reward, 4, max_words=MAX_WORDS)(captioner, regions, BATCH)
    loss.backward()  # type: ignore[no-untyped-call]
    found = torch.cat([one.grad.flatten() for one in captioner.parameters() if one.grad is not None])
    captioner.zero_grad(set_to_none=True)
    (drawn,) = reward.seen
    rewards = torch.from_numpy(Reward()(["a", "b"], drawn.numpy())).float()
    expected_loss(captioner, regions, drawn, rewards, others_of(rewards)).backward()  # type: ignore[no-untyped-call]
    exact = torch.cat([one.grad.flatten() for one in captioner.parameters() if one.grad is not None])
    assert (exact - found).norm() < 0.05 * exact.norm()


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("architecture", families())
def test_under_autocast_each_of_thousands_of_words_is_drawn_as_often_as_is_likely(
    architecture: str, path: str
) -> None:
    """By evenly spaced numbers a word of probability p is drawn n·p times, give or take one."""
    captioner, drawn = captioner_of(architecture, path, words=3_000).eval(), 1_000
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        memory = captioner.encode(two_images())
        state = captioner.initial_state(memory, 1)
        logits, _ = captioner.step(torch.full((2, 1), BOS), state, memory)
        found = sample_memory(captioner, memory, drawn, 1, uniform=lambda rows: (rows % drawn + 0.5) / drawn)
    assert logits.dtype == torch.bfloat16
    shares = logits.double().index_fill(2, torch.tensor([PAD, BOS]), -torch.inf).softmax(dim=2)[:, 0]
    for words, log_probs, share in zip(found.tokens[..., 0], found.log_probs, shares, strict=True):
        assert (words.bincount(minlength=3_000) - drawn * share).abs().max() < 1.5
        torch.testing.assert_close(log_probs.double(), share[words].log(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("architecture", families())
def test_dropout_acts_on_the_gradient_but_not_on_the_drawing(architecture: str, path: str) -> None:
    captioner, regions, reward = captioner_of(architecture, path), two_images(), Reward()
    objective = SelfCritical(reward, 4, max_words=MAX_WORDS, dropout=True)
    torch.manual_seed(5)
    loss, _ = objective(captioner, regions, BATCH)
    assert captioner.training

    torch.manual_seed(5)
    memory = captioner.encode(regions)  # draws its masks first
    drawn = sample(captioner.eval(), regions, 4, max_words=MAX_WORDS + 1).tokens
    assert torch.equal(reward.seen[0], drawn)
    rewards = torch.from_numpy(Reward()(["a", "b"], drawn.numpy())).float()
    inputs = torch.cat([torch.full_like(drawn[..., :1], BOS), drawn[..., :-1]], dim=-1)
    losses = captioner.train().negative_log_likelihood(memory, inputs, drawn)  # and its other masks last
    expected = ((rewards - others_of(rewards))[..., None] * losses).sum() / (drawn != PAD).sum()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    quiet = captioner.eval().negative_log_likelihood(memory, inputs, drawn)
    assert not torch.allclose(losses, quiet, rtol=0.01)
