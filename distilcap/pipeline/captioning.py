"""A bundle or a trained run as something that captions images: what `distilcap.load` gives.

A bundle needs no PyTorch: nothing here imports it before a run is loaded.
"""

from __future__ import annotations

import hashlib
import math
import os
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import IO, TypeAlias, cast, overload

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from distilcap.cores import usable_cores
from distilcap.data.captions import Caption
from distilcap.encoders.loader import batched, in_order
from distilcap.errors import ConfigError, DataError
from distilcap.files import sha256_of
from distilcap.pipeline.captioned import Captioned, WrittenCaption
from distilcap.progress import SILENT, Progress
from distilcap.runtime.bundle import Bundle, BundleCaption
from distilcap.runtime.calibration import LEAST_IMAGES
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.runtime.hub import find_bundle
from distilcap.runtime.manifest import MANIFEST
from distilcap.runtime.pixels import Bytes, Preprocessing, load_pixels, to_pixels, to_rgb
from distilcap.shown import first_line
from distilcap.store.record import RECORD
from distilcap.text.tokenizers import tokenizer_of
from distilcap.text.vocabulary import EOS

__all__ = ["ImageCaptioner", "ImageInput"]

ImageInput: TypeAlias = str | os.PathLike[str] | bytes | IO[bytes] | Image.Image | NDArray[np.uint8]
"""An image: a file's path, its bytes, a file opened in mode "rb" (or what reads as one), an image of Pillow,
or RGB values (H, W, 3) as bytes."""

BATCH_IMAGES = 8
_IMAGES = (str, os.PathLike, bytes, bytearray, memoryview, Image.Image, np.ndarray)

Describe: TypeAlias = Callable[[Sequence[str], Sequence[Bytes]], list[tuple[WrittenCaption, ...]]]
"""Names and pixels (S, S, 3) of some images to the captions of each, best first."""


class ImageCaptioner:
    """Captions images by a bundle or a trained run; `distilcap.load` opens it.

    Attributes:
        path: of the bundle or the run.
        recipe: what decides its captions: weights, search, words never written; of text, for a log.
        calibrated: whether its captions have a confidence.
        workers: so many batches of images are captioned side by side.
    """

    def __init__(
        self,
        path: Path,
        preprocessing: Preprocessing,
        describe: Describe,
        recipe: Mapping[str, str],
        calibrated: bool = False,
        workers: int = 1,
    ) -> None:
        self.path, self.recipe, self.calibrated, self.workers = path, recipe, calibrated, workers
        self._preprocessing, self._describe = preprocessing, describe
        self._in_memory = threading.Lock()

    @staticmethod
    def open(
        path: Path,
        decode: DecodeChoice,
        threads: int = 1,
        progress: Progress = SILENT,
        workers: int | None = None,
    ) -> ImageCaptioner:
        """Open a bundle or a run, whichever lies at the path; see `distilcap.load`."""
        folder = path.parent if path.name == MANIFEST else find_bundle(path)
        if (folder / MANIFEST).exists():
            return ImageCaptioner.of_bundle(folder, decode, threads, progress, workers)
        if not folder.is_dir():
            raise DataError(f"{path}: there is no such bundle or trained run.")
        if (folder / "bundle" / MANIFEST).exists():
            raise DataError(f"{path}: the bundle is in {folder / 'bundle'}; open that.")
        if not (folder / RECORD).exists():
            raise DataError(
                f"{path}: neither a bundle (there is no {MANIFEST}) nor a trained run (there is no {RECORD})."
            )
        return ImageCaptioner.of_run(folder, decode, progress)

    @staticmethod
    def of_bundle(
        folder: Path,
        decode: DecodeChoice,
        threads: int = 1,
        progress: Progress = SILENT,
        workers: int | None = None,
    ) -> ImageCaptioner:
        """Open a bundle; see `Bundle.open`, and for `hf:user/name` `runtime.hub.find_bundle`.

        Args:
            workers: None is one for each of the processor's cores that `threads` leave.
        """
        workers = max(1, usable_cores() // max(1, threads)) if workers is None else workers
        for name, value in (("threads", threads), ("workers", workers)):
            if value < 1:
                raise ConfigError(f"`{name}` must be at least 1, but is {value}.")
        bundle = Bundle.open(folder := find_bundle(folder), threads=threads)
        for graph in ("encoder", "encode", "step"):  # at once: the bundle may be replaced while this captions
            bundle.session(graph)
        manifest = bundle.manifest
        words = manifest.vocabulary.words
        options = decode.over(manifest.decode, manifest.vocabulary, progress)

        def written(caption: BundleCaption) -> WrittenCaption:
            own = tuple(words[token] for token in caption.tokens if token != EOS)
            return WrittenCaption(
                caption.text, caption.log_prob, own, caption.confidence, len(caption.tokens)
            )

        def describe(names: Sequence[str], pixels: Sequence[Bytes]) -> list[tuple[WrittenCaption, ...]]:
            result = bundle.search(bundle.see(np.stack(pixels), names), options, names)
            return [_possible(map(written, beam[: decode.n_best])) for beam in bundle.captions_of(result)]

        bundle_id = f"bundle with manifest {sha256_of(folder / MANIFEST)[:16]}"  # wherever it lies
        recipe = _recipe(bundle_id, options, decode.n_best)
        calibrated = manifest.calibration is not None
        return ImageCaptioner(bundle.folder, manifest.preprocessing, describe, recipe, calibrated, workers)

    @staticmethod
    def of_run(folder: Path, decode: DecodeChoice, progress: Progress = SILENT) -> ImageCaptioner:
        """Load a trained run, onto a GPU where there is one; see `RunCaptioner.load`."""
        from distilcap.pipeline.photographs import RunCaptioner
        from distilcap.training.processes import launched

        run = RunCaptioner.load(folder, decode, launched().device, progress=progress)
        tokenizer = tokenizer_of(run.trained.vocabulary.tokenizer)

        def written(caption: Caption) -> WrittenCaption:
            assert caption.log_prob is not None
            words = tuple(tokenizer.written_words(caption.text))
            tokens = min(len(words) + 1, run.decode.max_words)  # a caption that is cut has no end token
            return WrittenCaption(caption.text, caption.log_prob, words, tokens=tokens)

        def describe(names: Sequence[str], pixels: Sequence[Bytes]) -> list[tuple[WrittenCaption, ...]]:
            captions = run.label(pixels, run.decode.beam_size, decode.n_best, names)
            return [_possible(map(written, of_image)) for of_image in captions]

        recipe = _recipe(f"{folder.resolve()}, {run.name}", run.decode, decode.n_best)
        return ImageCaptioner(folder, run.encoder.preprocessing, describe, recipe)

    def without_doubtful(self, least: float) -> ImageCaptioner:
        """The same captioner, whose captions of a confidence below `least` are empty.

        Raises:
            ConfigError: its captions have no confidence.
        """
        if not self.calibrated:
            raise ConfigError(
                f"{self.path}: its captions have no confidence, so `min_confidence` has nothing to go by; "
                "`distilcap export` with `--data` makes a bundle that has, where people wrote two captions "
                f"each of {LEAST_IMAGES} validation images."
            )

        def kept(caption: WrittenCaption) -> WrittenCaption:
            assert caption.confidence is not None
            return caption if caption.confidence >= least else replace(caption, text="", words=())

        def describe(names: Sequence[str], pixels: Sequence[Bytes]) -> list[tuple[WrittenCaption, ...]]:
            return [tuple(map(kept, captions)) for captions in self._describe(names, pixels)]

        recipe = {**self.recipe, "min_confidence": f"{least:g}"}
        return ImageCaptioner(self.path, self._preprocessing, describe, recipe, True, self.workers)

    @overload
    def caption(self, images: ImageInput) -> Captioned: ...  # type: ignore[overload-overlap]

    @overload
    def caption(self, images: Iterable[ImageInput]) -> list[Captioned]: ...

    def caption(self, images: ImageInput | Iterable[ImageInput]) -> Captioned | list[Captioned]:
        """Caption an image, or each of some images.

        An image is the path of a file, the bytes of a file, a file opened in mode "rb", an image of Pillow
        in any mode, or an array (H, W, 3) of 8-bit red, green and blue. It is turned upright (EXIF) and seen
        whole.

        Args:
            images: an image, or any iterable of images, such as `Path("photos").glob("*.jpg")`.

        Returns:
            What came of the image, or a list of what came of each, in the order given.

        Raises:
            DataError: the image cannot be read. Of some images, each that cannot be read has its `error` in
                the list instead, and the others are captioned.
            BundleError: the bundle gives NaN, or its graphs are not what its manifest says.
        """
        if not _is_one(images) and isinstance(images, Iterable):
            return list(self.each(cast(Iterable[ImageInput], images)))
        image = cast(ImageInput, images)
        (captioned,) = self._caption_batch([(_name(image, 0), image)])
        if captioned.error is not None:
            raise captioned.error
        return captioned

    def each(self, images: Iterable[ImageInput]) -> Iterator[Captioned]:
        """What comes of each of some images, in their order, as they are captioned; see `caption`.

        Where the iterable raises, what comes of the images before is given first.

        Raises:
            DataError: `images` is a single image.
        """
        if _is_one(images):
            raise DataError(
                f"`each` takes several images, but this is one ({type(images).__name__}); use `caption`, or "
                "give it in a list."
            )
        return self._each(images)

    def _each(self, images: Iterable[ImageInput]) -> Iterator[Captioned]:
        numbered = ((_name(image, number), image) for number, image in enumerate(images))
        batches = batched(numbered, BATCH_IMAGES)
        if self.workers == 1:
            for batch in batches:
                yield from self._caption_batch(batch)
            return
        with ThreadPoolExecutor(self.workers) as pool:
            for captioned in in_order(pool, self._caption_batch, batches, self.workers):
                yield from captioned

    def _caption_batch(self, batch: Sequence[tuple[str, ImageInput]]) -> list[Captioned]:
        seen = [(name, self._read(image, name)) for name, image in batch]
        readable = [(name, pixels) for name, pixels in seen if not isinstance(pixels, DataError)]
        captions = iter(self._describe(*zip(*readable, strict=True)) if readable else ())
        return [
            Captioned(name, (), pixels) if isinstance(pixels, DataError) else Captioned(name, next(captions))
            for name, pixels in seen
        ]

    def _read(self, image: ImageInput, name: str) -> Bytes | DataError:
        try:
            if not isinstance(image, Image.Image):
                return _pixels(image, name, self._preprocessing)
            # Pillow reads an image's file when its pixels are asked for, and the same may be there twice.
            with self._in_memory:
                return _pixels(image, name, self._preprocessing)
        except DataError as error:
            # Frames of a traceback hold the decoded image, for as long as somebody keeps the result.
            error.__cause__ = error.__context__ = None
            return error.with_traceback(None)


def _recipe(captioner: str, options: DecodeOptions, n_best: int) -> dict[str, str]:
    never = hashlib.sha256(repr(options.blocked).encode()).hexdigest()[:12]
    return {
        "captioner": captioner,
        "search": f"beam {options.beam_size}, {n_best} best, at most {options.max_words} words, length "
        f"penalty {options.length_penalty:g}, {len(options.blocked)} words never written ({never})"
        f"{', repeats last' if options.avoid_repeats else ''}",
    }


def _possible(captions: Iterable[WrittenCaption]) -> tuple[WrittenCaption, ...]:
    """Those that have a probability; where words are forbidden, a beam may hold fewer than it could."""
    return tuple(caption for caption in captions if caption.log_prob > -math.inf)


def _is_one(images: object) -> bool:
    """Whether this is one image, and not many; an opened file would else be taken for its lines."""
    return isinstance(images, _IMAGES) or hasattr(images, "read")


def _name(image: ImageInput, number: int) -> str:
    return os.fspath(image) if isinstance(image, str | os.PathLike) else f"image {number}"


def _pixels(image: ImageInput, name: str, preprocessing: Preprocessing) -> Bytes:
    """What a captioner sees of an image: (S, S, 3) bytes.

    Raises:
        DataError: it is no image, or cannot be decoded.
    """
    if isinstance(image, str | os.PathLike):
        if os.path.isdir(image):
            raise DataError(f"{name}: a folder; give its images, such as `Path(…).glob('*.jpg')`.")
        return load_pixels(Path(image), preprocessing)
    if hasattr(image, "read"):
        image = _content(cast(IO[bytes], image), name)
    if isinstance(image, bytes):
        return load_pixels(image, preprocessing)
    if isinstance(image, np.ndarray):
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
            raise DataError(
                f"{name}: an array must be (H, W, 3) of uint8 (red, green, blue), but is {image.shape} of "
                f"{image.dtype}."
            )
        image = Image.fromarray(image)
    if not isinstance(image, Image.Image):
        raise DataError(
            f"{name}: an image is a path, the bytes of a file, an opened file, an image of Pillow or an "
            f"array, but this is {type(image).__name__}."
        )
    try:
        return to_pixels(to_rgb(ImageOps.exif_transpose(image)), preprocessing)
    except MemoryError:
        raise
    except Exception as error:  # Pillow opens files lazily, and its decoders raise whatever they meet
        raise DataError(f"{name}: cannot be decoded: {error}.") from None


def _content(file: IO[bytes], name: str) -> bytes:
    """What is left to read of an opened file.

    Raises:
        DataError: it is closed, or gives no bytes.
    """
    try:
        content: object = file.read()
    except MemoryError:
        raise
    except Exception as error:  # it is closed, or of text that an image's bytes are not, or of a network …
        raise DataError(
            f'{name}: cannot be read ({first_line(error)}); open its file in mode "rb".'
        ) from None
    if not isinstance(content, bytes):
        raise DataError(f'{name}: gives {type(content).__name__}, not bytes; open its file in mode "rb".')
    return content
