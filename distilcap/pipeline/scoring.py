"""Scores of captions, and whether two systems differ: `distilcap.evaluate` and `distilcap.compare`."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from distilcap.data.caption_files import fit_ids, read_candidates, read_references, remarks_on_scored
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset
from distilcap.errors import ConfigError
from distilcap.keywords import AnyPath
from distilcap.options import filled, keywords_checked
from distilcap.progress import LOGGED

if TYPE_CHECKING:
    from distilcap.metrics import Score
    from distilcap.metrics.options import ScoreOptions
    from distilcap.metrics.significance import Comparison

__all__ = ["compare", "evaluate"]

Candidates: TypeAlias = CaptionSet | AnyPath
References: TypeAlias = CaptionSet | Dataset | AnyPath


@keywords_checked
def evaluate(
    candidates: Candidates,
    references: References,
    *,
    metrics: str | Sequence[str] = "bleu,meteor,rouge_l,cider",
    df: AnyPath | None = None,
    end: bool = False,
    tokenizer: str = "ptb-official",
    resamples: int = 10_000,
) -> dict[str, Score]:
    """Score the first caption of each image, as the official COCO toolkit does (docs/scores.md).

    Args:
        candidates: captions, or a file of them: ours, COCO's results, CSV or JSON Lines (docs/scores.md).
        references: of these images and perhaps of others: captions, a data set, or a file of either.
        metrics: "bleu", "meteor", "rouge_l", "cider", "spice": a sequence, or text with commas between.
        df: file of CIDEr-D's document frequencies, from `distilcap metrics df`; None is the references'.
        end: CIDEr-D counts an end token; the official toolkit does not.
        tokenizer: "ptb-official", with the official look-ahead into the next caption; "ptb"; "unicode" or
            "characters" for other languages.
        resamples: number of resamples of the bootstrap; 0 leaves intervals out.

    Returns:
        Scores by name ("bleu_1" … "bleu_4", "meteor", "rouge_l", "cider", "spice"), from 0 to 1 (CIDEr to
        10), with signature, 95 % interval (None of one image) and the score of each image. A score that
        cannot be computed here says why in `unavailable`.

    Raises:
        ConfigError: there is no such metric or tokenizer, or `df` was counted by another tokenizer.
        DataError: a file is missing or malformed, or a caption's image has no references.
    """
    from distilcap.metrics.resampling import intervals, remark_on_few

    options = _score_options(metrics, df, end, tokenizer, resamples)
    known = _references(references, options)
    (scored,) = _scored({"candidates": candidates}, known, references)
    scores = options.score(scored, known)
    if resamples and (few := remark_on_few(len(scored))):
        LOGGED.note(few)
    return intervals(scores, resamples)


@keywords_checked
def compare(
    candidates: Candidates,
    baseline: Candidates,
    references: References,
    *,
    metrics: str | Sequence[str] = "bleu,meteor,rouge_l,cider",
    df: AnyPath | None = None,
    end: bool = False,
    tokenizer: str = "ptb-official",
    resamples: int = 10_000,
) -> dict[str, Comparison]:
    """Say whether two systems' captions of the same images differ, by paired tests over images.

    The tests are the bootstrap (Koehn 2004) and approximate randomisation (Riezler & Maxwell 2005), the
    latter also Holm-corrected over the scores.

    Args:
        candidates, baseline: captions, or files of them.
        references, metrics, df, end, tokenizer: see `evaluate`.
        resamples: of both tests, 1 or more.

    Returns:
        A comparison by score: the difference of `candidates` from `baseline`, its 95 % interval, p-values;
        those that so few images do not give are None (see `Comparison`). Scores that cannot be computed here
        are left out, and a remark says why.

    Raises:
        ConfigError: there is no such metric, or the two describe different images.
        DataError: see `evaluate`.
    """
    from distilcap.metrics.registry import metric_of
    from distilcap.metrics.resampling import remark_on_few
    from distilcap.metrics.significance import System, compare_table

    options = _score_options(metrics, df, end, tokenizer, resamples)
    known = _references(references, options)
    both = _scored({"candidates": candidates, "baseline": baseline}, known, references)
    ours, theirs = (options.score(captions, known) for captions in both)
    images = {len(score.per_image) for score in ours.values() if not score.unavailable}
    if few := remark_on_few(max(images, default=0)):
        LOGGED.note(few)
    columns = []
    for key in ours:
        if reason := ours[key].unavailable or theirs[key].unavailable:
            LOGGED.note(f"{key} is left out: n/a ({reason}).")
            continue
        systems = (System("baseline", (theirs[key],)), System("candidates", (ours[key],)))
        columns.append((metric_of(key), systems))
    return {comparison.metric: comparison for comparison in compare_table(columns, resamples)}


def _scored(systems: dict[str, Candidates], known: CaptionSet, references: References) -> list[CaptionSet]:
    """The captions of each system, by the ids of the references; remarks say what is left out or empty."""
    scored, remarks = [], list[str]()
    for name, given in systems.items():
        read = given if isinstance(given, CaptionSet) else read_candidates(_path(name, given))
        scored.append(fit_ids(read, known))
        remarks += remarks_on_scored(
            scored[-1], known, _called(name, given), _called("references", references)
        )
    for remark in dict.fromkeys(remarks):
        LOGGED.note(remark)
    return scored


def _called(name: str, given: References) -> str:
    return f"the {name}" if isinstance(given, CaptionSet | Dataset) else str(given)


def _path(name: str, given: AnyPath, kinds: str = "a CaptionSet") -> Path:
    """A file of captions that a person names.

    Raises:
        ConfigError: it is something else.
    """
    if isinstance(given, str | os.PathLike):
        return Path(given)
    raise ConfigError(
        f"`{name}` must be {kinds} or a path, but is of type {type(given).__name__}; "
        "`CaptionSet.of_texts` makes captions of a dict of texts by image id."
    )


def _references(references: References, options: ScoreOptions) -> CaptionSet:
    """The references as captions; a remark says where another tokenizer suits them better."""
    if isinstance(references, Dataset):
        references = references.captions
    elif not isinstance(references, CaptionSet):
        references = read_references(_path("references", references, "a CaptionSet, a Dataset"))
    if advice := options.advice(references):
        LOGGED.note(advice)
    return references


def _score_options(
    metrics: str | Sequence[str], df: AnyPath | None, end: bool, tokenizer: str, resamples: int
) -> ScoreOptions:
    from distilcap.metrics.options import ScoreOptions

    names: object = metrics
    if not isinstance(metrics, str) and isinstance(metrics, Iterable):
        several = list(metrics)
        names = next((name for name in several if not isinstance(name, str)), ",".join(map(str, several)))
    given = {"metrics": names, "df": df, "end": end, "tokenizer": tokenizer, "resamples": resamples}
    return filled(ScoreOptions, given)
