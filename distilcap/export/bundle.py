"""From a trained run to a bundle on disk, checked against PyTorch before it is given its name."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from distilcap import __version__
from distilcap.data.dataset import Dataset
from distilcap.encoders.base import Encoder
from distilcap.encoders.recipes import without_engine
from distilcap.errors import BundleError, DataError
from distilcap.export.card import LIMITS, model_card
from distilcap.export.folders import check_bundle_folder, whole_bundle
from distilcap.export.licences import licences_of
from distilcap.export.onnx.parity import Comparison, compare
from distilcap.export.onnx.parts import Parts, load_encoder
from distilcap.export.options import ExportOptions
from distilcap.export.pictures import readable, sample_pictures
from distilcap.export.scored import calibrate_bundle, score_bundle
from distilcap.files import write_text
from distilcap.metrics.evaluation import scoring_tokenizer
from distilcap.models.weights import TrainedCaptioner, load_captioner
from distilcap.progress import SILENT, Progress
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.manifest import CARD, Manifest, read_manifest, write_manifest
from distilcap.runtime.pixels import Bytes, Preprocessing

__all__ = ["Exported", "export_bundle"]

PARITY_IMAGES, SAMPLES, CALIBRATION_IMAGES = 50, 16, 128


@dataclass(frozen=True)
class Exported:
    """A bundle that was written.

    Attributes:
        folder: where it lies.
        manifest: what it holds.
        parity: of its graphs, in float32, with PyTorch.
        agreement: of the bundle as written; the same as `parity` where nothing more was compared.
    """

    folder: Path
    manifest: Manifest
    parity: Comparison
    agreement: Comparison


DEFAULTS = ExportOptions()


def export_bundle(
    run: Path,
    to: Path,
    options: ExportOptions = DEFAULTS,
    *,
    encoder: Encoder | None = None,
    data: Dataset | None = None,
    decode: DecodeOptions | None = None,
    licence: Mapping[str, str] | None = None,
    limits: str = LIMITS,
    progress: Progress = SILENT,
) -> Exported:
    """Write a trained captioner with its encoder as a bundle at `to`, whole or not at all.

    In float32 the graphs must give PyTorch's captions on up to 50 images, token by token, or nothing is
    written. A smaller precision may differ here and there; with `data` it is scored on the same images, and
    the confidence of its captions is calibrated on validation images.

    Args:
        run: folder of a trained captioner.
        to: folder of the bundle; an older bundle there is replaced, and what a person put beside its
            files stays; anything else is refused.
        encoder: whose features the captioner reads; None makes it by the recipe kept with the captioner.
        data: images for parity, ranges of activations, scores and confidence; None takes a few drawn
            gradients, and no scores.
        decode: how the bundle searches; None takes `DecodeOptions()`.
        licence: of the weights, by part; None says what is known of them.
        limits: of the model card, in Markdown: what it gets wrong, and what it should not be used for.
        progress: reports each step.

    Raises:
        ConfigError: something that is no bundle lies at `to`, or ExecuTorch cannot search so wide.
        MissingError: ExecuTorch is asked for and not installed.
        DataError: `run` is no trained captioner or read other features; the split has no images, or none of
            those to compare can be read.
        BundleError: the bundle's captions are not PyTorch's, or surely lose more CIDEr than `max_loss`; or
            what was written does not open again.
    """
    precision, decode = options.precision, decode or DecodeOptions()
    if options.executorch:
        from distilcap.export.phone import PhoneBundle, check_programs, write_programs

        check_programs(decode)
    check_bundle_folder(to)
    records = data.split(options.split)[: options.limit] if data else ()
    if data and not records:
        raise DataError(f"{data.name}: its split `{options.split}` has no images.")
    trained, encoder = _load(run, encoder)
    preprocessing = encoder.preprocessing
    progress.note(f"Tracing {encoder.name} and {trained.architecture} to ONNX")
    parts = Parts.trace(encoder, trained, decode)
    manifest = _manifest(encoder, trained, parts, decode, licence or licences_of(trained.features))

    def pictures(most: int | None) -> Iterable[tuple[str, Bytes]]:
        if data:
            return readable(records[:most], preprocessing, progress)
        return sample_pictures(SAMPLES, preprocessing.size)

    def compared(bundle: Bundle, most: int | None, precision: str, batch_images: int = 8) -> Comparison:
        comparison = compare(encoder, trained, bundle, pictures(most), batch_images)
        if data and not comparison.images:
            raise DataError(
                f"{data.name}: no image of its split `{options.split}` can be read ({len(records[:most]):,} "
                "tried), so nothing can be compared; name their folder by `images`."
            )
        progress.note(f"{type(bundle).__name__} in {precision}: {comparison}")
        return comparison

    with whole_bundle(to) as final:
        exact = final.with_name("float32")
        parts.save(exact, "float32")
        write_manifest(exact, manifest)
        parity = agreement = _agreeing(to, compared(Bundle.open(exact), PARITY_IMAGES, "float32"))
        parts.save(final, precision, _training_pictures(data, preprocessing, progress))
        manifest = write_manifest(final, replace(manifest, precision=precision))
        if data or precision != "float32":
            agreement = compared(Bundle.open(final), None, precision)
        if data:
            tokenizer = scoring_tokenizer(trained.vocabulary.tokenizer)
            scores = score_bundle(agreement, data, options, tokenizer, progress)
            calibration = calibrate_bundle(Bundle.open(final), agreement, data, options, progress)
            manifest = replace(manifest, scores=scores, calibration=calibration)
        if options.executorch:
            progress.note("Lowering to ExecuTorch")
            write_programs(encoder, trained.captioner, final)
            _agreeing(to, compared(PhoneBundle.open(final), PARITY_IMAGES, "float32", 1))
            manifest = write_manifest(final, manifest)  # the card lists the programs
        write_text(final / CARD, model_card(manifest, str(agreement), limits))
        manifest = write_manifest(final, manifest)
        try:
            read_manifest(final)
        except BundleError as error:
            raise BundleError(f"Not written: {str(error).replace(str(final), str(to))}") from None
    progress.note(f"{to}: {manifest.megabytes():.2f} MB, {precision}")
    return Exported(to, manifest, parity, agreement)


def _load(run: Path, encoder: Encoder | None) -> tuple[TrainedCaptioner, Encoder]:
    trained = load_captioner(run)
    encoder = encoder or load_encoder(run, trained.features)
    if encoder.recipe() != without_engine(trained.features):
        raise DataError(
            f"{run}: was trained on features of another encoder or other weights than {encoder.name}."
        )
    return trained, encoder


def _manifest(
    encoder: Encoder,
    trained: TrainedCaptioner,
    parts: Parts,
    decode: DecodeOptions,
    licence: Mapping[str, str],
) -> Manifest:
    return Manifest(
        precision="float32",
        preprocessing=encoder.preprocessing,
        vocabulary=trained.vocabulary,
        regions=encoder.regions,
        dim=encoder.dim,
        state=parts.state,
        memory=parts.memory,
        decode=decode,
        model={
            "architecture": trained.architecture,
            "options": dataclasses.asdict(trained.options),
            "parameters": trained.captioner.parameter_count(),
            "encoder": trained.features,
        },
        licence=dict(licence),
        made_by=f"distilcap {__version__}",
    )


def _agreeing(to: Path, comparison: Comparison) -> Comparison:
    """Pass a comparison on where every caption agrees."""
    if comparison.differing is None:
        return comparison
    name, ours, theirs = comparison.differing
    raise BundleError(
        f"{to}: not written, since the bundle disagrees with PyTorch ({comparison}); "
        f"at image {name} PyTorch says '{ours}', the bundle '{theirs}'."
    )


def _training_pictures(
    data: Dataset | None, preprocessing: Preprocessing, progress: Progress
) -> Callable[[], Iterator[Bytes]]:
    """Pictures that an encoder is rounded by: of training, never of the split that is scored."""

    def pictures() -> Iterator[Bytes]:
        given = False
        seen = readable(data.split("train") if data else (), preprocessing, SILENT)
        for _, picture in itertools.islice(seen, CALIBRATION_IMAGES):
            given = True
            yield picture
        if data and not given:
            progress.note(f"{data.name}: no training image can be read; drawn pictures stand for them.")
        if not given:
            yield from (picture for _, picture in sample_pictures(64, preprocessing.size))

    return pictures
