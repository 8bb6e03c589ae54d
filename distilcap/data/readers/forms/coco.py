"""COCO's captions_*.json, and what has its form: VizWiz, nocaps, lists of images without captions."""

from __future__ import annotations

from typing import Any

from distilcap.data.readers.columns import id_text, texts_of
from distilcap.data.readers.entries import ReadResult, is_text, split_in
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source

__all__ = ["FORM", "is_marked"]


def _matches(source: Source) -> bool:
    lists = source.json.lists
    images = lists.get("images", [])
    return "annotations" in lists or any(
        isinstance(value, dict) and "file_name" in value and "sentences" not in value for value, _ in images
    )


def _read(source: Source, result: ReadResult) -> None:
    """Captions of VizWiz that its authors marked as rejected or as a set phrase are left out."""
    split = source.split or split_in(source.path.name)
    for value, line in source.json.lists.get("images", []):
        entry = value if isinstance(value, dict) else {}
        name, number = entry.get("file_name"), id_text(entry.get("id"))
        if not is_text(name) or not name or number is None:
            result.malformed('{"id": …, "file_name": …}', line)
            continue
        own = entry.get("split")
        image = result.image(number, name, split if own is None else own, line, numbered=True)
        texts = entry.get("captions", entry.get("caption", []))
        if image is not None and texts:  # of people's own making; COCO has them under "annotations"
            result.captions(image, texts_of(texts), line)
    marked = 0
    for value, line in source.json.lists.get("annotations", []):
        entry = value if isinstance(value, dict) else {}
        number, text = id_text(entry.get("image_id")), entry.get("caption", 0)
        if number is None or not (text is None or is_text(text)):
            result.malformed('{"image_id": …, "caption": …}', line)
        elif number not in result.entries:
            result.problem(
                "unknown image", f"there is a caption for image '{number}', which is not listed.", line
            )
        elif is_marked(entry):
            marked += 1
        else:
            result.captions(result.entries[number], [text], line)
    if marked:
        plural = "s" * (marked > 1)
        result.notes.append(
            f"{source.path}: {marked:,} caption{plural} marked as rejected or precanned left out."
        )


def is_marked(entry: Any) -> bool:
    """Whether VizWiz says that a caption is none of its image: rejected, or a set phrase."""
    return isinstance(entry, dict) and (entry.get("is_rejected") is True or entry.get("is_precanned") is True)


FORM = DataForm(
    "COCO captions (VizWiz, nocaps)",
    '{"images": [{"id": 1, "file_name": "1.jpg"}], "annotations": [{"image_id": 1, "caption": "a dog"}]}',
    _matches,
    _read,
)
register_form(FORM)
