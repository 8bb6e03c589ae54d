"""TextCaps: an object for each caption, under "data"."""

from __future__ import annotations

from distilcap.data.readers.columns import texts_of
from distilcap.data.readers.entries import ReadResult, is_text, known_split, split_in
from distilcap.data.readers.registry import DataForm, register_form
from distilcap.data.readers.source import Source

__all__ = ["FORM"]


def _matches(source: Source) -> bool:
    return any(
        isinstance(value, dict) and "image_id" in value and "image_path" in value
        for value, _ in source.json.lists.get("data", [])[:1]
    )


def _read(source: Source, result: ReadResult) -> None:
    """Images lie in train_images/ and test_images/ as ID.jpg; the test split has no captions."""
    for value, line in source.json.lists["data"]:
        entry = value if isinstance(value, dict) else {}
        image_id, path, said = entry.get("image_id"), entry.get("image_path"), entry.get("set_name")
        if not is_text(image_id) or not image_id or not is_text(path):
            result.malformed('{"image_id": …, "image_path": …, "caption_str": …}', line)
            continue
        split = known_split(said) if is_text(said) else None
        image = result.image(
            image_id,
            f"{image_id}.jpg",
            split or source.split or split_in(source.path.name),
            line,
            repeats=True,
            numbered=True,
        )
        if image is not None and "caption_str" in entry:
            result.captions(image, texts_of(entry["caption_str"]), line)


FORM = DataForm(
    "TextCaps",
    '{"data": [{"image_id": "1", "image_path": "train/1.jpg", "caption_str": "a sign"}]}',
    _matches,
    _read,
)
register_form(FORM)
