"""LLaVA's conversations: the first answer describes the image."""

from __future__ import annotations

from typing import Any

from distilcap.data.readers.columns import id_text
from distilcap.data.readers.entries import ReadResult, image_id_of
from distilcap.data.readers.forms.records import records_of
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source
from distilcap.data.readers.text import read_start

__all__ = ["FORM"]


def _matches(source: Source) -> bool:
    if source.layout == "lines":
        return '"conversations"' in read_start(source.path).partition("\n")[0]
    first = source.json.lists.get("", [])[:1]
    return any(isinstance(value, dict) and "conversations" in value for value, _ in first)


def _read(source: Source, result: ReadResult) -> None:
    without = 0
    for value, line in records_of(source):
        entry = value if isinstance(value, dict) else {}
        name, answer = id_text(entry.get("image")), _answer(entry.get("conversations"))
        if name is None and "image" not in entry and answer is not None:
            without += 1  # talk about no image is part of these data sets
        elif name is None or answer is None:
            result.malformed('{"image": …, "conversations": [{"from": "gpt", "value": …}]}', line)
        else:
            image = result.image(image_id_of(name), name, source.split, line, repeats=True)
            if image is not None:
                result.captions(image, [answer.replace("<image>", "")], line)
    if without:
        source.notes.append(f"{source.path}: {without:,} conversations without an image are left out.")


def _answer(conversation: Any) -> str | None:
    """What the model says first."""
    for turn in conversation if isinstance(conversation, list) else ():
        if isinstance(turn, dict) and turn.get("from") in ("gpt", "assistant"):
            return turn["value"] if isinstance(turn.get("value"), str) else None
    return None


FORM = DataForm(
    "LLaVA's conversations",
    '[{"id": "1", "image": "1.jpg", "conversations": [{"from": "gpt", "value": "a dog"}]}]',
    _matches,
    _read,
)
register_form(FORM)
