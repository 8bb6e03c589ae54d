"""The training loop: both phases, validation and checkpoints."""

from __future__ import annotations

import copy
import dataclasses
import gc
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import nn

from distilcap.data.captions import CaptionSet
from distilcap.decode.captions import RegionSource
from distilcap.files import write_json
from distilcap.models.captioner import Captioner
from distilcap.models.fast import accelerate, plain, plain_asked_for
from distilcap.models.weights import TrainedCaptioner, load_captioner
from distilcap.progress import SILENT, Progress
from distilcap.text.vocabulary import PAD
from distilcap.training.batches import Batch, Batches, encode_captions
from distilcap.training.best import BestWeights
from distilcap.training.checkpoint import Position, load_checkpoint, save_checkpoint
from distilcap.training.divergence import check_loss, check_weights, fallen
from distilcap.training.graphs import Recordings, recordings_for
from distilcap.training.imitation import Imitation, TokenTeacher
from distilcap.training.objectives import CrossEntropy, Objective, Reward, SelfCritical
from distilcap.training.options import LEARNT_NOTHING, CrossEntropyPhase, SelfCriticalPhase, TrainingOptions
from distilcap.training.processes import ALONE, Processes
from distilcap.training.schedule import better_on_the_whole, move_average, never_warm, rate_factor
from distilcap.training.shares import share_of_batch
from distilcap.training.validation import validate

__all__ = ["CHECKPOINT", "LOG", "Training"]

CHECKPOINT, LOG = "checkpoint.safetensors", "log.json"
Phase = CrossEntropyPhase | SelfCriticalPhase
_THEN = ", then "  # between the devices of a run


@dataclass
class Training:
    """A run: a captioner, what it learns from, and where it is kept.

    Attributes:
        trained: the captioner with random (or inherited) weights, and its vocabulary.
        source: regions of all images; where it is an `nn.Module`, it is trained along.
        labels: captions of the training images, by people or by a teacher.
        validation: references of the validation images.
        reward: of the self-critical phase, made when that begins.
        folder: gets `captioner.*` (the best by validation CIDEr), `log.json` and `checkpoint.safetensors`,
            which whoever keeps the result deletes.
        checkpoint_seconds: at most so much work is lost with a killed process.
        token_teacher: imitated in the cross-entropy phase.
        processes: all run this, on the same batches, of which each computes its share of images; the first
            writes to `folder`.
    """

    trained: TrainedCaptioner
    source: RegionSource
    labels: CaptionSet
    validation: CaptionSet
    reward: Callable[[], Reward]
    options: TrainingOptions
    folder: Path
    progress: Progress = SILENT
    checkpoint_seconds: float = 60.0
    token_teacher: TokenTeacher | None = None
    processes: Processes = ALONE
    position: Position = field(default_factory=Position, init=False)
    _recordings: Recordings | None = field(default=None, init=False)
    _best: BestWeights = field(init=False)

    def run(self) -> Position:
        """Train to the end, from the checkpoint in `folder`, if any.

        A run that was killed and resumed gives the same weights as an uninterrupted run. Processes of a
        launch follow the loss curve of a single process, but for rounding, and for dropout and samples, which
        each process draws from a random stream of its own.

        Raises:
            TrainingError: the loss is not finite or far above a uniform guess; the best weights are kept.
        """
        self.processes.seed(self.options.seed)
        encoded = encode_captions(self.labels, self.trained.vocabulary, self.options.max_words)
        batches = Batches(
            encoded, self.options.batch_images, self.options.captions_per_image, self.options.seed
        )
        if self.processes.agree((self.folder / CHECKPOINT).exists()):
            self.position = load_checkpoint(self.folder / CHECKPOINT, {}, None)
            if self.position.best_phase >= 0 and self.processes.first:
                load_captioner(self.folder)  # damage since then is told now, and not kept as the result
            self._take_path(self.position.plain)
            self._note_device()
        else:
            self._take_path(self.processes.agree(plain_asked_for()))
            self.position.device = self.processes.device_name
        self._best = BestWeights(self.folder, self.trained, self.source, self.options, self.processes.first)
        phases: list[Phase] = [self.options.cross_entropy, self.options.self_critical]
        try:
            for number in range(self.position.phase, len(phases)):
                if phases[number].epochs:
                    self._run_phase(number, phases[number], batches)
        finally:
            self._forget_recordings()
        if self.position.start_scores:
            self.progress.note(
                "No better on validation, on the whole, than what training began from: that stays."
            )
        if self.position.best_phase < 0:  # no epoch at all: the weights as they are
            self._best.keep(self._captioner)
        if self.processes.first:
            # Again, for a run that was killed after its last epoch: what the checkpoint keeps is checked.
            write_json(self.folder / LOG, self.position.history)
        return self.position

    @property
    def _captioner(self) -> Captioner:
        return self.trained.captioner

    def _take_path(self, by_plain_code: bool) -> None:
        """Compute by plain code or by `models.fast`; a run keeps to what it began with, for the two round
        differently."""
        choose = plain if by_plain_code else accelerate
        self.trained = dataclasses.replace(self.trained, captioner=choose(self._captioner))
        if self.token_teacher is not None:
            teacher = choose(self.token_teacher.captioner)
            self.token_teacher = dataclasses.replace(self.token_teacher, captioner=teacher)
        self.position.plain = by_plain_code  # the student may have no faster form where its teacher has
        if by_plain_code != plain_asked_for():
            path = "plain" if by_plain_code else "accelerated"
            self.progress.note(f"This run began with {path} code, and goes on with it.")

    def _note_device(self) -> None:
        """Say so, here and in what the run leaves, where it goes on on another device than it was on last."""
        own, before = self.processes.device_name, self.position.device.split(_THEN)
        if own != before[-1] != "":
            self.position.device = _THEN.join([*before, own])
            self.progress.note(
                f"This run was on {before[-1]}, and goes on on {own}: numbers round differently, and its "
                "dropout and samples are others than without the change."
            )

    def _run_phase(self, number: int, phase: Phase, batches: Batches) -> None:
        average = copy.deepcopy(self._captioner) if phase.weight_averaging else None
        modules: dict[str, nn.Module] = {"captioner": self._captioner}
        if average is not None:
            modules["average"] = average
        if isinstance(self.source, nn.Module):
            modules["encoder"] = self.source
        optimizer = self._optimizer(phase)
        resumes = self.processes.agree((self.folder / CHECKPOINT).exists()) and self.position.phase == number
        if resumes:
            device = self.position.device
            self.position = load_checkpoint(self.folder / CHECKPOINT, modules, optimizer, self.processes)
            self.position.device = device
        else:
            self._begin_phase(number, modules)
            if self.options.validate_start and self.position.best_phase < 0:
                score = self._keep_if_best(self._captioner)
                self.progress.note(f"before training: validation CIDEr {100 * score:.1f}")
            self._save(modules, optimizer)
        at = self.position
        critical = self._self_critical(phase) if isinstance(phase, SelfCriticalPhase) else None
        self._forget_recordings()
        self._recordings = recordings_for(self.options, self.source, self.processes)
        total = phase.epochs * len(batches)
        if not at.step and (told := never_warm(phase, total)):
            self.progress.note(told)
        saved = started = time.perf_counter()
        name = "Self-critical training" if critical else "Cross-entropy training"
        for batch in self.progress.track(self._remaining(phase, batches), name, total, at.step):
            figures = self._step(phase, batch, optimizer, total, critical)
            if average is not None:
                move_average(average, self._captioner, phase.weight_averaging, at.step)
            at.step, at.batch, at.images = at.step + 1, at.batch + 1, at.images + len(batch.ids)
            for figure, value in figures.items():
                mean = at.means.get(figure, value)
                at.means[figure] = mean + (value - mean) / at.batch
            ended = at.batch == len(batches)
            now = time.perf_counter()
            if ended or self.processes.agree(now - saved > self.checkpoint_seconds):
                at.seconds += now - started
                if ended:
                    at.epoch, at.batch = at.epoch + 1, 0
                    self._end_epoch(phase, average or self._captioner)
                self._save(modules, optimizer)
                # Validation and saving are not training time.
                saved = started = time.perf_counter()
        self._judge_start()
        if told := fallen(phase, at):
            self.progress.note(told)

    def _forget_recordings(self) -> None:
        """PyTorch's recordings are in cycles: left to the collector, they would die at any later moment."""
        if self._recordings is not None:
            self._recordings = None
            gc.collect()

    def _save(self, modules: dict[str, nn.Module], optimizer: torch.optim.Optimizer) -> None:
        save_checkpoint(self.folder / CHECKPOINT, self.position, modules, optimizer, self.processes)

    def _begin_phase(self, number: int, modules: dict[str, nn.Module]) -> None:
        """The self-critical phase begins from the best weights of the cross-entropy phase."""
        if self.position.best_phase >= 0:
            self._best.load_into(modules)
        at = self.position
        self.position = Position(
            phase=number,
            best_score=at.best_score,
            best_phase=at.best_phase,
            seconds=at.seconds,
            images=at.images,
            history=at.history,
            plain=at.plain,
            start_scores=at.start_scores,
            device=at.device,
        )

    def _optimizer(self, phase: Phase) -> torch.optim.Optimizer:
        groups: list[dict[str, Any]] = [
            {"params": list(self._captioner.parameters()), "base_rate": phase.learning_rate}
        ]
        if isinstance(self.source, nn.Module):
            tuned = [parameter for parameter in self.source.parameters() if parameter.requires_grad]
            groups.append({"params": tuned, "base_rate": self.options.encoder_rate(phase)})
        return torch.optim.Adam(groups, lr=phase.learning_rate, fused=True)

    def _remaining(self, phase: Phase, batches: Batches) -> Iterator[Batch]:
        for epoch in range(self.position.epoch, phase.epochs):
            worse = self.position.since_better
            if self.options.patience and worse >= self.options.patience:  # also where it was killed there
                self.progress.note(f"stopped after epoch {epoch}: no better weights in {worse} validations")
                return
            yield from batches.epoch(epoch, self.position.batch)

    def _self_critical(self, phase: SelfCriticalPhase) -> Objective:
        return SelfCritical(
            self.reward(), phase.samples, phase.baseline, self.options.max_words, phase.dropout
        )

    def _cross_entropy(self, phase: Phase) -> Objective:
        assert isinstance(phase, CrossEntropyPhase)
        sampling = min(phase.scheduled_sampling, 0.05 * (self.position.epoch // 5))
        objective = CrossEntropy(phase.label_smoothing, sampling)
        return Imitation(objective, self.token_teacher) if self.token_teacher else objective

    def _step(
        self,
        phase: Phase,
        batch: Batch,
        optimizer: torch.optim.Optimizer,
        total: int,
        critical: Objective | None,
    ) -> dict[str, float]:
        factor = rate_factor(phase, self.position.step, self.position.epoch, total)
        for group in optimizer.param_groups:
            group["lr"] = group["base_rate"] * factor
        self._captioner.train()
        device = next(self._captioner.parameters()).device
        mine = self.processes.share(range(len(batch.ids)))
        own = batch if len(mine) == len(batch.ids) else batch.rows(mine or (0,))
        with torch.autocast(device.type, torch.bfloat16, enabled=self.options.precision == "bfloat16"):
            regions = self.source.regions_of(own.ids).to(device)
            objective = critical or self._cross_entropy(phase)
            if self._recordings:
                loss, figures = self._recordings(objective, self._captioner, regions, own)
            else:
                loss, figures = objective(self._captioner, regions, own)
        words = float(figures.pop("words", (own.targets != PAD).sum()))
        # A process without an image computed another in vain, so that all do the same.
        part = share_of_batch(self.processes, loss, figures, words if mine else 0.0, len(mine))
        check_loss(
            part.whole, phase, self.position, self._captioner, self.source, regions, own.ids, self.folder
        )
        optimizer.zero_grad()
        part.loss.backward()  # type: ignore[no-untyped-call]
        clipped = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        self.processes.total_gradients(clipped)
        # One pass over each gradient; for all together, PyTorch makes two.
        torch.nn.utils.clip_grad_value_(clipped, self.options.gradient_clip, foreach=device.type != "cpu")
        optimizer.step()
        return part.figures

    def _end_epoch(self, phase: Phase, captioner: Captioner) -> None:
        at = self.position
        figures, at.means = at.means, {}
        record: dict[str, Any] = {
            "phase": at.phase_name,
            "epoch": at.epoch,
            "images": at.images,
            "seconds": round(at.seconds, 2),
            **{name: round(value, 6) for name, value in figures.items()},
        }
        if at.epoch % self.options.validation_every == 0 or at.epoch == phase.epochs:
            with self._best.mixed_with_start(captioner, at.goes_on) as mixed:
                score = self._keep_if_best(mixed)
            record["validation_cider"] = round(score, 6)
            figures_text = ", ".join(f"{name} {value:.3f}" for name, value in figures.items())
            self.progress.note(f"epoch {at.epoch}: {figures_text}, validation CIDEr {100 * score:.1f}")
        at.history.append(record)
        if self.processes.first:
            write_json(self.folder / LOG, at.history)

    def _keep_if_best(self, captioner: Captioner) -> float:
        """Validate, and keep the phase's best weights, for `_judge_start`; the score."""
        at, (score, scores) = self.position, self._validate(captioner)
        first = not at.validations and bool(at.start_scores)
        if self.options.validate_start and at.best_phase < 0:
            at.start_scores = scores
        if first or score > at.best_score:
            at.best_score, at.best_phase, at.since_better = score, at.phase, 0
            self._best.keep(captioner)
        elif max(at.best_score, at.start_score) >= LEARNT_NOTHING:  # else nothing could become worse
            at.since_better += 1
        return score

    def _judge_start(self) -> None:
        """At a phase's end: go back to what training began from, unless the phase was better."""
        at = self.position
        if not (at.start_scores and at.validations):
            return
        # The log's scores are rounded. Older versions kept the start's weights where an epoch was better.
        if better_on_the_whole(at.validations, round(at.start_score, 6)) and at.best_score != at.start_score:
            at.start_scores = []
        else:
            at.best_score = at.start_score
            self._best.keep_start()

    def _validate(self, captioner: Captioner) -> tuple[float, list[float]]:
        """CIDEr of the validation images, and of each."""
        check_weights(captioner, self.position, self.folder)
        return validate(
            captioner, self.trained.vocabulary, self.source, self.validation, self.options, self.processes
        )
