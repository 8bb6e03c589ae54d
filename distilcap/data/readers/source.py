"""`Source`: a file or folder that a person named, looked into as far as telling its form takes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from distilcap.data.readers.columns import BY_NAME, Columns
from distilcap.data.readers.located import Located, read_located_json
from distilcap.data.readers.text import read_start
from distilcap.errors import DataError
from distilcap.files import parse_json

__all__ = ["TEXT_ENDINGS", "Source"]

TEXT_ENDINGS = frozenset({".json", ".jsonl", ".ndjson", ".csv", ".tsv", ".txt", ".token", ".tab"})


@dataclass(eq=False)
class Source:
    """What a reader is asked about, and then given.

    Attributes:
        path: a file or a folder.
        split: of images that name none.
        columns: those that a person named.
        notes: remarks for people, shared with the result.
    """

    path: Path
    split: str | None = None
    columns: Columns = BY_NAME
    notes: list[str] = field(default_factory=list)
    _inside: dict[Path, Source] = field(default_factory=dict)

    def within(self, path: Path, split: str | None = None) -> Source:
        """A file or folder in this one, with the same options; however often asked for, looked into once."""
        if path not in self._inside:
            self._inside[path] = Source(path, None, self.columns, self.notes)
        self._inside[path].split = split or self.split
        return self._inside[path]

    @cached_property
    def layout(self) -> str:
        """How a text file is laid out: "json", "lines" (JSON Lines) or "table"; "" for all else."""
        ending = self.path.suffix.lower()
        if ending not in TEXT_ENDINGS or not self.path.is_file():  # a pipe would be waited for
            return ""
        usual = {".json": "json", ".jsonl": "lines", ".ndjson": "lines"}.get(ending, "table")
        start = read_start(self.path).lstrip()
        first, _, rest = start.partition("\n")
        if start.startswith("{"):
            objects = rest.lstrip().startswith("{") and _is_json(first)
            return "lines" if objects or usual == "lines" else "json"
        return "json" if re.match(r"\[\s*\{", start) else usual

    @cached_property
    def json(self) -> Located:
        """The content of a JSON file, one level deep; empty for all else.

        Raises:
            DataError: it is laid out as JSON, but is not JSON.
        """
        if self.layout != "json":
            return Located({}, {})
        return read_located_json(self.path, without_tokens, self.notes.append)

    @cached_property
    def _entries(self) -> list[os.DirEntry[str]]:
        """What a folder holds, sorted, without what is hidden: a scan, since `Path` asks for every file."""
        if not self.path.is_dir():
            return []
        with os.scandir(self.path) as entries:
            return sorted((e for e in entries if not e.name.startswith(".")), key=lambda entry: entry.name)

    @cached_property
    def files(self) -> list[Path]:
        """The files of a folder, sorted, without hidden ones; empty for a file."""
        return [self.path / entry.name for entry in self._entries if _holds(entry.is_file)]

    @cached_property
    def folders(self) -> list[Path]:
        """The folders of a folder, sorted, without hidden ones; empty for a file."""
        return [self.path / entry.name for entry in self._entries if _holds(entry.is_dir)]


def _holds(check: Callable[[], bool]) -> bool:
    """What a folder's entry says of itself; nothing of a link that leads round in a circle."""
    try:
        return check()
    except OSError:
        return False


def without_tokens(value: Any) -> Any:
    """Karpathy's file has every caption twice; as tokens it takes a gigabyte that nobody looks at."""
    sentences = value.get("sentences") if isinstance(value, dict) else None
    for sentence in sentences if isinstance(sentences, list) else ():
        if isinstance(sentence, dict) and "raw" in sentence:
            sentence.pop("tokens", None)
    return value


def _is_json(line: str) -> bool:
    try:
        parse_json(line, "")
    except DataError:
        return False
    return True
