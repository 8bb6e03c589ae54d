"""`distilcap evaluate`, `compare` and `metrics`: scores, whether they differ, and what metrics need."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.table import Table

from distilcap.cli.common import CONSOLE
from distilcap.cli.install_spice import install_spice
from distilcap.errors import ConfigError, DataError

if TYPE_CHECKING:
    from distilcap.data.captions import CaptionSet
    from distilcap.metrics import Score

__all__ = ["compare", "evaluate", "metrics"]

PATH = click.Path(path_type=Path)
REFERENCES = "Reference captions: a data set (see `distilcap data`) or a captions file."


@click.command(
    epilog="""\b
Example:
  distilcap evaluate captions.jsonl --references flickr8k/dataset_flickr8k.json --to scores.json
"""
)
@click.argument("captions", type=PATH)
@click.option("--references", type=PATH, required=True, help=REFERENCES)
@click.option(
    "--metrics", "names", default="bleu,meteor,rouge_l,cider", show_default=True, help="Also: spice."
)
@click.option(
    "--tokenizer", default="ptb", show_default=True, help="ptb, or ptb-official with its look-ahead."
)
@click.option(
    "--resamples", default=2000, show_default=True, help="Of the bootstrap; 0 leaves intervals out."
)
@click.option("--to", type=PATH, help="Write all scores, also of each image, as JSON.")
def evaluate(
    captions: Path, references: Path, names: str, tokenizer: str, resamples: int, to: Path | None
) -> None:
    """Score CAPTIONS: a captions file (JSON lines), or COCO results [{"image_id": …, "caption": …}].

    Every score has a 95 % bootstrap interval over images, and a signature that says how it was made.
    """
    from distilcap.files import write_json

    scores = _scores(captions, _references(references), names, tokenizer)
    intervals = {key: _interval(score, resamples) for key, score in scores.items()}
    table = Table(
        title=f"{captions} ({len(next(iter(scores.values())).per_image)} images)", title_justify="left"
    )
    for column in ("score", "x 100", "95 % interval", "signature"):
        table.add_column(
            column, justify="left" if column in ("score", "signature") else "right", overflow="fold"
        )
    for key, score in scores.items():
        interval = intervals[key]
        shown = f"{100 * interval[0]:.2f} to {100 * interval[1]:.2f}" if interval else ""
        value = f"n/a ({score.unavailable})" if score.unavailable else f"{100 * score.value:.2f}"
        table.add_row(key, value, shown, score.signature)
    CONSOLE.print(table)
    if to is not None:
        write_json(
            to,
            {
                key: {
                    "value": None if score.unavailable else score.value,
                    "unavailable": score.unavailable,
                    "interval": intervals[key],
                    "signature": score.signature,
                    "per_image": dict(score.per_image),
                }
                for key, score in scores.items()
            },
        )
        CONSOLE.print(f"Scores: {to}", highlight=False)


@click.command(
    epilog="""\b
Example (systems with two training seeds each):
  distilcap compare plain-0.jsonl,plain-1.jsonl distilled-0.jsonl,distilled-1.jsonl \\
      --references flickr8k/dataset_flickr8k.json
"""
)
@click.argument("systems", nargs=-1, required=True)
@click.option("--references", type=PATH, required=True, help=REFERENCES)
@click.option("--metrics", "names", default="bleu,rouge_l,cider", show_default=True)
@click.option("--tokenizer", default="ptb", show_default=True)
@click.option("--resamples", default=10_000, show_default=True)
def compare(systems: tuple[str, ...], references: Path, names: str, tokenizer: str, resamples: int) -> None:
    """Say whether SYSTEMS differ from the first of them.

    Each is a captions file, or several with commas between, one a training seed. Two paired tests over
    images: the bootstrap and approximate randomisation, the latter also Holm-corrected over the table.
    """
    from distilcap.metrics import create_metric
    from distilcap.metrics.significance import System, compare_systems, holm

    known = _references(references)
    scored = [
        (name, [_scores(Path(path), known, names, tokenizer) for path in name.split(",")]) for name in systems
    ]
    comparisons = []
    for metric_name in names.split(","):
        metric = create_metric(metric_name)
        for key in metric.keys:
            several = [System(name, tuple(one[key] for one in seeds)) for name, seeds in scored]
            for system in several:
                deviation = f" ± {100 * system.deviation:.2f}" if system.deviation is not None else ""
                CONSOLE.print(f"{key:8} {100 * system.mean:7.2f}{deviation}  {system.name}", highlight=False)
            comparisons += compare_systems(several, metric, resamples)
    table = Table(title=f"Against {systems[0]}", title_justify="left")
    for column in ("score", "system", "difference", "95 % interval", "p bootstrap", "p randomis.", "p Holm"):
        table.add_column(column, overflow="fold")
    corrected = holm([one.randomisation_p for one in comparisons])
    for one, p in zip(comparisons, corrected, strict=True):
        low, high = one.interval
        table.add_row(
            one.metric,
            one.system,
            f"{100 * one.difference:+.2f}" + (" *" if p < 0.05 else ""),
            f"{100 * low:+.2f} to {100 * high:+.2f}",
            f"{one.bootstrap_p:.4f}",
            f"{one.randomisation_p:.4f}",
            f"{p:.4f}",
        )
    CONSOLE.print(table)
    CONSOLE.print("* p < 0.05 after Holm's correction over this table", highlight=False)


@click.group()
def metrics() -> None:
    """Set up metrics and their statistics."""


metrics.add_command(install_spice)


@metrics.command(
    "df",
    epilog="""\b
Example:
  distilcap metrics df dataset_coco.json --split train --to coco-train-df.json
""",
)
@click.argument("dataset", type=PATH)
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option("--end", is_flag=True, help="Count an end token as the last word of every caption.")
@click.option("--to", type=PATH, required=True, help="The JSON file to write.")
def document_frequencies(dataset: Path, split: str, end: bool, to: Path) -> None:
    """Count in how many images of DATASET each n-gram occurs, for CIDEr-D."""
    from distilcap.data.readers import read_dataset
    from distilcap.metrics.frequencies import DocumentFrequencies
    from distilcap.text.tokenize import tokenize

    read = read_dataset(dataset, need_images=False)
    captions = read.references(split)
    if not captions:
        raise DataError(f"{dataset}: the {split} split has no captions.")
    words = ([tokenize(text) for text in captions.texts(image_id)] for image_id in captions)
    frequencies = DocumentFrequencies.of(f"{read.name}-{split}", words, end)
    frequencies.save(to)
    CONSOLE.print(
        f"{to}: {len(frequencies.counts)} n-grams in 2 images or more, of {frequencies.images}",
        highlight=False,
    )


def _references(path: Path) -> CaptionSet:
    """All references of a data set, or a captions file."""
    from distilcap.data.captions import CaptionSet
    from distilcap.data.readers import read_dataset

    if path.suffix == ".jsonl" and _is_caption_set(path):
        return CaptionSet.load(path)
    return read_dataset(path, need_images=False).captions


def _is_caption_set(path: Path) -> bool:
    import json

    try:
        with path.open(encoding="utf-8") as file:
            return "captions" in json.loads(file.readline())
    except (OSError, ValueError, TypeError):
        return False


def _candidates(path: Path) -> CaptionSet:
    from distilcap.data.captions import CaptionSet
    from distilcap.files import read_json

    if path.suffix != ".json":
        return CaptionSet.load(path)
    content = read_json(path)
    try:
        return CaptionSet.of_texts({str(one["image_id"]): [str(one["caption"])] for one in content})
    except (KeyError, TypeError):
        raise DataError(f'{path}: expected COCO results, [{{"image_id": …, "caption": …}}, …].') from None


def _scores(captions: Path, references: CaptionSet, names: str, tokenizer: str) -> dict[str, Score]:
    from distilcap.metrics import METRICS
    from distilcap.metrics import evaluate as score

    wanted = [name.strip() for name in names.split(",") if name.strip()]
    if unknown := [name for name in wanted if name not in METRICS]:
        raise ConfigError(f"`metrics` must be of {', '.join(METRICS)}, but one is {unknown[0]!r}.")
    return score(_candidates(captions), references, wanted, tokenizer)


def _interval(score: Score, resamples: int) -> tuple[float, float] | None:
    from distilcap.metrics import METRICS, create_metric
    from distilcap.metrics.significance import bootstrap_interval

    if score.unavailable or not resamples:
        return None
    name = next(name for name in METRICS if score.metric.startswith(name))
    metric: Any = create_metric(name)
    return bootstrap_interval(score, metric, resamples)
