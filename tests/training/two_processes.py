"""One of the processes of `test_processes.py`: trains with the others, and writes down the losses."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import torch
from test_training import CAPTIONS, VOCABULARY, Killed, Pictures, options, training, weights
from torch import Tensor

from distilcap.decode.beam import BeamSearch
from distilcap.models.captioner import Captioner, Memory
from distilcap.models.presets import build_captioner, options_of
from distilcap.text.vocabulary import BOS, EOS, PAD
from distilcap.training import best, checkpoint, loop
from distilcap.training.imitation import TokenTeacher
from distilcap.training.objectives import SelfCritical
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TokenDistillation
from distilcap.training.processes import ALONE, Processes, launched
from distilcap.training.shares import caption_together

WIDTH = 12  # without dropout
CROSS_ENTROPY = options(
    cross_entropy=CrossEntropyPhase(epochs=3, learning_rate=1e-2, label_smoothing=0.1, weight_averaging=0.5),
    self_critical=SelfCriticalPhase(epochs=0),
)
SELF_CRITICAL = options(
    cross_entropy=CrossEntropyPhase(epochs=1, learning_rate=1e-2),
    self_critical=SelfCriticalPhase(epochs=2, learning_rate=1e-3, samples=3),
)


def fixed_samples(critical: SelfCritical, captioner: Captioner, memory: Memory) -> tuple[Tensor, None]:
    """Samples without chance: the k-th begins with the k-th likeliest word, and goes on greedily."""
    captions, max_words = critical.samples, critical.max_words + 1
    state = captioner.initial_state(memory, captions)
    last = torch.full((len(memory[0]), captions), BOS)
    words: list[Tensor] = []
    with torch.no_grad():
        for place in range(max_words):
            logits, state = captioner.step(last, state, memory)
            logits[..., [PAD, BOS]] = -torch.inf
            following = logits.argmax(dim=-1)
            if place == 0:
                following = logits[:, 0].topk(captions, dim=-1).indices
            ended = (last == EOS) | (last == PAD)
            last = following.masked_fill(ended, PAD)
            words.append(last)
    return torch.stack(words, dim=-1), None


def curves(folder: Path, processes: Processes = ALONE) -> dict[str, list[dict[str, Any]]]:
    """Losses, rewards and validation scores of four trainings."""
    found = {}
    SelfCritical._draw = fixed_samples  # type: ignore[assignment, method-assign]
    small = options_of("updown", {"hidden": 8, "embedding": 8, "attention": 4, "dropout": 0.0})
    teacher = build_captioner("updown", small, len(VOCABULARY), 6, 5)
    cases: list[tuple[str, Any, TokenTeacher | None]] = [
        ("cross-entropy", CROSS_ENTROPY, None),
        ("self-critical", SELF_CRITICAL, None),
        ("tokens", CROSS_ENTROPY, TokenTeacher(teacher, Pictures(), TokenDistillation(0.5))),
        ("tokens alone", CROSS_ENTROPY, TokenTeacher(teacher, Pictures(), TokenDistillation(1.0))),
    ]
    for name, run_options, imitated in cases:
        run = training(folder / name, Pictures(), run_options, WIDTH)
        run.processes, run.token_teacher = processes, imitated
        found[name] = [
            {key: value for key, value in record.items() if key not in ("seconds", "phase")}
            for record in run.run().history
        ]
    return found


def resume(folder: Path, processes: Processes) -> bool:
    """Whether runs that died at different steps, resumed, end in the weights of one that did not."""
    whole = training(folder / "whole", Pictures(), options())
    whole.processes = processes
    whole.run()
    equal = True
    for dies_at in (3, 8):
        died = training(folder / f"died{dies_at}", Pictures(dies_at), options(), checkpoint_seconds=0.0)
        died.processes = processes
        try:
            died.run()
        except Killed:
            torch.manual_seed(999 + processes.rank)
        resumed = training(folder / f"died{dies_at}", Pictures(), options())
        resumed.processes = processes
        resumed.run()
        found = weights(resumed._captioner)
        equal &= all(torch.equal(one, found[name]) for name, one in weights(whole._captioner).items())
    return equal


def main(folder: Path) -> None:
    processes = launched()
    if not processes.first:  # the first alone writes

        def forbidden(*_: object, **__: object) -> None:
            raise AssertionError("a process that is not the first wrote")

        checkpoint.save_tensors = forbidden
        loop.write_json = forbidden
        for name in ("save_captioner", "save_tensors"):
            setattr(best, name, forbidden)
    equal = resume(folder, processes)
    found = curves(folder, processes)
    captioner = training(folder / "unused", Pictures(), options()).trained.captioner
    ids = tuple(CAPTIONS)[:5]
    captions = caption_together(processes, captioner, VOCABULARY, Pictures(), ids, BeamSearch(3, 6), n_best=2)
    content = {
        "count": processes.count,
        "equal": equal,
        "curves": found,
        "captions": {id: captions.texts(id) for id in captions},
        "gathered": processes.gather(processes.rank),
        "agreed": processes.agree(processes.rank),
    }
    (folder / f"rank{processes.rank}.json").write_text(json.dumps(content))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
