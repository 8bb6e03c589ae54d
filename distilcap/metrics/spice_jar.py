"""The official SPICE 1.0 program as a black box: JSON in, JSON out, one Java process for each batch.

Measured on the program itself (Java 17 and 25): it exits with 0 even where it failed, so only its output
counts; its own cache keeps the parse of every caption, references and candidates alike, keyed by the
caption's text, and writes it when a batch is parsed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from distilcap.errors import MissingError
from distilcap.files import read_json
from distilcap.metrics.java import Java, memory_megabytes
from distilcap.progress import SILENT, Progress

__all__ = ["ImageScore", "SpiceJar", "clean"]

_OPENED = ("java.lang", "java.math", "java.util", "java.util.concurrent", "java.net", "java.text")
_BREAKS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class ImageScore:
    """What SPICE says of one image: F-score, and how many tuples its references and its candidate have."""

    f: float
    reference_tuples: int
    candidate_tuples: int


def clean(caption: str) -> str:
    """Put spaces for what may end a line (\\n, \\v, U+0085, U+2028 …) and for lone surrogates."""
    return _BREAKS.sub(" ", caption)


class _CacheBroken(Exception):
    """The program failed where it reads or writes its cache."""


@dataclass(frozen=True)
class SpiceJar:
    """Runs the official program.

    Attributes:
        java: the Java that runs it.
        jars: the class path.
        parses: folder where the program keeps parses of captions; None keeps nothing.
        images_per_run: images of one Java process. Parses are kept after each, so a killed evaluation
            goes on from there.
        threads: threads of the parser; None takes a thread for each processor.
        seconds: time-out of one process; None allows 600, and for each caption 2 or, if it is very long,
            (words / 20)^3: the parser's time grows with the cube. That is 30 times what an idle machine
            takes, for a busy process must not be taken for a hanging process.
    """

    java: Java
    jars: tuple[Path, ...]
    parses: Path | None = None
    images_per_run: int = 1000
    threads: int | None = None
    seconds: float | None = None

    def __call__(
        self, candidates: Sequence[str], references: Sequence[Sequence[str]], progress: Progress = SILENT
    ) -> list[ImageScore]:
        """Score each image's candidate against its references, in their order.

        Raises:
            MissingError: the program failed, ran out of memory or took too long.
        """
        images = [
            {"image_id": index, "test": clean(candidate), "refs": [clean(text) for text in captions]}
            for index, (candidate, captions) in enumerate(zip(candidates, references, strict=True))
        ]
        runs = range(0, len(images), self.images_per_run)
        return [
            score
            for start in progress.track(runs, "SPICE")
            for score in self._score(images[start : start + self.images_per_run], progress)
        ]

    def _score(self, images: list[dict[str, Any]], progress: Progress) -> Iterator[ImageScore]:
        """Score one batch; without the cache where that is broken."""
        if self.parses is not None:
            try:
                return self._run(images, self.parses)
            except _CacheBroken as error:
                progress.note(f"SPICE's cache of parses failed ({error}) and is begun anew.")
        results = self._run(images, None)
        if self.parses is not None:
            shutil.rmtree(self.parses, ignore_errors=True)
        return results

    def _run(self, images: list[dict[str, Any]], parses: Path | None) -> Iterator[ImageScore]:
        # Everything that the program leaves (its native library, crash logs) lies in a folder that goes.
        with tempfile.TemporaryDirectory(prefix="distilcap-spice-") as folder:
            given, wanted, log = Path(folder, "in.json"), Path(folder, "out.json"), Path(folder, "log")
            given.write_text(json.dumps(images), encoding="ascii")
            command = [*self._command(Path(folder)), str(given), "-out", str(wanted), "-silent"]
            if parses is not None:
                parses.mkdir(parents=True, exist_ok=True)
                command += ["-cache", str(parses)]
            if self.threads is not None:
                command += ["-threads", str(self.threads)]
            seconds = self.seconds or _allowance(images)
            # A file, not a pipe: the parser writes a line for each odd character, and would block.
            with log.open("wb") as sink:
                try:
                    code = subprocess.run(
                        command,
                        cwd=folder,
                        stdin=subprocess.DEVNULL,
                        stdout=sink,
                        stderr=sink,
                        timeout=seconds,
                    ).returncode
                except subprocess.TimeoutExpired:
                    raise MissingError(f"SPICE did not finish in {seconds:.0f} s{_longest(images)}") from None
                except OSError as error:
                    raise MissingError(f"Java could not be started: {error}") from None
            try:
                results = read_json(wanted)
                scores = [_image_score(result["scores"]["All"]) for result in results]
                if [result["image_id"] for result in results] != [image["image_id"] for image in images]:
                    raise ValueError("other images")
            except (ValueError, KeyError, TypeError, OverflowError):
                raise self._failure(log.read_text(errors="replace"), code, images, parses) from None
            return iter(scores)

    def _command(self, scratch: Path) -> list[str]:
        """Java with what the program needs beside its input."""
        opened = [f"--add-opens=java.base/{name}=ALL-UNNAMED" for name in _OPENED]
        return [
            str(self.java.program),
            f"-Xmx{memory_megabytes()}m",
            # With a comma for the decimal point its loader of models waits for ever.
            "-Duser.language=en",
            "-Duser.country=US",
            "-Dfile.encoding=UTF-8",
            f"-Djava.io.tmpdir={scratch}",
            *(opened if self.java.version >= 9 else []),
            *(["--enable-native-access=ALL-UNNAMED"] if self.java.version >= 22 else []),
            "-cp",
            os.pathsep.join(map(str, self.jars)),
            "edu.anu.spice.SpiceScorer",
        ]

    def _failure(
        self, log: str, code: int, images: list[dict[str, Any]], parses: Path | None
    ) -> MissingError | _CacheBroken:
        """Say what went wrong, of all that the program wrote."""
        if "OutOfMemoryError" in log:
            return MissingError(f"SPICE's parser needs more than {memory_megabytes()} MB{_longest(images)}")
        said = [line.strip() for line in log.splitlines() if re.search(r"\w(Exception|Error)\b|^Error", line)]
        reason = said[-1][:200] if said else f"exit code {code}"
        # A damaged file kills the process by a signal, in native code.
        if parses is not None and (code < 0 or code >= 128 or re.search("lmdb|LMDB|nustaq", log)):
            return _CacheBroken(reason)
        return MissingError(f"SPICE failed: {reason}")


def _image_score(counts: dict[str, Any]) -> ImageScore:
    """Read the program's counts: true and false positives, false negatives."""
    right, wrong, missed = int(counts["tp"]), int(counts["fp"]), int(counts["fn"])
    return ImageScore(float(counts["f"]), right + missed, right + wrong)


def _captions(images: list[dict[str, Any]]) -> Iterator[str]:
    return chain.from_iterable([image["test"], *image["refs"]] for image in images)


def _allowance(images: list[dict[str, Any]]) -> float:
    return 600 + sum(max(2.0, (len(text.split()) / 20) ** 3) for text in _captions(images))


def _longest(images: list[dict[str, Any]]) -> str:
    """Where captions are far longer than people's, name the longest: it is the likely reason."""
    words = max((len(text.split()) for text in _captions(images)), default=0)
    return f"; the longest caption has {words} words, shorten it" if words > 80 else ""
