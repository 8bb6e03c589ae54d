"""Steps as they are recorded for a GPU: their losses and gradients, and that they can be recorded at all."""

from __future__ import annotations

import copy
import gc
import weakref
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from device_waits import waiting
from small_captioners import small_captioner
from test_training_on_device import CAPTIONS, DIM, NO_DROPOUT, VOCABULARY, WORDS, Pictures, reward, training
from torch import Tensor, nn

from distilcap.decode.beam import forbidden_tokens
from distilcap.decode.captions import RegionSource
from distilcap.errors import TrainingError
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import accelerate
from distilcap.models.fast.sampling import draw, draw_to_the_end
from distilcap.text.vocabulary import EOS, PAD
from distilcap.training import graphs, loop
from distilcap.training.batches import Batch, Batches, encode_captions
from distilcap.training.graphs import Recordings, recordings_for
from distilcap.training.objectives import CrossEntropy, Objective, SelfCritical
from distilcap.training.options import TrainingOptions
from distilcap.training.processes import Processes

OBJECTIVES: dict[str, Objective] = {
    "cross-entropy": CrossEntropy(),
    "label smoothing": CrossEntropy(label_smoothing=0.1),
    "self-critical": SelfCritical(reward(), 3, max_words=WORDS),
    "self-critical, greedy": SelfCritical(reward(), 3, "greedy", max_words=WORDS),
}
Figures = dict[str, float]
Gradients = dict[str, Tensor]


def batches() -> list[Batch]:
    encoded = encode_captions(CAPTIONS, VOCABULARY, WORDS)
    return [next(Batches(encoded, 3, 2, seed).epoch(0)) for seed in range(4)]


def draw_samples(seed: int, with_best: bool) -> Tensor:
    """Words at random (B, K, T), pads after the end."""
    generator = torch.Generator().manual_seed(seed)
    tokens = torch.randint(EOS, len(VOCABULARY), (3, 3 + with_best, WORDS + 1), generator=generator)
    ended = (tokens == EOS).cumsum(dim=-1) - (tokens == EOS).int() > 0
    return tokens.masked_fill(ended, PAD)


def one_step(step: Callable[..., object], captioner: Captioner, batch: Batch) -> tuple[Figures, Gradients]:
    device = next(captioner.parameters()).device
    captioner.train().zero_grad()
    loss, figures = step(captioner, Pictures().regions_of(batch.ids).to(device), batch)  # type: ignore[misc]
    loss.backward()
    figures.pop("words", None)
    gradients = {n: p.grad.cpu().clone() for n, p in captioner.named_parameters() if p.grad is not None}
    return {name: float(figure) for name, figure in figures.items()}, gradients


@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_replayed_steps_are_those_that_are_computed(
    objective: str, family: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of several batches, one after the other, while weights change between them; of the same samples."""
    captioner = accelerate(small_captioner(family, len(VOCABULARY), DIM, **NO_DROPOUT))
    own, goal = copy.deepcopy(captioner).to(device), OBJECTIVES[objective]
    recordings = Recordings(3, WORDS)
    for number, batch in enumerate(batches()):
        drawn = draw_samples(number, with_best="greedy" in objective)
        monkeypatch.setattr(SelfCritical, "_draw", lambda *_, drawn=drawn: (drawn, None))
        monkeypatch.setattr(recordings, "_drawn", lambda *_, drawn=drawn: drawn)
        figures, gradients = one_step(goal, captioner, batch)
        replayed = one_step(lambda *given: recordings(goal, *given), own, batch)
        assert replayed[0] == pytest.approx(figures, rel=1e-4), number
        assert replayed[1].keys() == gradients.keys()
        torch.testing.assert_close(replayed[1], gradients, atol=1e-4, rtol=1e-3)
        with torch.no_grad():
            for one in (captioner, own):
                next(one.parameters()).mul_(0.9)


@pytest.mark.parametrize("baseline", ["others", "greedy"])
@pytest.mark.parametrize("family", families())
def test_replayed_samples_are_those_that_are_drawn(family: str, baseline: str, device: torch.device) -> None:
    """Of the same random numbers; each replay takes new ones."""
    captioner = accelerate(small_captioner(family, len(VOCABULARY), DIM)).to(device).eval()
    goal, recordings = SelfCritical(reward(), 5, baseline, max_words=WORDS), Recordings(3, WORDS)
    regions = Pictures().regions_of(list(CAPTIONS)).to(device)
    forbidden = forbidden_tokens(True, device)
    torch.manual_seed(1)
    expected = [
        draw_to_the_end(
            captioner, captioner.encode(regions), 5, forbidden, WORDS + 1, with_best=baseline == "greedy"
        ).cpu()
        for _ in range(3)
    ]
    torch.manual_seed(1)
    for wanted in expected:
        gc.collect()
        # What a recording reads must not be freed: here it would be overwritten.
        assert len([torch.full((4,), len(VOCABULARY), device=device) for _ in range(1000)]) == 1000
        assert torch.equal(recordings._drawn(goal, captioner, regions).cpu(), wanted)
    assert not torch.equal(expected[0], expected[1])


@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_what_is_recorded_never_waits_and_copies_nothing(
    objective: str, family: str, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU recording fails where it does; the pretend device fails alike."""

    if device.type == "pretend":
        from pretend_device import recording

    def recorded(compute: Callable[..., Tensor], given: tuple[Tensor, ...]) -> Callable[..., Tensor]:
        def replay(*given: Tensor) -> Tensor:
            with recording():
                result = compute(*given)
                if result.requires_grad:
                    torch.autograd.grad(result, list(captioner.parameters()), allow_unused=True)
            return compute(*given)

        return replay

    if device.type == "pretend":
        monkeypatch.setattr(graphs, "_with_gradient", recorded)
        monkeypatch.setattr(graphs, "_without_gradient", recorded)
    captioner = accelerate(small_captioner(family, len(VOCABULARY), DIM, dropout=0.3)).to(device)
    recordings = Recordings(3, WORDS)
    with waiting() as waits:
        for batch in batches():
            one_step(lambda *given: recordings(OBJECTIVES[objective], *given), captioner, batch)
    assert set(waits) <= {"training/graphs.py Recordings._self_critical"}
    assert recordings._recorded


def test_a_recording_that_waits_or_copies_fails(device: torch.device) -> None:
    if device.type != "pretend":
        pytest.skip("a real device has its own errors")
    from pretend_device import recording

    tensor = torch.ones(2, device=device)
    for crash in (lambda: tensor.sum().item(), lambda: torch.ones(2).to(device), lambda: tensor.nonzero()):
        with recording(), pytest.raises(RuntimeError, match="not permitted when stream is capturing"):
            crash()
        crash()


@pytest.mark.parametrize("with_best", [False, True])
@pytest.mark.parametrize("family", families())
def test_captions_drawn_to_the_end_are_those_drawn(family: str, with_best: bool) -> None:
    captioner = accelerate(small_captioner(family, len(VOCABULARY), DIM)).eval()
    memory = captioner.encode(Pictures().regions_of(list(CAPTIONS)))
    numbers = torch.rand(WORDS + 1, len(CAPTIONS) * 4, generator=torch.Generator().manual_seed(0))

    def uniform() -> Callable[[Tensor], Tensor]:
        words = iter(numbers)
        return lambda rows: next(words)[rows]

    given = captioner, memory, 3, forbidden_tokens(True, torch.device("cpu")), WORDS + 1
    expected, _ = draw(*given, uniform=uniform(), with_best=with_best)
    drawn = draw_to_the_end(*given, uniform=uniform(), with_best=with_best)
    np.testing.assert_array_equal(drawn, expected)


def test_batches_of_another_size_and_other_objectives_are_computed(device: torch.device) -> None:
    captioner = accelerate(small_captioner("updown", len(VOCABULARY), DIM)).to(device)
    recordings, (batch, *_) = Recordings(2, WORDS), batches()
    one_step(lambda *given: recordings(CrossEntropy(), *given), captioner, batch)
    recordings.images = 3
    one_step(lambda *given: recordings(CrossEntropy(sampling=0.5), *given), captioner, batch)
    assert not recordings._recorded


def test_recordings_die_with_their_phase(
    tmp_path: Path, device: torch.device, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At known moments: one that dies while another is made spoils that."""
    made: list[weakref.ref[Recordings]] = []
    alive: list[int] = []

    def recordings(options: TrainingOptions, *_: object) -> Recordings:
        alive.append(sum(one() is not None for one in made))
        recordings = Recordings(options.batch_images, options.max_words)
        recordings._recorded["cycle"] = recordings  # type: ignore[assignment]  # as PyTorch's own are in
        made.append(weakref.ref(recordings))
        return recordings

    monkeypatch.setattr(loop, "recordings_for", recordings)
    gc.disable()
    try:
        training(tmp_path, device).run()
        alive.append(sum(one() is not None for one in made))
    finally:
        gc.enable()
    assert alive == [0, 0, 0]


def test_recorded_samples_do_not_keep_their_recordings() -> None:
    captioner = accelerate(small_captioner("updown", len(VOCABULARY), DIM)).eval()
    recordings = Recordings(3, WORDS)
    recordings._drawn(
        SelfCritical(reward(), 2, max_words=WORDS), captioner, Pictures().regions_of(list(CAPTIONS))
    )
    kept = weakref.ref(recordings)
    gc.disable()
    try:
        del recordings
        assert kept() is None
    finally:
        gc.enable()


def test_nothing_is_collected_while_a_step_is_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    collects: list[bool] = []

    def graphed(compute: nn.Module, *_: object, **__: object) -> nn.Module:
        collects.append(gc.isenabled())
        return compute

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", graphed)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    given = cast(Tensor, SimpleNamespace(device=torch.device("cuda")))
    graphs._with_gradient(nn.Identity(), (given,))
    assert collects == [False]
    assert gc.isenabled()


def test_a_recording_that_fails_says_how_to_go_on_without(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object, **__: object) -> None:
        raise RuntimeError("operation not permitted\nmore lines")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    given = cast(Tensor, SimpleNamespace(device=torch.device("cuda")))
    with pytest.raises(TrainingError, match=r"\(operation not permitted\)\. .*DISTILCAP_RECORD=0"):
        graphs._with_gradient(nn.Identity(), (given,))


def test_memory_that_runs_out_while_recording_is_no_fault_of_recording(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def fails(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(torch.cuda, "make_graphed_callables", fails)
    monkeypatch.setattr(torch.random, "fork_rng", lambda devices: nullcontext())
    given = cast(Tensor, SimpleNamespace(device=torch.device("cuda")))
    with pytest.raises(torch.OutOfMemoryError):
        graphs._with_gradient(nn.Identity(), (given,))


def test_recordings_can_be_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    options, gpu = TrainingOptions(), Processes(device="cuda")
    monkeypatch.setenv("DISTILCAP_RECORD", "0")
    assert not recordings_for(options, Pictures(), gpu)
    monkeypatch.setenv("DISTILCAP_RECORD", "1")
    assert recordings_for(options, Pictures(), gpu)


def test_only_steps_of_one_shape_on_one_gpu_are_recorded() -> None:
    options, gpu = TrainingOptions(), Processes(device="cuda")
    assert recordings_for(options, Pictures(), gpu)
    assert not recordings_for(options, Pictures(), Processes())
    assert not recordings_for(options, Pictures(), Processes(count=2, device="cuda:0"))
    assert not recordings_for(replace(options, precision="bfloat16"), Pictures(), gpu)
    assert not recordings_for(options, cast(RegionSource, nn.Identity()), gpu)
