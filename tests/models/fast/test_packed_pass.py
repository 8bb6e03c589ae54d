"""The packed pass and its hand-written gradients against the plain captioners with autograd."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from small_captioners import small_captioner
from torch import Tensor
from torch.nn.functional import cross_entropy, linear

from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import accelerate, likelihood
from distilcap.models.fast.aoanet_recurrence import DropoutMasks, aoanet_recurrence
from distilcap.models.fast.likelihood import negative_log_likelihood
from distilcap.models.fast.packing import Packing
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, PAD

WORDS, DIM, REGIONS, STEPS = 23, 7, 5, 6
VARIANTS = [
    *((family, {"tie_words": tied}) for family in families() for tied in (False, True)),
    ("updown", {"output_states": "both"}),
]


def captioner_of(architecture: str, changes: dict[str, object]) -> Captioner:
    wanted = {"hidden": 16, "embedding": 10, "attention": 64, "refiner_layers": 6, **changes}
    return small_captioner(architecture, WORDS, DIM, 2, **wanted).double()


def example(seed: int, masked: bool = True) -> tuple[Regions, Tensor, Tensor]:
    """Three images with two captions each: of 5, 3; 0, 6; and 2, 2 tokens."""
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.tensor([[5, 3], [0, STEPS], [2, 2]])
    targets = torch.randint(PAD + 1, WORDS, (3, 2, STEPS), generator=generator)
    targets[torch.arange(STEPS) >= lengths[..., None]] = PAD
    inputs = torch.cat([torch.full_like(targets[..., :1], BOS), targets[..., :-1]], dim=-1)
    mask = torch.ones(3, REGIONS, dtype=torch.bool)
    mask[1, 3:] = not masked
    features = torch.randn(3, REGIONS, DIM, dtype=torch.float64, generator=generator)
    return Regions(features, mask), inputs, targets


def gradients(captioner: Captioner, loss: Tensor, features: Tensor) -> dict[str, Tensor]:
    captioner.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    found = {name: one.grad for name, one in captioner.named_parameters() if one.grad is not None}
    return {"features": features.grad, **found}  # type: ignore[dict-item]


def both_gradients(
    captioner: Captioner,
    regions: Regions,
    packed: Callable[[Regions], Tensor],
    plain: Callable[[Regions], Tensor],
) -> None:
    found = []
    for compute in (packed, plain):
        features = regions.features.clone().requires_grad_()
        value = compute(Regions(features, regions.mask))
        weights = torch.randn(value.shape, dtype=value.dtype, generator=torch.Generator().manual_seed(0))
        found.append((value, gradients(captioner, (value * weights).sum(), features)))
    torch.testing.assert_close(found[0][0], found[1][0], atol=1e-12, rtol=1e-10)
    assert found[0][1].keys() == found[1][1].keys()
    for name, gradient in found[0][1].items():
        torch.testing.assert_close(gradient, found[1][1][name], atol=1e-12, rtol=1e-9, msg=name)


@pytest.mark.parametrize(("architecture", "changes"), VARIANTS)
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("masked", [False, True])
def test_losses_and_gradients_are_those_of_plain_code(
    architecture: str, changes: dict[str, object], smoothing: float, masked: bool
) -> None:
    plain = captioner_of(architecture, changes)
    fast = accelerate(plain)
    regions, inputs, targets = example(1, masked)
    both_gradients(
        plain,
        regions,
        lambda r: fast.negative_log_likelihood(fast.encode(r), inputs, targets, smoothing),
        lambda r: plain.negative_log_likelihood(plain.encode(r), inputs, targets, smoothing),
    )


@pytest.mark.parametrize(("architecture", "changes"), VARIANTS)
@pytest.mark.parametrize("masked", [False, True])
def test_with_the_same_dropout_losses_and_gradients_are_the_same(
    architecture: str, changes: dict[str, object], masked: bool, masks: Any
) -> None:
    plain = captioner_of(architecture, changes).train()
    fast = accelerate(plain)
    regions, inputs, targets = example(1, masked)

    def plainly(regions: Regions) -> Tensor:
        masks.give_to(plain, Packing.of_targets(targets, targets.device))
        return plain.negative_log_likelihood(plain.encode(regions), inputs, targets)

    both_gradients(
        plain, regions, lambda r: fast.negative_log_likelihood(fast.encode(r), inputs, targets), plainly
    )


@pytest.mark.parametrize(("architecture", "changes"), VARIANTS)
def test_logits_and_gradients_are_those_of_plain_code(architecture: str, changes: dict[str, object]) -> None:
    plain = captioner_of(architecture, changes)
    fast = accelerate(plain)
    regions, inputs, _ = example(2)
    both_gradients(plain, regions, lambda r: fast(r, inputs), lambda r: plain(r, inputs))


@pytest.mark.parametrize(("architecture", "changes"), VARIANTS)
def test_steps_and_their_gradients_are_those_of_plain_code(
    architecture: str, changes: dict[str, object]
) -> None:
    plain = captioner_of(architecture, changes)
    fast = accelerate(plain)
    regions, inputs, _ = example(2)
    both_gradients(
        plain, regions, lambda r: Captioner.predict(fast, fast.encode(r), inputs), lambda r: plain(r, inputs)
    )


@pytest.mark.parametrize(("architecture", "changes"), VARIANTS)
def test_what_follows_a_caption_does_not_matter(architecture: str, changes: dict[str, object]) -> None:
    captioner = accelerate(captioner_of(architecture, changes))
    regions, inputs, targets = example(3)
    after = torch.cat(
        [torch.zeros_like(targets[..., :1], dtype=torch.bool), targets[..., :-1] == PAD], dim=-1
    )
    other = inputs.masked_fill(after, 9)
    expected = captioner.negative_log_likelihood(captioner.encode(regions), inputs, targets)
    torch.testing.assert_close(
        captioner.negative_log_likelihood(captioner.encode(regions), other, targets), expected
    )
    assert torch.equal(expected == 0, targets == PAD)


def test_gradients_with_dropout_are_those_of_finite_differences() -> None:
    torch.manual_seed(0)
    packing = Packing.of(torch.tensor([[3, 1], [0, 2]]), 3)
    heads, width, tokens = 2, 4, len(packing.positions)
    dropout = DropoutMasks(
        2.0 * torch.randint(2, (tokens, width)).double(),
        1.25 * torch.randint(2, (3, 2 * heads, 2, 3)).double(),
    )
    mask = torch.tensor([[True, True, True], [True, False, True]])
    shapes = [(tokens, 16), (2, 3, 4), (2, 3, 4), (16, 4), (16, 4), (4,), (4,), (4, 4), (4,), (8, 8), (8,)]
    leaves = [torch.randn(shape, dtype=torch.float64, requires_grad=True) for shape in shapes]
    assert torch.autograd.gradcheck(
        lambda *leaves: aoanet_recurrence(*leaves[:3], mask, *leaves[3:], heads, dropout, packing), leaves
    )


@pytest.mark.parametrize("architecture", families())
def test_dropout_acts_in_training_and_only_then(architecture: str) -> None:
    captioner = accelerate(captioner_of(architecture, {}))
    regions, inputs, targets = example(5)
    quiet = captioner.negative_log_likelihood(captioner.encode(regions), inputs, targets)
    assert torch.equal(captioner.negative_log_likelihood(captioner.encode(regions), inputs, targets), quiet)
    captioner.train()
    first, second = (
        captioner.negative_log_likelihood(captioner.encode(regions), inputs, targets) for _ in range(2)
    )
    assert not torch.equal(first, second)


@pytest.mark.parametrize("architecture", families())
def test_bfloat16_stays_near_float32(architecture: str) -> None:
    changes = {"hidden": 32, "embedding": 32, "heads": 4}
    captioner = accelerate(captioner_of(architecture, changes).float())
    regions, inputs, targets = example(4)
    regions = regions.to("cpu")
    found = []
    for enabled in (True, False):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            losses = captioner.negative_log_likelihood(captioner.encode(regions), inputs, targets)
        found.append((losses, gradients(captioner, losses.sum(), torch.zeros(()).requires_grad_())))
    (rough, rough_gradients), (exact, exact_gradients) = found
    assert rough.dtype == torch.float32
    torch.testing.assert_close(rough, exact, atol=0.02, rtol=0.02)
    for name, gradient in exact_gradients.items():
        if gradient is not None:
            assert rough_gradients[name].dtype == torch.float32, name
            error = (rough_gradients[name] - gradient).norm() / (gradient.norm() + 1e-3)
            assert error < 0.1, (name, error)


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 6), min_size=3, max_size=3), min_size=1, max_size=5), st.integers(6, 8)
)
def test_packing_keeps_each_token_once_and_the_longest_first(lengths: list[list[int]], steps: int) -> None:
    packing = Packing.of(torch.tensor(lengths), steps)
    places = torch.arange(len(lengths) * 3 * steps).view(-1, 3, steps)
    real = torch.arange(steps) < torch.tensor(lengths)[..., None]
    packed = packing.pack(places)
    assert sorted(packed.tolist()) == places[real].tolist()
    assert list(packing.counts) == sorted(packing.counts, reverse=True)
    for step, (tokens,) in enumerate(packing.steps(packed)):
        assert tokens.tolist() == (packing.rows[: len(tokens)] * steps + step).tolist()
    assert torch.equal(packing.unpack(packed + 1), (places + 1) * real)


@settings(deadline=None, max_examples=40)
@given(
    rows=st.integers(0, 9),
    width=st.integers(1, 5),
    words=st.integers(2, 9),
    smoothing=st.floats(0, 0.9),
    size=st.sampled_from([1.0, 1.0, 6.0, 30.0]),
    seed=st.integers(0, 99),
)
def test_likelihoods_are_cross_entropies(
    rows: int, width: int, words: int, smoothing: float, size: float, seed: int
) -> None:
    generator = torch.Generator().manual_seed(seed)
    shapes = [(rows, width), (words, width), (words,)]
    # Exponentials of logits of size 900 overflow where the highest is not subtracted.
    tensors = [size * torch.randn(shape, dtype=torch.float64, generator=generator) for shape in shapes]
    targets = torch.randint(words, (rows,), generator=generator)
    weights = torch.randn(rows, dtype=torch.float64, generator=generator)
    found = []
    for ours in (True, False):
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        if ours:
            losses = negative_log_likelihood(*leaves, targets, smoothing)
        else:
            losses = cross_entropy(linear(*leaves), targets, reduction="none", label_smoothing=smoothing)
        (losses * weights).sum().backward()  # type: ignore[no-untyped-call]
        found.append([losses, *(leaf.grad for leaf in leaves)])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, atol=1e-12 * size**2, rtol=1e-9)


def test_likelihoods_do_not_depend_on_the_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    generator = torch.Generator().manual_seed(0)
    tensors = [
        torch.randn(shape, dtype=torch.float64, generator=generator) for shape in ((11, 5), (7, 5), (7,))
    ]
    targets = torch.randint(7, (11,), generator=generator)
    found = []
    for block, cached in ((1 << 22, 1 << 18), (28, 14), (1, 1)):
        monkeypatch.setattr(likelihood, "_BLOCK", block)
        monkeypatch.setattr(likelihood, "_CACHED", cached)
        leaves = [tensor.clone().requires_grad_() for tensor in tensors]
        losses = negative_log_likelihood(*leaves, targets, 0.1)
        losses.square().sum().backward()  # type: ignore[no-untyped-call]
        found.append([losses.detach(), *(leaf.grad for leaf in leaves)])
    for other in found[1:]:
        for one, same in zip(found[0], other, strict=True):
            torch.testing.assert_close(one, same, atol=1e-12, rtol=1e-10)
