"""Agreement of the metrics with people: Kendall's tau-c on Flickr8k-Expert (Hodosh et al. 2013).

`python -m benchmarks human --expert ExpertAnnotations.txt --captions Flickr8k.token.txt`

The protocol is that of Anderson et al. 2016 (SPICE), as Hessel et al. 2021 (CLIPScore, appendix A) wrote it
down: every expert's rating by itself, the image's five captions as references, pairs left out whose
candidate is among them. The two files come with Flickr8k's text; they are not part of this project.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from distilcap.data.captions import CaptionSet
from distilcap.errors import DataError
from distilcap.metrics import evaluate

PUBLISHED: Final = {
    "bleu_1": 0.323,
    "bleu_4": 0.308,
    "rouge_l": 0.323,
    "meteor": 0.418,
    "cider": 0.439,
    "spice": 0.449,
}
"""Hessel et al. 2021, table 1."""

EXPERTS: Final = 3


def kendall_tau_c(ratings: npt.ArrayLike, scores: npt.ArrayLike) -> float:
    """Stuart's tau-c (1953): 2 m (C - D) / (n^2 (m - 1)), C and D the pairs in and out of order.

    m is the smaller number of distinct values. Ties count for neither; ratings should have few values.
    """
    rated, scored = np.asarray(ratings), np.asarray(scores, dtype=np.float64)
    levels = np.unique(rated)
    least = min(len(levels), len(np.unique(scored)))
    if least < 2:
        return float("nan")
    groups = [np.sort(scored[rated == level]) for level in levels]
    balance = 0
    for place, higher in enumerate(groups):
        for lower in groups[:place]:
            below = np.searchsorted(lower, higher, side="left").sum()
            above = len(lower) * len(higher) - np.searchsorted(lower, higher, side="right").sum()
            balance += int(below) - int(above)
    return 2 * least * balance / (len(rated) ** 2 * (least - 1))


def read_captions(path: Path) -> dict[str, str]:
    """Captions by id, such as "1000268201_693b08cb0e.jpg#0"."""
    captions = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        name, tab, caption = line.partition("\t")
        if not tab or "#" not in name:
            raise DataError(f"{path}: line {number} is not IMAGE#N, a tab and a caption.")
        captions[name] = caption
    return captions


def read_expert(path: Path) -> list[tuple[str, str, list[int]]]:
    """Image, caption's id and the three ratings of each pair."""
    pairs = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        fields = line.split()
        if len(fields) != 2 + EXPERTS or not all(rating in "1234" for rating in fields[2:]):
            raise DataError(f"{path}: line {number} is not IMAGE, CAPTION and {EXPERTS} ratings of 1 to 4.")
        pairs.append((fields[0], fields[1], [int(rating) for rating in fields[2:]]))
    return pairs


def agreement(expert: Path, captions: Path, metrics: tuple[str, ...]) -> dict[str, float | str]:
    """tau-c of each score, or why there is none."""
    texts = read_captions(captions)
    of_image = defaultdict(list)
    for name, text in texts.items():
        of_image[name.rpartition("#")[0]].append(text)
    references, candidates, ratings = {}, {}, []
    for row, (image, name, rated) in enumerate(read_expert(expert)):
        if image not in of_image or name not in texts:
            raise DataError(f"{captions} has no captions of {image}, or no {name}, of {expert}.")
        if texts[name] not in of_image[image]:
            references[str(row)], candidates[str(row)] = of_image[image], [texts[name]]
            ratings.append(rated)
    scores = evaluate(CaptionSet.of_texts(candidates), CaptionSet.of_texts(references), metrics)
    found: dict[str, float | str] = {}
    for key, score in scores.items():
        repeated = np.repeat(list(score.per_image.values()), EXPERTS)
        found[key] = score.unavailable or kendall_tau_c(np.ravel(ratings), repeated)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--expert", type=Path, required=True, help="ExpertAnnotations.txt")
    parser.add_argument("--captions", type=Path, required=True, help="Flickr8k.token.txt")
    parser.add_argument("--metrics", default="bleu,rouge_l,meteor,cider,spice")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    found = agreement(options.expert, options.captions, tuple(options.metrics.split(",")))
    print(f"{'':10}{'tau-c':>8}{'published':>12}")
    for key, value in found.items():
        shown = f"{100 * value:8.1f}" if isinstance(value, float) else f"  n/a ({value})"
        print(f"{key:10}{shown}{100 * PUBLISHED[key]:12.1f}" if key in PUBLISHED else f"{key:10}{shown}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
