"""Labelling with 1, 2, … processes of one thread each: images a second, and a CPU second.

    OMP_NUM_THREADS=1 python -m benchmarks labelling --processes 1 2 --images 600

Drawn pictures, EfficientNet-Lite0 at 224 pixels, a small Up-Down of random weights, beam 5. Where other work
keeps the machine busy, images a CPU second say more than images a second.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import tempfile
import time
from pathlib import Path

from distilcap.data.scenes import draw_scenes
from distilcap.models.presets import preset
from distilcap.pipeline.photographs import RunCaptioner
from distilcap.progress import SILENT
from distilcap.stages.data import BuildVocabulary, ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.stages.train import Train
from distilcap.store.stage import Store
from distilcap.teachers.options import LabelOptions
from distilcap.teachers.shard_files import Shard
from distilcap.teachers.shards import label_shard
from distilcap.training.options import CrossEntropyPhase, SelfCriticalPhase, TrainingOptions


def label(run: Path, images: Path, shard: Shard, to: Path, gate: object) -> tuple[int, float, float, float]:
    """Images, CPU seconds, and when the work began and ended."""
    import torch

    torch.set_num_threads(1)
    captioner = RunCaptioner.load(run)
    gate.wait()  # type: ignore[attr-defined]
    cpu, begun = time.process_time(), time.time()
    done = label_shard(
        captioner, images, to, LabelOptions(shard=shard.number, shards=shard.count, threads=1), SILENT
    )
    return done.images, time.process_time() - cpu, begun, time.time()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--processes", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        draw_scenes(folder / "small", (8, 2, 2), size=64)
        draw_scenes(folder / "scenes", (arguments.images - 4, 2, 2), size=224)
        data = ImportData.of(folder / "small")
        features = ExtractFeatures.of(data, "efficientnet-lite0")
        options = TrainingOptions(CrossEntropyPhase(epochs=0), SelfCriticalPhase(epochs=0))
        updown = preset("updown", "small")
        train = Train(data, BuildVocabulary(data, 1), features, "updown", updown, options)
        run = Store(folder / "store").build(train)
        context = multiprocessing.get_context("spawn")
        for count in arguments.processes:
            with context.Manager() as manager, context.Pool(count) as pool:
                gate = manager.Barrier(count)
                work = [
                    (run, folder / "scenes", Shard(number, count), folder / f"labels{count}", gate)
                    for number in range(count)
                ]
                done = pool.starmap(label, work, chunksize=1)
            images, cpu = sum(one[0] for one in done), sum(one[1] for one in done)
            seconds = max(one[3] for one in done) - min(one[2] for one in done)
            rows.append(
                {
                    "processes": count,
                    "images": images,
                    "images_per_second": round(images / seconds, 2),
                    "images_per_cpu_second": round(images / cpu, 2),
                    "cores_had": round(cpu / seconds, 2),
                }
            )
            print(rows[-1], flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
