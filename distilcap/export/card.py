"""The model card that travels with a bundle (Mitchell et al. 2019), from what the manifest knows."""

from __future__ import annotations

import json
import re
from typing import Any

from distilcap.runtime.calibration import BINS
from distilcap.runtime.manifest import Manifest
from distilcap.runtime.never_write import never_written

__all__ = ["LIMITS", "model_card"]

_MARKUP = re.compile(r"[\\`*\[\]<>|~&#$]|(?<!\w)_|_(?!\w)")
_PROGRAM = " (ExecuTorch, float32)"


LIMITS = """## Use and limits

For describing photographs like those it was trained on. It names only what its vocabulary holds, is often
wrong about counts, colours and small things, repeats the habits and prejudices of its training captions
(also about people), and does not know when it errs: do not decide anything about a person by it.
"""


def model_card(manifest: Manifest, agreement: str, limits: str = LIMITS) -> str:
    """Markdown for people: what it is, how well it does, what it may be used for.

    Args:
        manifest: complete but for the card itself.
        agreement: the result of comparing the bundle with PyTorch.
        limits: what it should not be used for, in Markdown.
    """
    model, encoder = manifest.model, manifest.model["encoder"]
    architecture, options = _plain(model["architecture"]), _plain(json.dumps(model["options"]))
    sizes = "\n".join(
        f"| {_plain(name)}{_PROGRAM * name.endswith('.pte')} | {file['bytes'] / 1e6:.3f} |"
        for name, file in manifest.files.items()
    )
    licences = "\n".join(f"- {_plain(part)}: {_plain(text)}" for part, text in manifest.licence.items())
    decode = manifest.decode
    repeats = "; of a beam's captions, those that write a pair of words twice come last"
    return f"""# Image captioner ({architecture}, {_plain(manifest.precision)})

Writes one sentence for a photograph. Made by {_plain(manifest.made_by)}.

- Encoder: {_plain(encoder["encoder"])}, {manifest.preprocessing.size} pixels, {manifest.regions} regions of \
{manifest.dim} features; weights {_plain(encoder["weights"])[:16]} (SHA-256)
- Captioner: {architecture} {options}; {len(manifest.vocabulary):,} words
- Decoding: beam of {decode.beam_size}, at most {decode.max_words} words, length penalty \
{decode.length_penalty:g}{repeats if decode.avoid_repeats else ""}
- Never written: {_never_written(manifest)}
- Agreement with PyTorch in float32: {agreement}

## Size

| file | MB |
|---|---|
{sizes}
| all | {manifest.megabytes():.3f} |

## Scores

{_scores(manifest)}

## Confidence

{_confidence(manifest)}

{limits}
## Licences

{licences}
"""


def _plain(text: Any) -> str:
    """Text of a data set or a run on one line, with nothing that Markdown would take for markup."""
    one_line = " ".join("".join(letter if letter.isprintable() else " " for letter in str(text)).split())
    return _MARKUP.sub(r"\\\g<0>", one_line)


def _never_written(manifest: Manifest) -> str:
    words = never_written(manifest.decode.blocked, manifest.vocabulary).items()
    listed = (f"{word} (but {instead})" if instead else word for word, instead in words)
    return _plain(", ".join(listed)) or "no word is left out"


def _confidence(manifest: Manifest) -> str:
    calibration = manifest.calibration
    if calibration is None:
        return "Not calibrated: the captions have no confidence."
    measured = calibration.reliability
    bins = zip(range(BINS), measured.captions, measured.confidence, measured.right, strict=True)
    rows = "\n".join(
        f"| {100 * number // BINS} to {100 * (number + 1) // BINS} % "
        f"| {count} | {confidence:.0%} | {right:.0%} | {'█' * round(20 * right)} |"
        for number, count, confidence, right in bins
        if count
    )
    return f"""Of captions with confidence 70 %, about 70 % are as close to people's captions as people's are
to each other: they reach the CIDEr-D of {calibration.threshold:.2f} (0 to 10) against people's captions
that three of four people's captions reach against the other people's. This holds for the best caption by
the decoding above, and for photographs like the {calibration.images:,} of the validation split that it was
fitted on.

Measured on {_plain(calibration.measured_on)}: {measured}.

| confidence | captions | mean confidence | right | |
|---|---|---|---|---|
{rows}"""


def _scores(manifest: Manifest) -> str:
    scores = manifest.scores
    if not scores:
        return "Not measured at export."
    rows = "\n".join(
        f"| {name} | {100 * its['value']:.1f} | {100 * its['pytorch']:.1f} | {_plain(its['signature'])} |"
        for name, its in scores["metrics"].items()
    )
    split = f"{_plain(scores['split'])} of {_plain(scores['data'])}"
    return (
        f"On {scores['images']} images ({split}), times 100:\n\n"
        f"| metric | this bundle | PyTorch, float32 | signature |\n|---|---|---|---|\n{rows}"
    )
