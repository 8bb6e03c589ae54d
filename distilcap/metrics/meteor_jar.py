"""METEOR 1.5 by its official program (Denkowski & Lavie 2014), run beside Python as a black box.

The program and its paraphrase table come with the package `pycocoevalcap`; nothing of them is copied.
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import IO

import numpy as np

from distilcap.errors import MissingError
from distilcap.metrics.base import FloatArray, Metric, Words
from distilcap.metrics.java import find_java

__all__ = ["MeteorJar", "pool_meteor"]

# The published parameters of English (ranking task): alpha, beta, gamma, delta and the matchers' weights.
ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
WEIGHTS = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase
_FIELDS = 23


def _jar() -> Path:
    found = importlib.util.find_spec("pycocoevalcap")
    folders = list(found.submodule_search_locations or ()) if found else []
    path = Path(folders[0]) / "meteor" / "meteor-1.5.jar" if folders else None
    if path is None or not path.is_file():
        raise MissingError("the package pycocoevalcap, which carries METEOR, is not installed")
    return path


def pool_meteor(totals: FloatArray) -> FloatArray:
    """METEOR (…, 1) of summed statistics (…, 23).

    The statistics: words and function words of candidate and reference; for each of the four matchers,
    matched content and function words of both; chunks; matched words of both.
    F = P R / (alpha P + (1 - alpha) R), penalty = gamma (chunks / matches) ** beta, score = (1 - penalty) F
    (Denkowski & Lavie 2011, section 2), content words weighted delta, function words 1 - delta.
    """
    lengths, stages = totals[..., :4], totals[..., 4:20].reshape(*totals.shape[:-1], 4, 4)

    def ratio(side: int) -> FloatArray:
        words, function = lengths[..., side], lengths[..., 2 + side]
        matched = DELTA * stages[..., side] + (1 - DELTA) * stages[..., 2 + side]
        full = DELTA * (words - function) + (1 - DELTA) * function
        found: FloatArray = np.divide(matched @ WEIGHTS, full, out=np.zeros_like(full), where=full > 0)
        return found

    precision, recall = ratio(0), ratio(1)
    below = ALPHA * precision + (1 - ALPHA) * recall
    f_mean = np.divide(precision * recall, below, out=np.zeros_like(below), where=below > 0)
    chunks, matches = totals[..., 20], (totals[..., 21] + totals[..., 22]) / 2
    # One chunk that covers both sentences wholly is no fragmentation.
    whole = (chunks <= 1) & (totals[..., 21] == lengths[..., 0]) & (totals[..., 22] == lengths[..., 1])
    fragments = np.divide(chunks, matches, out=np.zeros_like(chunks), where=matches > 0)
    penalty = np.where(whole, 0.0, GAMMA * fragments**BETA)
    return np.asarray(((1 - penalty) * f_mean)[..., None], dtype=np.float64)


class MeteorJar(Metric[Sequence[Sequence[Words]]]):
    """METEOR through the official jar; an image's score is that of its best reference."""

    name = "meteor"
    keys = ("meteor",)
    label = "meteor-1.5"

    def settings(self) -> dict[str, str]:
        """The language, and the program's own normalisation."""
        return {"lang": "en", "norm": "1", "by": "jar"}

    def unavailable(self) -> str | None:
        """Why not: no Java, or no program."""
        try:
            find_java()
            _jar()
        except MissingError as error:
            return str(error)
        return None

    def prepare(self, references: Sequence[Sequence[Words]]) -> Sequence[Sequence[Words]]:
        """Keep the words: the program prepares nothing ahead."""
        return references

    def statistics(self, candidates: Sequence[Words], prepared: Sequence[Sequence[Words]]) -> FloatArray:
        """Ask the program for each image's 23 statistics."""
        lines = []
        for words, references in zip(candidates, prepared, strict=True):
            # The program's own separator cannot occur: the tokenizer leaves no pipes in a row.
            texts = [" ".join(one).replace("|||", "") for one in (*references, words)]
            lines.append("SCORE ||| " + " ||| ".join(texts))
        command = [str(find_java().program), "-Xmx2G", "-Duser.language=en", "-Duser.country=US"]
        command += ["-jar", str(_jar()), "-", "-", "-stdio", "-l", "en", "-norm"]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as asked:
            asked.write("".join(line + "\n" for line in lines))
            asked.seek(0)
            answers = self._ask(command, asked)
        rows = [[float(number) for number in line.split()] for line in answers if line.strip()]
        if len(rows) != len(lines) or any(len(row) != _FIELDS for row in rows):
            raise MissingError(f"METEOR's program answered {len(rows)} of {len(lines)} images.")
        return np.array(rows)

    def _ask(self, command: list[str], asked: IO[str]) -> list[str]:
        try:
            done = subprocess.run(
                command,
                stdin=asked,
                capture_output=True,
                text=True,
                encoding="utf-8",
                timeout=3600,
                check=True,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise MissingError(f"METEOR's program failed: {error}") from None
        return done.stdout.splitlines()

    def pool(self, totals: FloatArray, images: int) -> FloatArray:
        """See `pool_meteor`."""
        return pool_meteor(totals)
