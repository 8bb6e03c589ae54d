"""`distilcap generate`: captions of a split by a trained run."""

from __future__ import annotations

from pathlib import Path

import click

from distilcap.cli.common import CONSOLE, FIRST, PROGRESS, open_store, store_option

__all__ = ["generate"]

EXAMPLE = """\b
Example:
  distilcap generate runs/train-0f3a… --split train --beam 5 --to labels.jsonl
  distilcap train --data photos/ --captioner updown-tiny --labels labels.jsonl
"""


@click.command(epilog=EXAMPLE)
@click.argument("run", type=click.Path(path_type=Path))
@store_option
@click.option("--split", type=click.Choice(["train", "val", "test"]), default="train", show_default=True)
@click.option("--beam", default=5, show_default=True, help="Hypotheses kept while searching; 1 is greedy.")
@click.option("--n-best", default=1, show_default=True, help="Captions kept of each image.")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="The captions file to write.")
def generate(run: Path, store: Path, split: str, beam: int, n_best: int, to: Path) -> None:
    """Caption a split with the trained RUN, for a student to learn from or to be scored.

    The file has a JSON object a line: {"image": id, "captions": [{"text": …, "log_prob": …}]}.
    """
    from distilcap.experiments.steps import Generate, run_of

    stage = Generate(run_of(run), split, beam, n_best)
    kept = open_store(store if store != Path("runs") else run.resolve().parent)
    kept.build(stage, PROGRESS)
    captions = stage.load(kept)
    if FIRST:
        captions.save(to)
    CONSOLE.print(f"{to}: captions of {len(captions)} images", highlight=False)
