"""SPICE (Anderson et al. 2016): the F-score of a caption's scene graph against its references'.

Always the official program, SPICE 1.0 with Stanford CoreNLP 3.6.0; where it cannot run there is no score.
As in the official toolkit, captions come tokenized: words joined by spaces.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from distilcap.errors import ConfigError, MissingError
from distilcap.metrics.base import FloatArray, MeanMetric, Words
from distilcap.metrics.ngrams import References
from distilcap.metrics.spice_install import CORENLP_VERSION, locate
from distilcap.progress import SILENT, Progress

__all__ = ["Spice"]


class Spice(MeanMetric[list[list[str]]]):
    """SPICE; statistics (N, 1): each image's F-score.

    Args:
        home: where `distilcap metrics install-spice` put things; None takes the usual folder.
        progress: hears of each batch; parsing takes about 0.06 CPU seconds a caption.
    """

    name: ClassVar = "spice"
    keys: ClassVar = ("spice",)
    seconds: ClassVar = 6e-2
    label: ClassVar = "spice"
    english_only: ClassVar = True

    def __init__(self, home: Path | None = None, progress: Progress = SILENT) -> None:
        self.home = home
        self.progress = progress

    def settings(self) -> dict[str, str]:
        """The program and its parser."""
        return {"jar": "1.0", "corenlp": CORENLP_VERSION}

    def unavailable(self) -> str | None:
        """Why SPICE cannot run here, in a few words; None if it can."""
        try:
            locate(self.home)
        except (ConfigError, MissingError) as error:
            return str(error)
        return None

    def prepare(self, references: References) -> list[list[str]]:
        """Join words to captions; their parses are kept on disk by the program."""
        return [[" ".join(words) for words in captions] for captions in references]

    def statistics(self, candidates: Sequence[Words], prepared: list[list[str]]) -> FloatArray:
        """Let the program score each image.

        Raises:
            MissingError: it cannot run, failed or took too long.
        """
        scores = locate(self.home)([" ".join(words) for words in candidates], prepared, self.progress)
        return np.array([score.f for score in scores], dtype=np.float64).reshape(-1, 1)
