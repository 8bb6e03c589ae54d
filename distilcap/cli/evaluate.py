"""`distilcap evaluate`, `compare` and `metrics`: scores, whether they differ, and what metrics need."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.table import Table

from distilcap.cli.bounds import PATH
from distilcap.cli.common import CONSOLE, PROGRESS
from distilcap.cli.install_spice import install_spice
from distilcap.cli.options import flags
from distilcap.cli.say import say
from distilcap.cli.scores import as_csv, as_latex, in_words, scores_table
from distilcap.errors import ConfigError, DataError
from distilcap.metrics.options import ScoreOptions
from distilcap.text.tokenizers import PTB, TOKENIZER_HELP, tokenizer_of

if TYPE_CHECKING:
    from distilcap.data.captions import CaptionSet
    from distilcap.metrics import Score

__all__ = ["compare", "evaluate", "metrics"]

REFERENCES = (
    'COCO annotations, {"id": ["caption", …]}, a captions file, or a data set (see `distilcap data`).'
)


@click.command(
    epilog="""\b
Example:
  distilcap evaluate caps.json --references refs.json \\
      --metrics bleu,rouge_l,cider,meteor,spice --json scores.json
"""
)
@click.argument("captions", type=PATH)
@click.option("--references", type=PATH, required=True, help=REFERENCES)
@flags(ScoreOptions, "options")
@click.option(
    "--training", type=PATH, help="Training captions: the share of captions that are not among them is added."
)
@click.option("--json", "--to", "json_file", type=PATH, help="Write scores, also of each image, as JSON.")
@click.option("--csv", "csv_file", type=PATH, help="Write a row for each score as CSV.")
@click.option("--latex", "latex_file", type=PATH, help="Write a table for a paper.")
def evaluate(
    captions: Path,
    references: Path,
    options: ScoreOptions,
    training: Path | None,
    json_file: Path | None,
    csv_file: Path | None,
    latex_file: Path | None,
) -> None:
    """Score CAPTIONS: `image_id` and `caption` as COCO results, JSON Lines or CSV, or a captions file.

    Every score has a 95 % interval over images (of one image none), and a signature that says how it was
    made. Images without a caption here are left out.
    """
    from distilcap.data.caption_files import fit_ids, read_candidates, read_references, remarks_on_scored
    from distilcap.files import write_text
    from distilcap.metrics.diversity import measure_diversity
    from distilcap.metrics.files import write_scores
    from distilcap.metrics.resampling import intervals, remark_on_few

    known = read_references(references)
    scored = fit_ids(read_candidates(captions), known)
    for remark in remarks_on_scored(scored, known, captions, references):
        say(remark, err=True)
    _advise(options, known)
    scores = options.score(scored, known)
    if options.resamples:
        scores = intervals(scores, options.resamples)
    diversity = measure_diversity(scored, read_references(training) if training else None, options.words_by)
    if json_file is not None:  # before anything is printed, which somebody may not read to its end
        write_scores(json_file, scores, _fingerprint(known, scored), diversity=asdict(diversity))
    if csv_file is not None:
        write_text(csv_file, as_csv(scores))
    if latex_file is not None:
        write_text(latex_file, as_latex(captions.stem, scores))
    CONSOLE.print(scores_table(f"{captions} ({len(scored)} images)", scores))
    if options.resamples and (few := remark_on_few(len(scored))):
        CONSOLE.print(few)
    CONSOLE.print(in_words(diversity), highlight=False)
    if json_file is not None:
        CONSOLE.print(f"Scores: {json_file}")


@click.command(
    epilog="""\b
Example (systems with two training seeds each):
  distilcap compare plain-0.jsonl,plain-1.jsonl distilled-0.jsonl,distilled-1.jsonl \\
      --references flickr8k/dataset_flickr8k.json
"""
)
@click.argument("systems", nargs=-1, required=True)
@click.option("--references", type=PATH, help=f"Needed for captions files: {REFERENCES}")
@flags(ScoreOptions, "options")
def compare(systems: tuple[str, ...], references: Path | None, options: ScoreOptions) -> None:
    """Say whether SYSTEMS differ from the first of them.

    Each is a captions file or what `evaluate --json` wrote, or such files of several training seeds with
    commas between. Two paired tests over images: the bootstrap and approximate randomisation, the latter also
    Holm-corrected over the table.
    """
    from distilcap.metrics.registry import metric_of
    from distilcap.metrics.resampling import FEW_IMAGES, remark_on_few
    from distilcap.metrics.significance import System, compare_table

    scored = _read_systems(systems, references, options)
    columns = []
    for key in dict.fromkeys(key for _, seeds in scored for seed in seeds for key in seed):
        if lacking := [name for name, seeds in scored if any(key not in seed for seed in seeds)]:
            say(f"{key} is left out, since it was not scored of {', '.join(lacking)}.", err=True)
            continue
        compared = [System(name, tuple(seed[key] for seed in seeds)) for name, seeds in scored]
        reasons = {score.unavailable for system in compared for score in system.seeds if score.unavailable}
        if reasons:
            CONSOLE.print(f"{key:8} n/a ({reasons.pop()})")
            continue
        for system in compared:
            deviation = f" ± {100 * system.deviation:.2f}" if system.deviation is not None else ""
            CONSOLE.print(f"{key:8} {100 * system.mean:7.2f}{deviation}  {system.name}")
        columns.append((metric_of(key), compared))
    if not columns:
        raise ConfigError(
            f"{', '.join(systems)} have no score in common that could be computed; score all of them with "
            "the same `--metrics`."
        )
    table = Table(title=f"Against {systems[0]}", title_justify="left")
    for column in ("score", "system", "difference", "95 % interval", "p bootstrap", "p randomis.", "p Holm"):
        table.add_column(column, overflow="fold")
    comparisons = compare_table(columns, options.resamples)
    for comparison in comparisons:
        interval, corrected = comparison.interval, comparison.corrected_p
        p_values = (comparison.bootstrap_p, comparison.randomisation_p, corrected)
        table.add_row(
            comparison.metric,
            comparison.system,
            f"{100 * comparison.difference:+.2f}"
            + (" *" if corrected is not None and corrected < 0.05 else ""),
            f"{100 * interval[0]:+.2f} to {100 * interval[1]:+.2f}" if interval else "n/a",
            *("n/a" if p is None else f"{p:.4f}" for p in p_values),
        )
    CONSOLE.print(table)
    CONSOLE.print("* p < 0.05 after Holm's correction over this table")
    if few := remark_on_few(len(columns[0][1][0].seeds[0].per_image)):
        CONSOLE.print(few)
    elif any(comparison.bootstrap_p is None for comparison in comparisons):
        CONSOLE.print(f"n/a: fewer than {FEW_IMAGES} images differ, so the interval is Student's t.")


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
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="train", help="Split to count in."
)
@click.option("--end", is_flag=True, help="Count an end token as the last word of every caption.")
@click.option("--tokenizer", default=PTB, help=TOKENIZER_HELP)
@click.option("--to", type=PATH, required=True, help="The JSON file to write.")
def document_frequencies(dataset: Path, split: str, end: bool, tokenizer: str, to: Path) -> None:
    """Count in how many images of DATASET each n-gram occurs, for CIDEr-D."""
    from distilcap.data.readers import read_dataset
    from distilcap.metrics.frequencies import DocumentFrequencies

    words_of = tokenizer_of(tokenizer).words
    read = read_dataset(dataset, need_images=False, progress=PROGRESS)
    captions = read.references(split)
    if not captions:
        raise DataError(f"{dataset}: the {split} split has no captions.")
    frequencies = DocumentFrequencies.of(
        f"{read.name}-{split}",
        ([words_of(text) for text in captions.texts(image_id)] for image_id in captions),
        end,
        tokenizer,
    )
    frequencies.save(to)
    CONSOLE.print(
        f"{to}: {len(frequencies.counts)} n-grams in 2 images or more, of {frequencies.images}",
    )


def _advise(options: ScoreOptions, references: CaptionSet) -> None:
    if advice := options.advice(references):
        say(f"Warning: {advice}", err=True)


def _fingerprint(references: CaptionSet, scored: CaptionSet) -> str:
    """Of the references of the images that were scored."""
    from distilcap.metrics.files import references_fingerprint

    return references_fingerprint(references.only(image_id for image_id in references if image_id in scored))


def _read_systems(
    systems: tuple[str, ...], references: Path | None, options: ScoreOptions
) -> list[tuple[str, list[dict[str, Score]]]]:
    """Each system's name, and the scores of each of its seeds."""
    from distilcap.data.caption_files import fit_ids, read_candidates, read_references, remarks_on_scored
    from distilcap.files import read_json
    from distilcap.metrics.files import read_scores

    known: CaptionSet | None = None
    scored: list[tuple[str, list[dict[str, Score]]]] = []
    fingerprints: dict[str, str] = {}
    images: dict[str, set[str]] = {}
    said: set[str] = set()  # systems lack the same images as a rule
    for name in systems:
        seeds = []
        for path in map(Path, name.split(",")):
            content = read_json(path) if path.suffix == ".json" else None
            if isinstance(content, dict) and "scores" in content:
                scores, fingerprints[str(path)] = read_scores(path)
            elif references is None:
                raise ConfigError(f"{path} holds captions, so `--references` must name their references.")
            else:
                if known is None:
                    known = read_references(references)
                    _advise(options, known)
                candidates = fit_ids(read_candidates(path), known)
                for remark in remarks_on_scored(candidates, known, path, references):
                    if remark not in said:
                        say(remark, err=True)
                    said.add(remark)
                scores = options.score(candidates, known)
                fingerprints[str(path)] = _fingerprint(known, candidates)
            images[str(path)] = {image_id for score in scores.values() for image_id in score.per_image}
            seeds.append(scores)
        scored.append((name, seeds))
    if len(set(fingerprints.values())) > 1:
        first, second = next(
            (a, b) for a in fingerprints for b in fingerprints if fingerprints[a] != fingerprints[b]
        )
        counts = [len(images[first]), len(images[second]), len(images[first] & images[second])]
        if counts != [counts[-1]] * 3:
            raise ConfigError(
                f"{first} has captions of {counts[0]:,} images and {second} of {counts[1]:,}, {counts[2]:,} "
                "of them in both; a comparison needs the same images."
            )
        raise ConfigError(f"{first} and {second} were scored against different references.")
    return scored
