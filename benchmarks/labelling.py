"""Labelling with 1, 2, … workers of one thread each, its encoder run by PyTorch and by ONNX Runtime.

    OMP_NUM_THREADS=1 python -m benchmarks labelling --workers 1 2 --images 600 [--photos FOLDER]
    OMP_NUM_THREADS=1 python -m benchmarks labelling --workers 1 2 --by ray [--kill]

Photographs of a folder, or drawn pictures; a trained run (`--run`), or a small Up-Down of random weights,
whose captions never end early; EfficientNet-Lite0 at 224 pixels, beam 5. The engines take turns, round by
round. Where other work keeps the machine busy, milliseconds of CPU time say more than images a second.
`reading`, `encoder` and `search` are these by themselves, on 32 of the pictures, in batches of eight.

With `--by processes` or `ray` the whole command is measured instead: `generate --images --shards 8 --engine`,
from its start to the merged file, loading of workers included; and with `--kill` once more, a worker killed
when half of the parts are there.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import signal
import statistics
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.context import SpawnContext
from pathlib import Path
from typing import Any

from benchmarks.features import check_engine, images_in
from distilcap.data.scenes import draw_scenes
from distilcap.models.presets import preset
from distilcap.pipeline.labelling import Labelling, label_side_by_side
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.stages.vocabulary import BuildVocabulary
from distilcap.store.engine import EngineOptions
from distilcap.store.store import Store
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import Shard
from distilcap.teachers.shards import label_shard
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


@dataclass(frozen=True)
class Done:
    """What a worker did, in CPU seconds, and in seconds of the clock from and to."""

    images: int
    cpu: float
    begun: float
    ended: float
    alone: dict[str, float]


def label(run: Path, images: Path, shard: Shard, to: Path, engine: str, gate: object) -> Done:
    """Caption a part, when all workers are there."""
    import torch

    torch.set_num_threads(1)
    captioner = RunCaptioner.load(run, engine=engine)
    check_engine(captioner.encoder, engine)
    alone = parts(captioner, [image.path for image in images_in(images, 32)])
    gate.wait()  # type: ignore[attr-defined]
    cpu, begun = time.process_time(), time.time()
    options = LabelOptions(shard=shard.number, shards=shard.count, threads=1)
    done = label_shard(captioner, images, to, options, SILENT)
    return Done(done.images, time.process_time() - cpu, begun, time.time(), alone)


def parts(captioner: RunCaptioner, paths: list[Path]) -> dict[str, float]:
    """CPU milliseconds an image of each part by itself."""
    batches = [paths[at : at + 8] for at in range(0, len(paths), 8)]
    spent = {}

    def timed(part: str, work: Callable[[Any], Any], given: list[Any]) -> list[Any]:
        work(given[0])  # the first time is longer
        begun = time.process_time()
        made = [work(one) for one in given]
        spent[part] = 1e3 * (time.process_time() - begun) / len(paths)
        return made

    photos = timed("reading", lambda batch: [captioner.read(path) for path in batch], batches)
    seen = timed("encoder", captioner.see, photos)
    timed("search", lambda batch: captioner.describe(batch, 5, 1), seen)
    return spent


def untrained(folder: Path) -> Path:
    """A run of random weights, which knows the words of a few scenes."""
    draw_scenes(folder / "small", (8, 2, 2), size=64)
    data = ImportData.of(folder / "small")
    features = ExtractFeatures.of(data, "efficientnet-lite0")
    options = TrainingOptions(CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=0))
    updown = preset("updown", "small")
    train = Train(data, BuildVocabulary(data, 1), features, "updown", updown, options)
    return Store(folder / "store").build(train)


def measure(
    run: Path, images: Path, count: int, engine: str, to: Path, context: SpawnContext
) -> dict[str, float]:
    with context.Manager() as manager, context.Pool(count) as pool:
        gate = manager.Barrier(count)
        work = [(run, images, Shard(number, count), to, engine, gate) for number in range(count)]
        done = pool.starmap(label, work, chunksize=1)
    labelled, cpu = sum(one.images for one in done), sum(one.cpu for one in done)
    seconds = max(one.ended for one in done) - min(one.begun for one in done)
    return {
        "images_per_second": round(labelled / seconds, 2),
        "cpu_ms_an_image": round(1e3 * cpu / labelled, 2),
        **{f"{part}_ms": round(sum(one.alone[part] for one in done) / count, 2) for part in done[0].alone},
        "cores_had": round(cpu / seconds, 2),
    }


def command(run: Path, images: Path, to: Path, workers: int, by: str, kill: bool) -> dict[str, float]:
    """The whole command, in a process of its own: images a second of the clock."""
    context = multiprocessing.get_context("spawn")
    started = time.time()
    process = context.Process(target=_command, args=(run, images, to, workers, by))
    process.start()
    while kill and process.is_alive() and len(list(to.glob("shard-*.json"))) < PARTS // 2:
        time.sleep(0.05)
    killed = _kill_a_worker(by, process.pid) if kill and process.is_alive() else 0
    process.join()
    if process.exitcode:
        raise SystemExit(f"labelling by {by} failed")
    if kill and not killed:
        raise SystemExit("it ended before a worker could be killed; take more images")
    seconds, labelled = time.time() - started, len((to / "labels.jsonl").read_text().splitlines())
    return {
        "seconds": round(seconds, 1),
        "images_per_second": round(labelled / seconds, 2),
        "images": labelled,
        "killed": killed,
    }


PARTS = 8


def _command(run: Path, images: Path, to: Path, workers: int, by: str) -> None:
    if by == "ray":
        import ray

        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, logging_level="error")
    else:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:workers])  # so many cores are there
    label_side_by_side(labelling_of(run, images, to), EngineOptions(by), SILENT)


def labelling_of(run: Path, images: Path, to: Path) -> Labelling:
    return Labelling(images, to, LabelOptions(shards=PARTS, threads=1), run)


def _kill_a_worker(by: str, command: int | None) -> int:
    """Kill one that works: of Ray's one that descends from the command, of others one that it began."""
    parents, words = {}, {}
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            words[int(folder.name)] = (folder / "cmdline").read_bytes()
            parents[int(folder.name)] = int((folder / "stat").read_text().rpartition(")")[2].split()[1])

    for process, parent in parents.items():
        if by == "ray":
            while parent in parents and parent != command:
                parent = parents[parent]
        if (b"ray::shard" if by == "ray" else b"spawn_main") in words[process] and parent == command:
            os.kill(process, signal.SIGKILL)
            return 1
    return 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--by", choices=("processes", "ray"), help="engine of the whole command")
    parser.add_argument("--kill", action="store_true", help="with --by: once more, a worker killed")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--photos", type=Path, help="folder of photographs")
    parser.add_argument("--run", type=Path, help="folder of a trained run")
    parser.add_argument("--engines", nargs="+", default=["torch", "onnxruntime"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        images = folder / "pictures"
        if arguments.photos:
            images.mkdir()
            for image in images_in(arguments.photos, arguments.images):
                (images / image.path.name).symlink_to(image.path.resolve())
        else:
            draw_scenes(folder / "scenes", (arguments.images - 4, 2, 2), size=224)
            images = folder / "scenes" / "images"
        run = arguments.run or untrained(folder)
        context = multiprocessing.get_context("spawn")
        if arguments.by:  # chosen on validation once, else by the first command alone, within its seconds
            labelling_of(run, images, folder / "labels").length_penalty(SILENT)
        for count in arguments.workers:
            for kill in (False, True)[: 1 + arguments.kill] if arguments.by else ():
                to = folder / f"labels-{count}-{kill}"
                measured = command(run, images, to, count, arguments.by, kill)
                rows.append({"workers": count, "by": arguments.by, **measured})
                print(rows[-1], flush=True)
            if arguments.by:
                continue
            for number in range(arguments.rounds):
                for engine in arguments.engines:
                    to = folder / f"labels-{count}-{number}-{engine}"
                    measured = measure(run, images, count, engine, to, context)
                    rows.append({"workers": count, "round": number, "engine": engine, **measured})
                    print(rows[-1], flush=True)
            ratios = [
                first["cpu_ms_an_image"] / second["cpu_ms_an_image"]
                for first, second in itertools.pairwise(rows)
                if first["engine"] == "torch" and first["workers"] == second["workers"] == count
            ]
            if ratios:
                print(
                    f"{count} workers: torch's CPU time is {statistics.median(ratios):.2f} times the other's"
                )
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
