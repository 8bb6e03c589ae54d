"""METEOR 1.5 by its official program (Denkowski & Lavie 2014), run beside Python as a black box.

The metric `meteor` is `distilcap.metrics.meteor`; `meteor_jar` checks it, and needs Java.

The program and its paraphrase table come with the package `pycocoevalcap`; nothing of them is copied.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections.abc import Sequence
from typing import IO

import numpy as np

from distilcap.errors import MissingError
from distilcap.metrics.base import FloatArray, Metric, Words
from distilcap.metrics.java import find_java
from distilcap.metrics.meteor.resources import find_data
from distilcap.metrics.meteor.score import STATISTICS, forgive_whole, pool_meteor

__all__ = ["MeteorJar"]


class MeteorJar(Metric[Sequence[Sequence[Words]]]):
    """METEOR through the official jar; an image's score is that of its best reference."""

    name = "meteor_jar"
    keys = ("meteor_jar",)
    label = "meteor-1.5"
    english_only = True

    def settings(self) -> dict[str, str]:
        """The language, and the program's own normalisation."""
        return {"lang": "en", "norm": "1", "by": "jar"}

    def unavailable(self) -> str | None:
        """Why not: no Java, or no program."""
        try:
            find_java()
            find_data()
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
            texts = [" ".join(caption).replace("|||", "") for caption in (*references, words)]
            lines.append("SCORE ||| " + " ||| ".join(texts))
        command = [str(find_java().program), "-Xmx2G", "-Duser.language=en", "-Duser.country=US"]
        command += ["-jar", str(find_data()[0]), "-", "-", "-stdio", "-l", "en", "-norm"]
        with tempfile.TemporaryFile("w+", encoding="utf-8") as asked:
            asked.write("".join(line + "\n" for line in lines))
            asked.seek(0)
            answers = self._ask(command, asked)
        rows = [[float(number) for number in line.split()] for line in answers if line.strip()]
        if len(rows) != len(lines) or any(len(row) != STATISTICS for row in rows):
            raise MissingError(f"METEOR's program answered {len(rows)} of {len(lines)} images.")
        return forgive_whole(np.array(rows).reshape(-1, STATISTICS))

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
