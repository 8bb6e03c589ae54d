"""Training steps and decoding beside a plain reference, and beside the arithmetic limit of the machine.

`python -m benchmarks speed` takes the paper's batch (10 images x 5 captions of 16 words, 9,488 words) with
big and small Up-Down and AoANet; greedy and beam-5 captions of 32 images. Weights are random and no caption
ends early: on trained weights ours gain more, for the reference never stops early. A row with `lengths`
"coco" has captions as long as COCO's instead. Both sides take turns, each in a process of its own: what one
leaves behind in the allocator would speed up or slow down the other. The fastest round counts.

`share_of_limit` is the seconds that the step's products alone would take at the highest rate measured for a
large matrix product, over ours. `--quick` repeats less; `--json FILE` keeps the rows; `--cpu-seconds` counts
the seconds of all threads instead of the clock's, which is fairer on a busy machine (with `--threads 1`).
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import platform
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.pages import put_between
from benchmarks.reference import (
    AoANetReference,
    PlainReward,
    Reference,
    UpDownReference,
    cross_entropy_loss,
    self_critical_loss,
    words_of,
)
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.metrics.reward import CiderReward
from distilcap.models.captioner import Captioner
from distilcap.models.fast import accelerate, products
from distilcap.models.presets import build_captioner, preset
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD, SPECIALS
from distilcap.training.batches import Batch
from distilcap.training.graphs import Recordings
from distilcap.training.objectives import CrossEntropy, SelfCritical

WORDS, IMAGES, CAPTIONS, LENGTH, DECODED, CLIP = 9488, 10, 5, 16, 32, 0.1
RATE = 0.0  # Adam's work is the same, and random weights stay random: trained on, captions would end early
NEVER = -30.0  # of the end token's logit, so that both sides decode all steps
REGIONS = {"big": (36, 2048), "small": (49, 320)}
TASKS = ("xe", "scst", "greedy", "beam5")
MODELS = ("updown", "aoanet")
Parts = dict[str, float]
Work = Callable[[], Parts]


@dataclass
class Clock:
    """Seconds of the parts of one piece of work."""

    cpu: bool
    device: torch.device
    parts: Parts = field(default_factory=dict)
    last: float = 0.0

    def now(self) -> float:
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.process_time() if self.cpu else time.perf_counter()

    def start(self) -> None:
        self.parts, self.last = {}, self.now()

    def lap(self, part: str) -> None:
        now = self.now()
        self.parts[part] = self.parts.get(part, 0.0) + now - self.last
        self.last = now


@dataclass
class Setting:
    """One model at one size, and the data that both sides get."""

    architecture: str
    size: str
    lengths: str
    device: torch.device
    autocast: bool
    clock: Clock

    def __post_init__(self) -> None:
        generator = np.random.default_rng(0)
        regions, dim = REGIONS[self.size]
        self.features = torch.rand(DECODED, regions, dim, generator=torch.Generator().manual_seed(0)).to(
            self.device
        )
        # COCO's captions: 10.5 words, deviation 2.4.
        spread = 2.4 if self.lengths == "coco" else 0.0
        mean = 10.5 if self.lengths == "coco" else LENGTH
        counts = generator.normal(mean, spread, (IMAGES, CAPTIONS)).round().clip(5, LENGTH).astype(int)
        words = generator.integers(len(SPECIALS), WORDS, (IMAGES, CAPTIONS, LENGTH))
        words[np.arange(LENGTH) >= counts[..., None]] = PAD
        self.words = torch.from_numpy(words)
        self.counts = torch.from_numpy(counts)
        self.options: Any = preset(self.architecture, self.size)
        self.dim = dim

    @property
    def images(self) -> Tensor:
        return self.features[:IMAGES]


class Ours:
    """The steps as `training.loop` takes them."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.clock = setting, setting.clock
        model = accelerate(build_captioner(setting.architecture, setting.options, WORDS, setting.dim))
        self.model: Captioner = model.to(setting.device)
        with torch.no_grad():
            self.model.get_parameter("output.bias")[EOS] = NEVER
        self.packed: dict[int, products.PackedMatrix] = {}  # as all batches of a labelling share it
        self.optimizer = torch.optim.Adam(model.parameters(), lr=RATE, fused=True)
        records = setting.device.type == "cuda" and not setting.autocast
        self.recordings = Recordings(IMAGES, LENGTH - 1) if records else None
        ended = nn.functional.pad(setting.words, (0, 1), value=PAD)
        targets = ended.scatter(2, setting.counts[..., None], EOS)
        inputs = torch.cat([torch.full_like(targets[..., :1], BOS), targets[..., :-1]], dim=-1)
        self.batch = Batch(tuple(map(str, range(IMAGES))), inputs, targets)
        references = [[[w for w in one if w != PAD] for one in several] for several in setting.words.tolist()]
        reward = CiderReward(dict(zip(self.batch.ids, references, strict=True)))

        def timed_reward(image_ids: list[str], samples: np.ndarray) -> np.ndarray:
            self.clock.lap("sampling")
            rewards = reward(image_ids, samples)
            self.clock.lap("reward")
            return rewards

        self.self_critical = SelfCritical(timed_reward, CAPTIONS, "greedy", LENGTH - 1)

    def _regions(self, features: Tensor) -> Regions:
        return Regions.full(features)

    def _step(self, objective: Any) -> Parts:
        self.packed.clear()
        self.clock.start()
        self.model.train()
        with torch.autocast(self.setting.device.type, torch.bfloat16, enabled=self.setting.autocast):
            given = self.model, self._regions(self.setting.images), self.batch
            loss, _ = self.recordings(objective, *given) if self.recordings else objective(*given)
        self.optimizer.zero_grad()
        self.clock.lap("forward")
        loss.backward()
        nn.utils.clip_grad_value_(self.model.parameters(), CLIP, foreach=self.setting.device.type != "cpu")
        self.optimizer.step()
        self.clock.lap("backward")
        return self.clock.parts

    def xe(self) -> Parts:
        return self._step(CrossEntropy())

    def scst(self) -> Parts:
        parts = self._step(self.self_critical)
        backward = parts.pop("forward") + parts.pop("backward")
        return {**parts, "backward": backward}

    def _decode(self, width: int) -> Parts:
        self.clock.start()
        self.model.eval()
        options = BeamSearch(width, LENGTH, keep=1)
        autocast = torch.autocast(self.setting.device.type, torch.bfloat16, enabled=self.setting.autocast)
        with autocast, products.searches_share_weights(self.packed):
            beam_search(self.model, self._regions(self.setting.features), options)
        self.clock.lap("decode")
        return self.clock.parts

    def greedy(self) -> Parts:
        return self._decode(1)

    def beam5(self) -> Parts:
        return self._decode(5)


class Theirs:
    """The same work by the reference. Its steps count one more, for the end of a caption."""

    def __init__(self, setting: Setting) -> None:
        self.setting, self.clock = setting, setting.clock
        hidden = setting.options.hidden
        model: Reference
        if setting.architecture == "updown":
            model = UpDownReference(WORDS, setting.dim, hidden, setting.options.attention)
        else:
            model = AoANetReference(WORDS, setting.dim, hidden, setting.options.heads)
        self.model = model.to(setting.device)
        with torch.no_grad():
            model.logit.bias[0] = NEVER
        self.optimizer = torch.optim.Adam(model.parameters(), lr=RATE)
        self.tokens = nn.functional.pad(setting.words, (1, 1)).flatten(0, 1).to(setting.device)
        self.references = [
            [" ".join(str(w) for w in (*(w for w in one if w != PAD), 0)) for one in several]
            for several in setting.words.tolist()
        ]
        self.reward = PlainReward(self.references)

    def _learn(self, loss: Tensor) -> None:
        self.optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_value_(self.model.parameters(), CLIP)
        self.optimizer.step()

    def xe(self) -> Parts:
        self.clock.start()
        self.model.train()
        loss = cross_entropy_loss(self.model, self.setting.images, self.tokens)
        self.clock.lap("forward")
        self._learn(loss)
        self.clock.lap("backward")
        return self.clock.parts

    def scst(self) -> Parts:
        self.clock.start()
        self.model.eval()
        with torch.no_grad():
            greedy, _ = self.model.sample(self.setting.images, 1, LENGTH, greedy=True)
        self.model.train()
        tokens, log_probs = self.model.sample(self.setting.images, CAPTIONS, LENGTH, greedy=False)
        self.clock.lap("sampling")
        captions = [*words_of(tokens), *words_of(greedy)]
        each = [one for one in self.references for _ in range(CAPTIONS)]
        scores = torch.tensor(self.reward(captions, [*each, *self.references]), device=tokens.device)
        self.clock.lap("reward")
        advantages = scores[: len(tokens)] - scores[len(tokens) :].repeat_interleave(CAPTIONS)
        self._learn(self_critical_loss(log_probs, tokens, advantages))
        self.clock.lap("backward")
        return self.clock.parts

    def greedy(self) -> Parts:
        self.clock.start()
        self.model.eval()
        with torch.no_grad():
            self.model.sample(self.setting.features, 1, LENGTH, greedy=True)
        self.clock.lap("decode")
        return self.clock.parts

    def beam5(self) -> Parts:
        self.clock.start()
        self.model.eval()
        with torch.no_grad():
            self.model.beam(self.setting.features, 5, LENGTH)
        self.clock.lap("decode")
        return self.clock.parts


def best(several: list[Parts]) -> Parts:
    """The fastest round: what else runs on a machine can only slow one down."""
    parts = min(several, key=lambda one: sum(one.values()))
    return {**parts, "total": sum(parts.values())}


@dataclass(frozen=True)
class Case:
    """What one process measures."""

    side: str
    architecture: str
    size: str
    lengths: str
    device: str
    autocast: bool
    cpu_seconds: bool
    threads: int

    def serve(self, pipe: Connection) -> None:
        """Do the tasks asked for, until asked to stop."""
        torch.set_num_threads(self.threads)
        torch.manual_seed(0)
        device = torch.device(self.device)
        clock = Clock(self.cpu_seconds, device)
        setting = Setting(self.architecture, self.size, self.lengths, device, self.autocast, clock)
        work = Ours(setting) if self.side == "ours" else Theirs(setting)
        while (task := pipe.recv()) is not None:
            count_flops, name = task
            if isinstance(work, Ours) and count_flops:  # which a recording does not show
                work.recordings, kept = None, work.recordings
                pipe.send(flops_of(getattr(work, name)))
                work.recordings = kept
                continue
            pipe.send(flops_of(getattr(work, name)) if count_flops else getattr(work, name)())


class Side:
    """A process that measures one side."""

    def __init__(self, case: Case) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=case.serve, args=(theirs,), daemon=True)
        self._process.start()
        theirs.close()  # so that its death is noticed here

    def _ask(self, task: tuple[bool, str] | None) -> Any:
        self._pipe.send(task)
        return self._pipe.recv()

    def __call__(self, task: str) -> Parts:
        return dict(self._ask((False, task)))

    def flops(self, task: str) -> int:
        return int(self._ask((True, task)))

    def close(self) -> None:
        self._pipe.send(None)
        self._process.join()


def turns(ours: Side, theirs: Side, task: str, rounds: int) -> tuple[Parts, Parts]:
    ours(task), theirs(task)  # the first is for allocations
    measured: tuple[list[Parts], list[Parts]] = ([], [])
    for _ in range(rounds):
        measured[0].append(ours(task))
        measured[1].append(theirs(task))
    return best(measured[0]), best(measured[1])


def product_rate(clock: Clock, autocast: bool, rounds: int = 15) -> float:
    """FLOP/s of a large matrix product."""
    size = 2048 if clock.device.type == "cpu" else 8192
    matrix = torch.randn(size, size, device=clock.device)
    matrix = matrix.bfloat16() if autocast else matrix
    times = []
    for _ in range(rounds + 1):
        clock.start()
        matrix @ matrix
        clock.lap("product")
        times.append(clock.parts["product"])
    return 2 * size**3 / min(times[1:])


def flops_of(work: Work) -> int:
    # Products by packed matrices are not counted; plain ones are, and have as many.
    packed = products.PackedMatrix.__call__
    products.PackedMatrix.__call__ = (  # type: ignore[method-assign]
        lambda self, rows, bias=None: nn.functional.linear(rows, self.matrix, bias)
    )
    try:
        with FlopCounterMode(display=False) as counter:
            work()
    finally:
        products.PackedMatrix.__call__ = packed  # type: ignore[method-assign]
    return int(counter.get_total_flops())


def rows_of(
    case: Case, ours: Side, theirs: Side, tasks: tuple[str, ...], rounds: int, rate: float
) -> Iterator[dict[str, Any]]:
    for task in tasks:
        mine, other = turns(ours, theirs, task, rounds)
        flops = ours.flops(task)
        row: dict[str, Any] = {
            "task": task,
            "model": case.architecture,
            "size": case.size,
            "lengths": case.lengths,
            "ours_seconds": mine.pop("total"),
            "reference_seconds": other.pop("total"),
            "gigaflops": flops / 1e9,
        }
        row["ratio"] = row["reference_seconds"] / row["ours_seconds"]
        row["share_of_limit"] = flops / rate / row["ours_seconds"]
        if task in ("greedy", "beam5"):
            row["ours_captions_per_second"] = DECODED / row["ours_seconds"]
            row["reference_captions_per_second"] = DECODED / row["reference_seconds"]
        else:
            row["ours_parts"], row["reference_parts"] = mine, other
        yield row


def shown(row: dict[str, Any]) -> str:
    text = (
        f"{row['task']:6} {row['model']:7} {row['size']:5} {row['lengths']:5}"
        f"{row['ours_seconds']:9.4f} s {row['reference_seconds']:9.4f} s"
        f"{row['ratio']:7.2f} x {100 * row['share_of_limit']:6.1f} %"
    )
    if "ours_parts" in row:
        return text + "   " + ", ".join(f"{name} {value:.4f}" for name, value in row["ours_parts"].items())
    return f"{text}   {row['ours_captions_per_second']:.1f} captions/s"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Markdown of full-length rows."""
    lines = [
        "| task | model | size | ours, s | reference, s | ratio | share of limit | parts of ours, s |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in rows:
        rate = f"{row.get('ours_captions_per_second', 0):.0f} captions/s"
        parts = ", ".join(f"{name} {value:.3f}" for name, value in row.get("ours_parts", {}).items())
        note = "" if row["lengths"] == "full" else " (COCO's lengths)"
        lines.append(
            f"| {row['task']}{note} | {row['model']} | {row['size']} | {row['ours_seconds']:.3f} "
            f"| {row['reference_seconds']:.3f} | {row['ratio']:.2f} | {100 * row['share_of_limit']:.0f} % "
            f"| {parts or rate} |"
        )
    return "\n".join(lines)


def check_whole(measured: Iterable[tuple[str, str, str]]) -> None:
    """Make sure that a page's table loses no row: tasks, models and sizes, at full lengths."""
    lacking = set(itertools.product(TASKS, MODELS, REGIONS)) - set(measured)
    if lacking:
        raise SystemExit(
            f"The page's table has {len(lacking)} rows more, such as {' '.join(min(lacking))}; measure all, "
            "or parts by `--json` and give all their files by `--measured`."
        )


def write_table(path: Path, machines: Sequence[dict[str, Any]], rows: Sequence[dict[str, Any]]) -> None:
    """Replace what lies between the page's two marks."""
    check_whole((row["task"], row["model"], row["size"]) for row in rows if row["lengths"] == "full")
    rate = max(one["product_gigaflops_per_second"] for one in machines)
    first = machines[0]
    about = (
        f"{first['device']}, {first['threads']} threads, torch {first['torch']}, ours in "
        f"{first['ours_precision']}, seconds {first['seconds']}; matrix product {rate:.0f} GFLOP/s."
    )
    put_between(path, "<!-- rows -->\n", f"{about}\n\n{table(rows)}\n", "<!-- end -->")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="3 rounds and full lengths only")
    parser.add_argument("--json", type=Path, help="file for the rows")
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=TASKS)
    parser.add_argument("--models", nargs="+", choices=MODELS, default=MODELS)
    parser.add_argument("--sizes", nargs="+", choices=tuple(REGIONS), default=tuple(REGIONS))
    parser.add_argument(
        "--rounds", type=int, help="as given  [default: 7, or 3 with --quick; of small ones five times]"
    )
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    parser.add_argument(
        "--bfloat16", action="store_true", help="ours under autocast; the reference stays float32"
    )
    parser.add_argument("--cpu-seconds", action="store_true", help="of all threads, not the clock's")
    parser.add_argument("--table", type=Path, help="page whose table is replaced, as docs/speed.md")
    parser.add_argument(
        "--measured", type=Path, nargs="+", help="files of --json to show; nothing is measured"
    )
    given = parser.parse_args()
    if given.measured:
        parts = [json.loads(path.read_text()) for path in given.measured]
        rows = [row for part in parts for row in part["rows"]]
        rate = max(part["machine"]["product_gigaflops_per_second"] for part in parts)
        for row in rows:  # one limit for all
            row["share_of_limit"] = row["gigaflops"] / rate / row["ours_seconds"]
        print("\n".join(map(shown, rows)))
        if given.table:
            write_table(given.table, [part["machine"] for part in parts], rows)
        return
    if given.table:  # before minutes are spent
        check_whole(itertools.product(given.tasks, given.models, given.sizes))
    measure(given)


def measure(given: argparse.Namespace) -> None:
    torch.set_num_threads(given.threads)
    clock = Clock(given.cpu_seconds, torch.device(given.device))
    rate = product_rate(clock, given.bfloat16)
    print(f"{given.device}, {given.threads} threads, matrix product {rate / 1e9:.0f} GFLOP/s")
    print("task   model   size  lengths    ours   reference   ratio   limit")
    rows = []
    for size in given.sizes:
        for model in given.models:
            for lengths in ("full",) if given.quick else ("full", "coco"):
                measures = (lengths, given.device, given.bfloat16, given.cpu_seconds, given.threads)
                cases = [Case(side, model, size, *measures) for side in ("ours", "theirs")]
                tasks = tuple(given.tasks) if lengths == "full" else tuple({"xe"} & {*given.tasks})
                # Short steps need more rounds to meet a moment in which nothing else runs.
                rounds = given.rounds or (3 if given.quick else 7) * (5 if size == "small" else 1)
                # What the machine gives changes by the minute; the highest rate is the limit.
                rate = max(rate, product_rate(clock, given.bfloat16))
                with closing(Side(cases[0])) as ours, closing(Side(cases[1])) as theirs:
                    for row in rows_of(cases[0], ours, theirs, tasks, rounds, rate):
                        rows.append(row)
                        print(shown(row), flush=True)
    for row in rows:
        row["share_of_limit"] = row["gigaflops"] * 1e9 / rate / row["ours_seconds"]
    machine = {
        "processor": platform.processor() or platform.machine(),
        "device": given.device if given.device == "cpu" else torch.cuda.get_device_name(),
        "threads": given.threads,
        "torch": torch.__version__,
        "product_gigaflops_per_second": rate / 1e9,
        "seconds": "of all threads" if given.cpu_seconds else "of the clock",
        "ours_precision": "bfloat16" if given.bfloat16 else "float32",
    }
    if given.json:
        given.json.write_text(json.dumps({"machine": machine, "rows": rows}, indent=1))
    if given.table:
        write_table(given.table, [machine], rows)


if __name__ == "__main__":
    main()
