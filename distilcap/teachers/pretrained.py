"""A `transformers` image-to-text model (BLIP, GIT, ViT-GPT2 and their like) as a teacher."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from PIL import Image

from distilcap.data.captions import Caption, CaptionSet, captions_from, record_of
from distilcap.data.dataset import ImageRecord
from distilcap.errors import ConfigError, DataError, MissingError, memory_error
from distilcap.files import sha256_of
from distilcap.progress import SILENT, Progress
from distilcap.record_log import RecordLog
from distilcap.shown import first_line
from distilcap.teachers.shards import PhotoCaptioner, check_labels

__all__ = ["PretrainedTeacher", "find_model", "label_images", "model_fingerprint"]

_KEPT = ("*.json", "*.safetensors", "*.bin", "*.txt", "*.model", "*.jinja")


def find_model(name: str) -> Path:
    """The folder of a model: `name` itself, or what the model hub has under that name.

    Raises:
        MissingError: the package is not installed, or the model cannot be had.
        DataError: the folder holds no model.
    """
    folder = Path(name)
    if not folder.is_dir():
        _transformers()
        from huggingface_hub import snapshot_download

        try:
            folder = Path(snapshot_download(name, allow_patterns=list(_KEPT)))
        except Exception as error:  # the hub's client raises its own, its network library's and ValueError
            raise MissingError(f"{name}: no such folder, and no download ({first_line(error)}).") from None
    if not (folder / "config.json").is_file():
        raise DataError(f"{folder}: not a model of transformers (there is no config.json in it).")
    return folder


def model_fingerprint(folder: Path) -> str:
    """A hash of all that decides what a model says: configuration, weights, words, what is asked."""
    files = sorted({path for pattern in _KEPT for path in folder.glob(pattern)})
    digests = [[path.name, sha256_of(path)] for path in files]
    return hashlib.sha256(json.dumps(digests).encode()).hexdigest()


def _transformers() -> Any:
    try:
        import transformers
    except ModuleNotFoundError:
        raise MissingError(
            "A pretrained teacher needs the package transformers: "
            "pip install 'distilcap[teachers]' brings it."
        ) from None
    return transformers


@dataclass(frozen=True)
class PretrainedTeacher:
    """Model, image processor and tokenizer, on the device where they run.

    Attributes:
        name: of its folder, and the beginning of its fingerprint.
        max_tokens: of a caption, in the model's own tokens.
    """

    model: Any
    processor: Any
    tokenizer: Any
    name: str = ""
    max_tokens: int = 40

    @staticmethod
    def load(folder: Path, device: str | None = None) -> PretrainedTeacher:
        """Load a model; code that comes with it is not run.

        Args:
            device: None takes a GPU where there is any.

        Raises:
            MissingError: the package is not installed.
            DataError: the folder holds no image-to-text model that it can load, or one that needs a prompt.
        """
        transformers = _transformers()
        import torch

        transformers.utils.logging.disable_progress_bar()  # only the command line draws
        device = device or ("cuda" if torch.cuda.is_available() else "cpu")
        try:
            safe = {"trust_remote_code": False, "local_files_only": True}
            model = transformers.AutoModelForImageTextToText.from_pretrained(folder, **safe)
            processor = transformers.AutoImageProcessor.from_pretrained(folder, **safe)
            tokenizer = transformers.AutoTokenizer.from_pretrained(folder, **safe)
        except Exception as error:  # of transformers, safetensors, tokenizers, torch and pickle, each its own
            if isinstance(error, MemoryError) or memory_error(error):
                raise
            fix = (
                "pip install what it names"
                if isinstance(error, ImportError)
                else "take another or download it again"
            )
            reason = first_line(error).rstrip(".")
            raise DataError(f"{folder}: not an image-to-text model that loads ({reason}); {fix}.") from None
        name = f"{folder.resolve().name}-{model_fingerprint(folder)[:12]}"
        teacher = PretrainedTeacher(model.to(device).eval(), processor, tokenizer, name)
        teacher._try(folder)
        return teacher

    def _try(self, folder: Path) -> None:
        """Caption a blank picture: whether a model needs a prompt is told by no property that all have."""
        blank = Image.new("RGB", (64, 64))
        try:
            replace(self, max_tokens=1).caption([blank], beam=1)
        except Exception as error:  # each model fails in its own way where the prompt should be
            if isinstance(error, MemoryError) or memory_error(error):
                raise
            raise DataError(
                f"{folder}: captions no photograph by itself ({first_line(error)}). A chat model needs a "
                "prompt: caption with examples/label_with_vlm, and give its file as `--teacher-captions`."
            ) from None

    def read(self, photo: Path) -> Any:
        """See `teachers.shards.PhotoCaptioner`: pixels (3, S, S), less memory than the photograph."""
        from distilcap.runtime.pixels import read_image

        return self._pixels(read_image(photo))

    def _pixels(self, photo: Any) -> Any:
        return self.processor(images=[photo], return_tensors="pt")["pixel_values"][0]

    def caption(self, photos: Sequence[Any], beam: int = 3, n_best: int = 1) -> list[tuple[Caption, ...]]:
        """Caption PIL images; see `label`."""
        return self.label([self._pixels(photo) for photo in photos], beam, n_best)

    def label(self, photos: Sequence[Any], beam: int, n_best: int) -> list[tuple[Caption, ...]]:
        """Caption what `read` gave; each gets `n_best` captions, best first.

        The log-probability is the model's own, over its own tokens with the end token.

        Raises:
            ConfigError: `n_best` is not in 1 to `beam`.
        """
        import torch

        if not 1 <= n_best <= beam:
            raise ConfigError(f"`n_best` must be in 1 to `beam` ({beam}), but is {n_best}.")
        pixels = torch.stack(list(photos)).to(self.model.device)
        with torch.inference_mode():
            made = self.model.generate(
                pixel_values=pixels,
                num_beams=beam,
                num_return_sequences=n_best,
                max_new_tokens=self.max_tokens,
                do_sample=False,
                length_penalty=0.0 if beam > 1 else None,
                return_dict_in_generate=True,
                output_scores=True,
            )
        scores = made.sequences_scores if beam > 1 else self._greedy_scores(made)
        texts = self.tokenizer.batch_decode(made.sequences, skip_special_tokens=True)
        captions = [
            Caption(" ".join(text.split()), score) for text, score in zip(texts, scores.tolist(), strict=True)
        ]
        return [tuple(captions[start : start + n_best]) for start in range(0, len(captions), n_best)]

    def _greedy_scores(self, made: Any) -> Any:
        """Log-probabilities (B,) of greedy captions up to the end token, which `generate` does not sum."""
        import torch

        log_probs = torch.stack(made.scores, dim=1).float().log_softmax(dim=-1)
        tokens = made.sequences[:, -log_probs.shape[1] :]
        chosen = log_probs.gather(-1, tokens[..., None])[..., 0]
        ends = torch.isin(tokens, torch.tensor(sorted(self._end_tokens()), device=tokens.device)).long()
        counted = ends.cumsum(dim=1) - ends == 0
        return (chosen * counted).nan_to_num(neginf=0.0).sum(dim=1)

    def _end_tokens(self) -> set[int]:
        end = self.model.generation_config.eos_token_id
        ends = set(end if isinstance(end, list) else [end])
        text = getattr(self.model.config, "text_config", None)
        # BLIP ends a caption with its separator.
        return {token for token in (*ends, getattr(text, "sep_token_id", None)) if token is not None}


def label_images(
    teacher: PhotoCaptioner,
    images: Sequence[ImageRecord],
    log: Path,
    *,
    beam: int = 3,
    n_best: int = 1,
    batch_images: int = 16,
    progress: Progress = SILENT,
) -> CaptionSet:
    """Caption images in batches, each on disk before the next begins; goes on where `log` ends.

    Args:
        log: path of a `RecordLog`.

    Images that cannot be read are left out and named in a remark.

    Raises:
        DataError: `log` was begun with another teacher or other options, or the teacher gives an image a
            log-probability of NaN.
    """
    header = {"teacher": teacher.name, "beam": beam, "n_best": n_best}
    if isinstance(teacher, PretrainedTeacher):
        header |= {"max_tokens": teacher.max_tokens}
    with RecordLog(log, header, progress) as records:
        done = dict(captions_from(line) for record in records.records for line in record["captions"])
        # Kept too, so that the batches are those of a run that was not killed: numbers are rounded by batch.
        # What can be read by now comes last.
        skipped = {id for record in records.records for id in record.get("skipped", {})} - done.keys()
        wanted = [image for image in images if image.id not in done and image.id not in skipped]
        for image in (image for image in images if image.id in skipped):
            try:
                teacher.read(image.path)
            except DataError as error:
                progress.note(f"skipped image {image.id}: {error}")
            else:
                wanted.append(image)
        batches = [wanted[start : start + batch_images] for start in range(0, len(wanted), batch_images)]
        total = -(-len(images) // batch_images)
        for batch in progress.track(batches, "Captioning with the teacher", total, total - len(batches)):
            readable, unread = [], {}
            for image in batch:
                try:
                    readable.append((image.id, teacher.read(image.path)))
                except DataError as error:
                    unread[image.id] = str(error)
                    progress.note(f"skipped image {image.id}: {error}")
            hypotheses = teacher.label([photo for _, photo in readable], beam, n_best) if readable else []
            check_labels(teacher.name, hypotheses, [id for id, _ in readable])
            made = {id: captions for (id, _), captions in zip(readable, hypotheses, strict=True)}
            captions = [record_of(id, captions) for id, captions in made.items()]
            records.append({"captions": captions, "skipped": unread})
            done |= made
    return CaptionSet({image.id: done[image.id] for image in images if image.id in done})
