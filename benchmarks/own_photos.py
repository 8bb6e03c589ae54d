"""What 50, 200 or 1,000 photographs of one's own bring, from nothing and from the captioner in the box.

    OMP_NUM_THREADS=1 nice python -m benchmarks own_photos --flickr8k FOLDER --to own-photos/
    … --kinds photographs --sizes 50 200 --seeds 0 1 2 --starts none box --captions five one

Each cell is `distilcap distill` with its defaults. A fifth of the photographs is the validation split.

photographs: Flickr8k's test images, which the box never saw; 400 of them are the test split of all cells.
    Those beyond the other 600 are of its validation split, by which the box was chosen but not trained.
scenes: drawn pictures; 400 others are the test split.
five: all captions that people (or the grammar of `scenes`) wrote.
one: a caption in a large model's style, made of these by rule (`in_large_style`); `--clean-labels` is on.
    Test references stay what they are.

A seed draws the photographs. Cells that are in `results.json` are not run again, a killed one goes on where
it was; results are printed as a table in Markdown.
"""

from __future__ import annotations

import argparse
import itertools
import json
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

import distilcap
from distilcap.data.captions import CaptionSet
from distilcap.data.readers import read_dataset
from distilcap.data.scenes import draw_scenes
from distilcap.files import read_json, write_json

TEST = 400
PREFIXES = ("The image shows ", "A photo of ", "In this image, we can see ", "**Caption:** ")
TAILS = (" The background is slightly blurred.", " The overall mood is calm and natural.", "")


def in_large_style(texts: Sequence[str], image_id: str) -> str:
    """A prefix, the longest caption, and often a sentence that says nothing."""
    number = zlib.crc32(image_id.encode())
    longest = max(texts, key=len).strip().rstrip(" .")
    prefix = PREFIXES[number % len(PREFIXES)]
    return f"{prefix}{longest[0].lower()}{longest[1:]}.{TAILS[number // 7 % len(TAILS)]}"


def photographs(flickr8k: Path, size: int, seed: int, to: Path, style: str) -> tuple[Path, Path]:
    """Write the captions file of so many of Flickr8k's photographs; it and the folder of the images."""
    whole = read_dataset(flickr8k)
    test = list(whole.split("test"))
    fixed = np.random.default_rng(0).permutation(len(test))
    mine = [test[row] for row in fixed[TEST:]]
    order = np.random.default_rng(seed + 1).permutation(len(mine))
    pool = [*(mine[row] for row in order), *whole.split("val")][:size]
    splits = {image.id: split_of(number, size) for number, image in enumerate(pool)}
    splits |= {test[row].id: "test" for row in fixed[:TEST]}
    names = {image.id: image.path.name for image in whole.images}
    write(to, whole.captions, splits, names, style)
    return to, next(iter(whole.images)).path.parent


def scenes(size: int, seed: int, to: Path, style: str) -> tuple[Path, Path]:
    """Draw so many scenes, and write their captions file; it and the folder of the images."""
    drawn = to.with_name(f"scenes-{size}-{seed}")
    validation = sum(split_of(number, size) == "val" for number in range(size))
    draw_scenes(drawn, (size - validation, validation, TEST), size=224, seed=100 + seed)
    whole = read_dataset(drawn)
    names = {image.id: image.path.name for image in whole.images}
    write(to, whole.captions, {image.id: image.split for image in whole.images}, names, style)
    return to, whole.images[0].path.parent


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


def cell(
    arguments: argparse.Namespace, kind: str, size: int, style: str, start: str, seed: int
) -> dict[str, Any]:
    """Distil, and give CIDEr (beam) of each row and the seconds that stages took."""
    file = arguments.to / "data" / f"{kind}-{size}-{style}-{seed}.json"
    if kind == "photographs":
        data, images = photographs(arguments.flickr8k, size, seed, file, style)
    else:
        data, images = scenes(size, seed, file, style)
    distilled = distilcap.distill(
        data,
        images=images,
        store=arguments.to / "store",
        start=start,
        clean_labels=style == "one",
        export=False,
    )
    scores = {row.role: row.scores.beam["cider"] for row in distilled.rows}
    return {
        "cell": [kind, size, style, start, seed],
        "cider": {role: round(100 * value, 2) for role, value in scores.items() if value is not None},
        "train_seconds": [row.train_seconds for row in distilled.rows if row.train_seconds],
        "verdict": distilled.verdict,
    }


def markdown(results: Sequence[dict[str, Any]]) -> str:
    """Means over seeds, with the sample deviation where there are several."""
    lines = [
        "| kind | photographs | captions | from | as it is | undistilled | distilled |",
        "|---" * 7 + "|",
    ]
    for key, group in itertools.groupby(results, lambda result: result["cell"][:4]):
        ciders = [result["cider"] for result in group]
        cells = []
        for role in ("start", "student", "distilled"):
            values = [cider[role] for cider in ciders if role in cider]
            spread = f" ± {np.std(values, ddof=1):.1f}" if len(values) > 1 else ""
            cells.append(f"{np.mean(values):.1f}{spread}" if values else "")
        lines.append("| " + " | ".join([*map(str, key), *cells]) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--flickr8k", type=Path, help="its folder: dataset_flickr8k.json and images/")
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--kinds", nargs="+", default=["photographs", "scenes"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[50, 200, 1000])
    parser.add_argument("--captions", nargs="+", default=["five", "one"])
    parser.add_argument("--starts", nargs="+", default=["none", "box"])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    arguments.to = arguments.to.resolve()
    path = arguments.to / "results.json"
    results: list[dict[str, Any]] = read_json(path) if path.exists() else []
    wanted = (arguments.kinds, arguments.sizes, arguments.captions, arguments.starts, arguments.seeds)
    for kind, size, style, start, seed in itertools.product(*wanted):
        if [kind, size, style, start, seed] in [result["cell"] for result in results]:
            continue
        results.append(cell(arguments, kind, size, style, start, seed))
        print(json.dumps(results[-1]), flush=True)
        results.sort(key=lambda result: json.dumps(result["cell"]))
        write_json(path, results)
    print(markdown(results))


if __name__ == "__main__":
    main()
