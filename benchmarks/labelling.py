"""Labelling with 1, 2, … processes of one thread each, its encoder run by PyTorch and by ONNX Runtime.

    OMP_NUM_THREADS=1 python -m benchmarks labelling --processes 1 2 --images 600 [--photos FOLDER]

Photographs of a folder, or drawn pictures; a trained run (`--run`), or a small Up-Down of random weights,
whose captions never end early; EfficientNet-Lite0 at 224 pixels, beam 5. The engines take turns, round by
round. Where other work keeps the machine busy, milliseconds of CPU time say more than images a second.
`alone` is the encoder by itself on the same pictures, in batches of eight.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import statistics
import tempfile
import time
from multiprocessing.context import SpawnContext
from pathlib import Path

from distilcap.data.scenes import draw_scenes
from distilcap.models.presets import preset
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import Shard
from distilcap.teachers.shards import label_shard
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


def label(
    run: Path, images: Path, shard: Shard, to: Path, engine: str, gate: object
) -> tuple[int, float, float, float, float]:
    """Images, CPU seconds, when the work began and ended, and CPU seconds of the encoder alone."""
    import torch

    torch.set_num_threads(1)
    captioner = RunCaptioner.load(run, engine=engine)
    photos = [captioner.read(path) for path in sorted(images.glob("*.[jp][pn]g"))[:32]]
    captioner.see(photos[:8])
    cpu = time.process_time()
    captioner.see(photos)
    alone = (time.process_time() - cpu) / len(photos)
    gate.wait()  # type: ignore[attr-defined]
    cpu, begun = time.process_time(), time.time()
    options = LabelOptions(shard=shard.number, shards=shard.count, threads=1)
    done = label_shard(captioner, images, to, options, SILENT)
    return done.images, time.process_time() - cpu, begun, time.time(), alone


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
    labelled, cpu = sum(one[0] for one in done), sum(one[1] for one in done)
    seconds = max(one[3] for one in done) - min(one[2] for one in done)
    return {
        "images_per_second": round(labelled / seconds, 2),
        "cpu_ms_an_image": round(1e3 * cpu / labelled, 2),
        "encoder_alone_cpu_ms": round(1e3 * sum(one[4] for one in done) / count, 2),
        "cores_had": round(cpu / seconds, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
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
            for path in sorted(arguments.photos.glob("*.[jp][pn]g"))[: arguments.images]:
                (images / path.name).symlink_to(path.resolve())
        else:
            draw_scenes(folder / "scenes", (arguments.images - 4, 2, 2), size=224)
            images = folder / "scenes" / "images"
        run = arguments.run or untrained(folder)
        context = multiprocessing.get_context("spawn")
        for count in arguments.processes:
            for number in range(arguments.rounds):
                for engine in arguments.engines:
                    to = folder / f"labels-{count}-{number}-{engine}"
                    measured = measure(run, images, count, engine, to, context)
                    rows.append({"processes": count, "round": number, "engine": engine, **measured})
                    print(rows[-1], flush=True)
            ratios = [
                first["cpu_ms_an_image"] / second["cpu_ms_an_image"]
                for first, second in itertools.pairwise(rows)
                if first["engine"] == "torch" and first["processes"] == second["processes"] == count
            ]
            print(f"{count} processes: torch's CPU time is {statistics.median(ratios):.2f} times the other's")
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
