"""What a bundle's captions are worth: scores beside PyTorch's, and confidence that means something."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np

from distilcap.data.dataset import Dataset
from distilcap.errors import BundleError
from distilcap.export.calibration import People, calibrate
from distilcap.export.onnx.parity import Comparison
from distilcap.export.options import ExportOptions
from distilcap.export.pictures import readable
from distilcap.metrics import Score, create_metric, evaluate
from distilcap.metrics.resampling import remark_on_few
from distilcap.metrics.significance import System, compare_systems
from distilcap.progress import Progress
from distilcap.runtime.bundle import Bundle, BundleCaption
from distilcap.runtime.calibration import LEAST_IMAGES, Calibration
from distilcap.runtime.pixels import Bytes

__all__ = ["calibrate_bundle", "score_bundle"]

METRICS = ("bleu", "rouge_l", "cider")


def score_bundle(
    agreement: Comparison, data: Dataset, options: ExportOptions, tokenizer: str, progress: Progress
) -> dict[str, Any]:
    """The bundle's scores and PyTorch's, on those of the compared images that have references.

    Raises:
        BundleError: it surely loses too much, see `_check_loss`.
    """
    ours, theirs = agreement.captions()
    known = [image_id for image_id in ours if data.captions.get(image_id)]
    if not known:
        progress.note("No compared image has references: the bundle is not scored, nor held to `max_loss`.")
        return {}
    exact, written = (
        evaluate(captions.only(known), data.captions, METRICS, tokenizer, reasons=False)
        for captions in (ours, theirs)
    )
    progress.note(_check_loss(exact["cider"], written["cider"], options))
    return {
        "data": data.name,
        "split": options.split,
        "images": len(known),
        "metrics": {
            name: {
                "value": round(score.value, 6),
                "pytorch": round(exact[name].value, 6),
                "signature": score.signature,
            }
            for name, score in written.items()
        },
    }


def _check_loss(exact: Score, written: Score, options: ExportOptions) -> str:
    """How much of PyTorch's CIDEr a bundle loses, in words.

    Raises:
        BundleError: the 95 % interval of the loss, by pairs, lies above `max_loss`.
    """
    systems = [System("PyTorch", (exact,)), System("bundle", (written,))]
    (compared,) = compare_systems(systems, create_metric("cider"))
    whole = exact.value or 1.0
    told = (
        f"CIDEr {100 * written.value:.1f} where PyTorch has {100 * exact.value:.1f}: "
        f"{-compared.difference / whole:.1%} lost"
    )
    few = remark_on_few(len(exact.per_image))
    if compared.interval is None:
        return f"{told}. {few}"
    least, most = (-end / whole for end in compared.interval[::-1])
    told = f"{told}, 95 % interval {least:.1%} to {most:.1%}"
    if least > options.max_loss:
        raise BundleError(
            f"The {options.precision} bundle has {told}; that is above `max_loss` {options.max_loss:.1%}. "
            "Allow more, or take a larger `precision`."
        )
    return f"{told}. {few}".rstrip()


def calibrate_bundle(
    bundle: Bundle, agreement: Comparison, data: Dataset, options: ExportOptions, progress: Progress
) -> Calibration | None:
    """Of confidence: fitted on validation images, and measured on the compared split or on held-out halves.

    None, with a remark, where too few validation images are described by two people, or these say nothing
    alike.
    """
    people = People(data.references("val"), bundle.manifest.vocabulary.tokenizer)
    compared = people.right(agreement.theirs, data.captions)
    if options.split == "val":
        calibration = calibrate(people, compared)
    else:
        records = data.split("val")[: options.limit]
        pictures = readable(records, bundle.manifest.preprocessing, progress)
        written = _captions_of(bundle, pictures)
        measured_on = f"{len(compared[0]):,} images of {options.split}"
        calibration = calibrate(people, people.right(written, data.captions), compared, measured_on)
    if calibration is None:
        reason = f"it takes {LEAST_IMAGES} validation images with two captions each"
        if people.images >= LEAST_IMAGES and not people.agree:
            reason = (
                "a quarter of people's captions or more share no words with the others of their image, so "
                "that no caption would be called wrong"
            )
        progress.note(f"Confidence is not calibrated: {reason}.")
    return calibration


def _captions_of(bundle: Bundle, pictures: Iterator[tuple[str, Bytes]]) -> dict[str, BundleCaption]:
    captions: dict[str, BundleCaption] = {}
    while batch := list(itertools.islice(pictures, 8)):
        names, pixels = zip(*batch, strict=True)
        written = bundle.captions_of(bundle.search(bundle.see(np.stack(pixels), names), names=names))
        captions |= {name: beam[0] for name, beam in zip(names, written, strict=True)}
    return captions
