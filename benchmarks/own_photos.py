"""What 50, 200 or 1,000 photographs of one's own bring, from nothing and from the captioner in the box.

    OMP_NUM_THREADS=1 nice python -m benchmarks own_photos --flickr8k FOLDER --to own-photos/
    … --kinds photographs --sizes 50 200 --seeds 0 1 2 --starts box none --captions five one
    … --kinds training --unlabelled 0 5000 --starts none --sizes 1000 --captions five --seeds 0
    … --sizes --write                                          # only table and curve of docs/own-photos.md

Each cell is `distilcap distill` with its defaults. A fifth of the photographs is the validation split.

photographs: Flickr8k's test images, which the box never saw; 400 of them are the test split of all cells.
    Those beyond the other 600 are of its validation split, by which the box was chosen but not trained.
scenes: drawn pictures; 400 others are the test split.
training: Flickr8k's training images, which the box was trained on: for starts from nothing only. So many
    others of them are given without captions (`--unlabelled`).
five: all captions that people (or the grammar of `scenes`) wrote.
one: a caption in a large model's style, made of these by rule (`in_large_style`); `--clean-labels` is on.
    References of test images are not made so, but cleaned with the rest, since no teacher's captions are
    given: "one" and "five" are scored against different references, and are not to be compared.

A seed draws the photographs. `results.jsonl` gets a line for each cell, with the box's digest and the CIDEr
of each test image. A cell of the same run is not measured again (another box or recipe is another run),
and a killed one goes on where it was. The table is computed from these lines alone.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from benchmarks.own_photos_page import RESULTS, cell_of, table, write_page
from benchmarks.pages import read_lines
from distilcap.data.captions import CaptionSet
from distilcap.data.readers import read_dataset
from distilcap.data.scenes import draw_scenes
from distilcap.files import read_json, write_json, write_text
from distilcap.pipeline.distill import distill
from distilcap.pipeline.own_images import DistillOptions, plan_own_images
from distilcap.pipeline.start import NOTHING
from distilcap.progress import LOGGED
from distilcap.reports.results import METRICS, column_scores, trained_members
from distilcap.stages.captioner import ImportCaptioner
from distilcap.stages.data import DataOptions
from distilcap.stages.features import EncoderOptions
from distilcap.stages.train import Train
from distilcap.store.store import Store
from distilcap.training.loop import LOG

TEST = 400
PREFIXES = ("The image shows ", "A photo of ", "In this image, we can see ", "**Caption:** ")
TAILS = (" The background is slightly blurred.", " The overall mood is calm and natural.", "")


@dataclass(frozen=True)
class Cell:
    """A distillation; see the module."""

    kind: str
    size: int
    captions: str
    start: str
    seed: int
    unlabelled: int = 0

    @property
    def data(self) -> str:
        return f"{self.kind}-{self.size}-{self.captions}-{self.seed}"


def in_large_style(texts: Sequence[str], image_id: str) -> str:
    """A prefix, the longest caption, and often a sentence that says nothing."""
    number = zlib.crc32(image_id.encode())
    longest = max(texts, key=len).strip().rstrip(" .")
    prefix = PREFIXES[number % len(PREFIXES)]
    return f"{prefix}{longest[0].lower()}{longest[1:]}.{TAILS[number // 7 % len(TAILS)]}"


def photographs(cell: Cell, flickr8k: Path, to: Path) -> Path:
    """Write the captions file of so many of Flickr8k's photographs; the folder of their images."""
    whole = read_dataset(flickr8k)
    test = list(whole.split("test"))
    fixed = np.random.default_rng(0).permutation(len(test))
    mine = list(whole.split("train")) if cell.kind == "training" else [test[row] for row in fixed[TEST:]]
    order = np.random.default_rng(cell.seed + 1).permutation(len(mine))
    pool = [mine[row] for row in order]
    if cell.kind == "photographs":
        pool += whole.split("val")
    splits = {image.id: split_of(number, cell.size) for number, image in enumerate(pool[: cell.size])}
    splits |= {test[row].id: "test" for row in fixed[:TEST]}
    write(to, whole.captions, splits, {image.id: image.path.name for image in whole.images}, cell.captions)
    for image in pool[cell.size :][: cell.unlabelled]:
        link = without_captions(cell, to) / image.path.name
        link.parent.mkdir(exist_ok=True)
        if not link.exists():
            link.symlink_to(image.path)
    return whole.images[0].path.parent


def without_captions(cell: Cell, file: Path) -> Path:
    return file.with_name(f"{cell.kind}-{cell.size}-{cell.seed}-unlabelled-{cell.unlabelled}")


def scenes(cell: Cell, to: Path) -> Path:
    """Draw so many scenes, and write their captions file; the folder of their images."""
    drawn = to.with_name(f"scenes-{cell.size}-{cell.seed}")
    validation = sum(split_of(number, cell.size) == "val" for number in range(cell.size))
    draw_scenes(drawn, (cell.size - validation, validation, TEST), size=224, seed=100 + cell.seed)
    whole = read_dataset(drawn)
    splits = {image.id: image.split for image in whole.images}
    write(to, whole.captions, splits, {image.id: image.path.name for image in whole.images}, cell.captions)
    return whole.images[0].path.parent


def split_of(number: int, size: int) -> str:
    return "val" if number >= size - round(0.2 * size) else "train"


def write(to: Path, captions: CaptionSet, splits: dict[str, str], names: dict[str, str], style: str) -> None:
    images = []
    for image_id, split in splits.items():
        texts = captions.texts(image_id)
        if style == "one" and split != "test":
            texts = [in_large_style(texts, image_id)]
        sentences = [{"raw": text} for text in texts]
        images.append({"filename": names[image_id], "split": split, "sentences": sentences})
    write_json(to, {"dataset": "own", "images": images})


def measure(cell: Cell, flickr8k: Path, to: Path, known: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Distil, and give CIDEr x 100 of each test image (beam search) by role; None for a run that is known."""
    file = to / "data" / f"{cell.data}.json"
    images = scenes(cell, file) if cell.kind == "scenes" else photographs(cell, flickr8k, file)
    options = DistillOptions(
        start=Path(cell.start),
        clean_labels=cell.captions == "one",
        unlabelled=without_captions(cell, file) if cell.unlabelled else None,
    )
    store = Store(to / "store")
    _, plan = plan_own_images(DataOptions(file, images), EncoderOptions(), options, {}, store.root)
    distilled = trained_members(plan.systems)[-1].trains[0]
    if any(other["run"] == distilled.key for other in known):
        return None
    trains = [one.stage for one in store.plan(plan.stages(False)) if isinstance(one.stage, Train)]
    there = any(map(store.begun, trains))
    before = os.times()
    distill(plan, store, LOGGED, export=False)
    after = os.times()
    cider = {}
    for system in plan.systems:
        scores = column_scores(system, "beam", store, METRICS)[0]["cider"].per_image
        cider[system.role] = [round(100 * scores[image_id]) for image_id in sorted(scores)]
    epochs = len(read_json(store.open(distilled, LOG) / LOG))

    return {
        **vars(cell),
        "box": distilled.start.sha256[:12] if isinstance(distilled.start, ImportCaptioner) else None,
        "run": distilled.key,
        "epochs": [epochs, distilled.training.cross_entropy.epochs + distilled.training.self_critical.epochs],
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU",
        # None where some were spent by a process before this one.
        "cpu_seconds": None if there else round(sum(after[:4]) - sum(before[:4])),
        "cider": cider,
    }


def cells(arguments: argparse.Namespace) -> Iterator[Cell]:
    wanted = (arguments.captions, arguments.sizes, arguments.starts, arguments.seeds, arguments.kinds)
    for captions, size, start, seed, kind in itertools.product(*wanted):
        for unlabelled in arguments.unlabelled:
            if kind != "training" and unlabelled:
                raise SystemExit("--unlabelled is for --kinds training")
            if kind == "training" and start != NOTHING:
                raise SystemExit("--kinds training is for --starts none: the box was trained on these images")
            yield Cell(kind, size, captions, start, seed, unlabelled)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flickr8k", type=Path, help="its folder: dataset_flickr8k.json and images/")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=["photographs", "scenes"])
    parser.add_argument("--sizes", type=int, nargs="*", default=[50, 200, 1000])
    parser.add_argument("--captions", nargs="+", default=["five", "one"])
    parser.add_argument("--starts", nargs="+", default=["box", NOTHING])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--unlabelled", type=int, nargs="+", default=[0])
    parser.add_argument("--write", action="store_true", help="table and curve into docs/own-photos.md")
    arguments = parser.parse_args()
    to = arguments.to.resolve()
    path = to / RESULTS
    for cell in cells(arguments):
        result = measure(cell, arguments.flickr8k, to, read_lines(path))
        if result is not None:
            # Read again: another process may have measured a cell meanwhile.
            others = [other for other in read_lines(path) if cell_of(other) != cell_of(result)]
            lines = [json.dumps(line, separators=(",", ":")) for line in [*others, result]]
            write_text(path, "\n".join([*lines, ""]))
            print(table([result]), flush=True)
    print(table(read_lines(path)))
    if arguments.write:
        write_page(path)


if __name__ == "__main__":
    main()
