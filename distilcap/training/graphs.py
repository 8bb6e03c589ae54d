"""Training steps recorded once as CUDA graphs, and replayed.

A small captioner's step is some 2,500 operators of a few microseconds each; a processor core takes ten times
as long to launch them as a GPU to compute them (docs/speed.md). A recording is launched as one. It has one
shape and asks the processor nothing, so captions are padded to the longest and every sample is drawn to the
last word. Scheduled sampling and imitation are never recorded. Must equal `training.objectives`, but for the
random numbers that dropout and samples take.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.functional import pad

from distilcap.decode.beam import forbidden_tokens
from distilcap.decode.captions import RegionSource
from distilcap.errors import TrainingError, memory_error
from distilcap.models.captioner import Captioner
from distilcap.models.fast.captioner import FastCaptioner
from distilcap.models.fast.packing import Packing
from distilcap.models.fast.sampling import draw_to_the_end
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, PAD
from distilcap.training.batches import Batch
from distilcap.training.objectives import CrossEntropy, Objective, SelfCritical
from distilcap.training.options import TrainingOptions
from distilcap.training.processes import Processes

__all__ = ["RECORD", "Recordings", "recordings_for"]

RECORD = "DISTILCAP_RECORD"
"""The environment variable that, where it is 0, has every step computed and none recorded."""

Compute = Callable[..., Tensor]
"""What can be recorded: tensors of one shape to a tensor, all on one device."""


class Recordings:
    """The steps of one phase of training.

    Args:
        images: of a batch that is recorded; the last batch of an epoch, which may be smaller, is computed.
        max_words: of a caption, without its end token.
    """

    def __init__(self, images: int, max_words: int) -> None:
        self.images, self.words = images, max_words + 1
        self._recorded: dict[Hashable, Compute] = {}

    def __call__(
        self, objective: Objective, captioner: Captioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """The objective's loss and figures, by a recording if there can be one."""
        if isinstance(captioner, FastCaptioner) and len(batch.ids) == self.images:
            if isinstance(objective, CrossEntropy) and not objective.sampling:
                return self._cross_entropy(objective, captioner, regions, batch)
            if isinstance(objective, SelfCritical):
                return self._self_critical(objective, captioner, regions, batch)
        return objective(captioner, regions, batch)

    def _cross_entropy(
        self, objective: CrossEntropy, captioner: FastCaptioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        targets = pad(batch.targets, (0, max(0, self.words - batch.targets.shape[2])), value=PAD)
        weights = torch.ones(*targets.shape[:2], 1)
        loss = self._loss(captioner, regions, targets, weights, objective.label_smoothing)
        return loss, {"loss": loss.detach()}

    def _self_critical(
        self, objective: SelfCritical, captioner: FastCaptioner, regions: Regions, batch: Batch
    ) -> tuple[Tensor, dict[str, Tensor]]:
        captioner.eval()
        drawn = self._drawn(objective, captioner, regions).cpu()
        captioner.train(objective.dropout)
        tokens, advantage, figures = objective.rewarded(batch.ids, drawn)
        loss = self._loss(captioner, regions, tokens, advantage)
        return loss, {"loss": loss.detach(), **figures}

    def _loss(
        self,
        captioner: FastCaptioner,
        regions: Regions,
        targets: Tensor,
        weights: Tensor,
        smoothing: float = 0.0,
    ) -> Tensor:
        device = regions.features.device
        given = regions.features, regions.mask, targets.to(device), weights.to(device)
        key = "loss", targets.shape, smoothing, captioner.training
        if key not in self._recorded:
            loss = _Loss(captioner, Packing.full(targets.shape, device), smoothing)
            self._recorded[key] = _with_gradient(loss.train(captioner.training), given)
        return self._recorded[key](*given)

    def _drawn(self, objective: SelfCritical, captioner: FastCaptioner, regions: Regions) -> Tensor:
        """Samples (B, K, T), the likeliest caption after them where that is the baseline."""
        if "drawn" not in self._recorded:
            forbidden = forbidden_tokens(True, regions.features.device)
            with_best = objective.baseline == "greedy"
            samples, words = objective.samples, self.words  # not `self`, whose recording this becomes

            def draw(features: Tensor, mask: Tensor) -> Tensor:
                memory = captioner.encode(Regions(features, mask))
                return draw_to_the_end(captioner, memory, samples, forbidden, words, with_best=with_best)

            self._recorded["drawn"] = _without_gradient(draw, (regions.features, regions.mask))
        return self._recorded["drawn"](regions.features, regions.mask)


def recordings_for(options: TrainingOptions, source: RegionSource, processes: Processes) -> Recordings | None:
    """For a run whose steps a GPU replays: all batches have one shape, and no encoder is trained along."""
    if not processes.device.startswith("cuda") or processes.count > 1 or os.environ.get(RECORD) == "0":
        return None
    if options.precision != "float32" or isinstance(source, nn.Module):
        return None
    return Recordings(options.batch_images, options.max_words)


class _Loss(nn.Module):
    """The mean over words of weights (B, K, 1) times minus the log-probabilities of targets (B, K, T)."""

    def __init__(self, captioner: FastCaptioner, packing: Packing, smoothing: float) -> None:
        super().__init__()
        self.captioner, self.packing, self.smoothing = captioner, packing, smoothing

    def forward(self, features: Tensor, mask: Tensor, targets: Tensor, weights: Tensor) -> Tensor:
        memory = self.captioner.encode(Regions(features, mask))
        inputs = pad(targets[..., :-1], (1, 0), value=BOS)
        hidden = self.captioner.read(memory, self.packing.pack(inputs), self.packing)
        wanted = self.packing.pack(targets)
        losses = self.captioner.output.negative_log_likelihood(hidden, wanted, self.smoothing)
        weighted = losses * self.packing.pack(weights.expand(targets.shape))
        real = wanted != PAD
        return weighted.masked_fill(~real, 0.0).sum() / real.sum()


@contextmanager
def _recording(device: torch.device) -> Iterator[None]:
    """Within, a step is recorded. Random numbers are as before afterwards: a resumed run records again, and
    must draw the same. No garbage is collected: an older recording that died meanwhile would spoil this one.
    """
    collects = gc.isenabled()
    gc.disable()
    try:
        with torch.random.fork_rng([device]):
            yield
    except RuntimeError as error:
        if memory_error(error):
            raise  # it runs out without a recording, too
        reason = str(error).partition("\n")[0]
        raise TrainingError(
            f"A training step could not be recorded as a CUDA graph ({reason}). Next step: set the "
            f"environment variable {RECORD}=0 and start again; the run goes on from its checkpoint."
        ) from error
    finally:
        if collects:
            gc.enable()


def _with_gradient(compute: nn.Module, given: tuple[Tensor, ...]) -> Compute:
    """Record a module's forward and backward pass; on other devices than GPUs, itself."""
    if given[0].device.type != "cuda":
        return compute
    # Warm-up has its own stream, and gradients wait for it once; nothing is wrong.
    torch.autograd.graph.set_warn_on_accumulate_grad_stream_mismatch(False)
    with _recording(given[0].device):
        recorded: Compute = torch.cuda.make_graphed_callables(compute, given, allow_unused_input=True)  # type: ignore
    return recorded


def _without_gradient(compute: Compute, given: tuple[Tensor, ...]) -> Compute:
    """Record a function; on other devices than GPUs, itself."""
    return _Replay(compute, given) if given[0].device.type == "cuda" else torch.no_grad()(compute)


class _Replay:
    """A function recorded with the tensors given; called, it takes others of their shapes."""

    def __init__(self, compute: Compute, given: tuple[Tensor, ...]) -> None:
        # Kept: were a tensor of its own freed, replays would read what came to lie there.
        self.compute = compute
        self.given = tuple(tensor.clone() for tensor in given)
        self.graph = torch.cuda.CUDAGraph()
        stream: torch.cuda.Stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.no_grad(), _recording(given[0].device):
            with torch.cuda.stream(stream):
                compute(*self.given)  # what happens the first time only is not recorded
            torch.cuda.current_stream().wait_stream(stream)
            with torch.cuda.graph(self.graph):
                self.result = compute(*self.given)

    def __call__(self, *given: Tensor) -> Tensor:
        for own, new in zip(self.given, given, strict=True):
            own.copy_(new)
        self.graph.replay()
        return self.result
