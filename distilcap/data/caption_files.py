"""Captions to score, and the references to score them by, from anybody's files.

Nothing is cleaned: scores are exact only if empty captions, duplicates and spaces stay as they are. Image
ids become strings; images keep the order of the file's image list, as in the official toolkit.
"""

from __future__ import annotations

import posixpath
import shlex
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from distilcap.data.captions import Caption, CaptionSet
from distilcap.data.readers import Source, find_entries, form_of, of_plugin, read_dataset
from distilcap.data.readers.columns import Roles, id_text, roles_of, texts_of
from distilcap.data.readers.entries import image_id_of, is_text
from distilcap.data.readers.forms.coco import is_marked
from distilcap.data.readers.forms.records import note_unread, records_of
from distilcap.data.readers.forms.table import cell, column_names, table_rows
from distilcap.data.readers.text import read_start
from distilcap.errors import DataError
from distilcap.files import parse_json, verify_checksum
from distilcap.progress import SILENT, Progress
from distilcap.shown import some

__all__ = ["fit_ids", "read_candidates", "read_references", "remarks_on_scored"]

Entries = Iterable[tuple[Any, int | None]]


def read_references(path: Path, line_breaks: bool = False, progress: Progress = SILENT) -> CaptionSet:
    """Read the references of every image.

    Args:
        path: COCO annotations or results (any number for an image; those of VizWiz that its authors rejected
            or marked as a set phrase are left out, as by its own evaluation), objects or rows with `image_id`
            and captions (JSON, JSON Lines, CSV, TSV), {"id": ["caption", …]}, our captions files, or any form
            of data set that `read_dataset` knows.
        line_breaks: captions of a data set keep theirs; those of the other forms do anyway.
        progress: receives remarks on how the file was read, as `read_dataset` makes them.

    Raises:
        DataError: the file is missing, of none of these forms, empty, or differs from its checksum file; or
            a caption is none, and the message names its entry.
    """
    verify_checksum(path)
    source = Source(path)
    captions = None if of_plugin(source) else _scored(source, lists=True)
    if captions is not None:
        for remark in dict.fromkeys(source.notes):
            progress.note(remark)
        return _filled(path, captions)
    read = read_dataset(path, need_images=False, line_breaks=line_breaks, progress=progress)
    unread = [] if read.captions else list(dict.fromkeys(find_entries(path).unread))
    if unread:
        key = shlex.quote(unread[0]) if len(unread) == 1 else "KEY"
        raise DataError(
            f"{path}: no captions were found in it; not read: {some(unread, 5)}. Next step: "
            f"`distilcap data convert {shlex.quote(str(path))} --caption-column {key} --to "
            f"{shlex.quote(f'{path.stem}-captions.jsonl')}`, and take the file that it writes."
        )
    return _filled(path, read.captions)


def read_candidates(path: Path) -> CaptionSet:
    """Read one caption of each image; of our own files, which may hold more, each image's first counts.

    An empty caption is one, and so is an empty list of them: left out, a captioner that doubts
    would score as if its images were not there.

    Args:
        path: any of the forms that `read_references` takes, with one caption of an image.

    Raises:
        DataError: as `read_references`; or an image has two captions.
    """
    verify_checksum(path)
    source = Source(path)
    of_other = of_plugin(source)
    if not of_other and (_is_own(source) or (not source.layout and form_of(source) is None)):
        return _filled(path, _or_empty(CaptionSet.load(path)))
    captions = None if of_other else _scored(source, lists=False)
    if captions is None:
        captions = read_dataset(path, need_images=False, keep_empty=True).captions
    captions = _or_empty(captions)
    for image_id, of_image in captions.items():
        if len(of_image) != 1:
            raise DataError(
                f"{path}: image {image_id} must have one caption, but has {len(of_image)}; keep the best "
                "of each image (`distilcap caption` writes it alone without `--n-best`)."
            )
    return _filled(path, captions)


def _or_empty(captions: CaptionSet) -> CaptionSet:
    """The same with an empty caption where an image has none."""
    return CaptionSet({image_id: of_image or (Caption(""),) for image_id, of_image in captions.items()})


def fit_ids(candidates: CaptionSet, references: CaptionSet) -> CaptionSet:
    """Call images as the references do, where one has names of files and the other their ids.

    Where captions name paths from another folder (`photos/1`, and `1` in the references), folders at the
    start are left out, if each image is then known and no two are the same. A stem that several references
    share names none of them.

    Raises:
        DataError: a candidate's image has no references.
    """
    stems = Counter(map(image_id_of, references))
    known = {image_id_of(id): id for id in references if stems[image_id_of(id)] == 1}

    def fit(name: str) -> str:
        stem = image_id_of(name)
        return next((id for id in (name, stem) if id in references), known.get(stem, name))

    fitted = {id: fit(id) for id in candidates}
    for folders in range(1, 1 + max((id.count("/") for id in candidates), default=0)):
        if all(id in references for id in fitted.values()):
            break
        shorter = {id: fit(id.split("/", folders)[-1]) for id in candidates}
        if all(id in references for id in shorter.values()) and len(set(shorter.values())) == len(shorter):
            fitted = shorter
    if len(set(fitted.values())) < len(fitted):
        fitted = {id: id for id in candidates}
    if unknown := [id for id in fitted.values() if not references.get(id)]:
        raise DataError(_no_references(unknown, candidates, references))
    return CaptionSet({fitted[image_id]: captions for image_id, captions in candidates.items()})


def remarks_on_scored(
    scored: CaptionSet, references: CaptionSet, captions_name: object, references_name: object
) -> list[str]:
    """What a person should know of captions that are scored: how many images are left out, or have no words.

    Args:
        scored: of `fit_ids`.
        captions_name, references_name: what both are called, such as their files.
    """
    remarks = []
    if lacking := sum(image_id not in scored for image_id in references):
        remarks.append(
            f"{lacking:,} of the {len(references):,} images of {references_name} have no caption and are "
            "left out."
        )
    if empty := sum(not of_image[0].text for of_image in scored.values() if of_image):
        remarks.append(
            f"{empty:,} of the {len(scored):,} captions of {captions_name} are empty, and are scored as they "
            "are."
        )
    return remarks


def _no_references(unknown: Sequence[str], candidates: CaptionSet, references: CaptionSet) -> str:
    more = f", nor have {len(unknown) - 1:,} more" if len(unknown) > 1 else ""
    files = {posixpath.basename(image_id_of(id)) for id in references}
    same = sum(posixpath.basename(image_id_of(id)) in files for id in candidates)
    return (
        f"image {unknown[0]!r} has a candidate, but no references{more}. References are called like "
        f"{next(iter(references), '')!r}; by the file's name alone {same:,} of the {len(candidates):,} "
        "candidates are among them. Keep the candidates that have references."
    )


def _filled(path: Path, captions: CaptionSet) -> CaptionSet:
    if not captions:
        raise DataError(f"{path}: there are no captions in it.")
    return captions


def _scored(source: Source, lists: bool) -> CaptionSet | None:
    """The captions of the forms in which captions are scored; None where it is a data set of another form.

    Args:
        lists: objects may hold lists of captions, which is a data set's form.
    """
    path, content = source.path, source.json
    if not path.is_file():
        return None
    if _is_own(source):
        return CaptionSet.load(path)
    if "annotations" in content.lists:
        images = (image.get("id") for image, _ in content.lists.get("images", []) if isinstance(image, dict))
        kept = [entry for entry in content.lists["annotations"] if not is_marked(entry[0])]
        return _grouped(source, kept, filter(None, map(id_text, images)))
    described = any(isinstance(value, dict) for value in content.others.values())
    if source.layout == "json" and not described and not content.lists.keys() & {"", "images", "data"}:
        texts = {key: [text for text, _ in texts] for key, texts in content.lists.items()}
        return _mapped(path, texts | content.others)
    entries, table = list(_entries(source)), source.layout == "table"
    first = entries[0][0] if entries else {}
    if not isinstance(first, dict) or (
        "image_id" in first and not (lists and any(isinstance(value, list) for value in first.values()))
    ):
        return _grouped(source, entries, lists=lists, table=table)
    if source.layout == "json" and not content.lists.get("", [0]):
        return CaptionSet({})
    return None


def _entries(source: Source) -> Iterator[tuple[Any, int | None]]:
    """The objects of a list or of JSON Lines, or the rows of a table with a header."""
    if source.layout == "lines" or "" in source.json.lists:
        yield from records_of(source)
    elif source.layout == "table":
        heads: list[str] | None = None
        for row, line, sign in table_rows(source):
            if heads is None:
                heads = column_names(row)
                if "image_id" not in heads:
                    return
            elif len(row) == len(heads):
                yield dict(zip(heads, (cell(field, sign) for field in row), strict=True)), line
            else:
                raise DataError(f"{source.path}:{line}: expected {len(heads)} fields, but it has {len(row)}.")


def _grouped(
    source: Source, records: Entries, order: Iterable[str] = (), lists: bool = False, table: bool = False
) -> CaptionSet:
    """Group records by image: first the images of `order`, then others as they come.

    Args:
        lists: captions may be lists.
        table: records are rows, whose cells may hold lists, and words for null: where captions may be lists
            that is none, else an empty one.
    """
    path, texts = source.path, {image_id: list[str]() for image_id in order}
    kinds: dict[tuple[str, ...], Roles] = {}
    for number, (record, line) in enumerate(records, 1):
        where = f"{path}:{line}: entry {number}" if line else f"{path}: entry {number}"
        image_id = id_text(record.get("image_id")) if isinstance(record, dict) else None
        if image_id is None:
            raise DataError(f'{where}: expected COCO results, [{{"image_id": …, "caption": …}}, …].')
        names = tuple(record)
        kinds[names] = roles = roles_of(names)
        keys = [key for key in roles.captions if key in record]
        found: list[Any] = []
        for value in map(record.get, keys):
            found += texts_of(value) if table else value if lists and isinstance(value, list) else [value]
        if len(keys) > 1:  # the last columns are empty where an image has fewer
            found = [text for text in found if text not in (None, "")] or found[:1]
        if table:
            found = [text or "" for text in found if text is not None or not lists]
        for caption in found if keys else [None]:
            if not is_text(caption):
                said = _kind_of(caption) if keys else "missing"
                raise DataError(
                    f"{where} (image {image_id}): expected COCO results; `caption` must be text, but is "
                    f"{said}."
                )
            texts.setdefault(image_id, []).append(caption)
    note_unread(source, kinds)
    return CaptionSet.of_texts({image_id: captions for image_id, captions in texts.items() if captions})


def _kind_of(value: Any) -> str:
    kinds = {dict: "an object", list: "a list", str: "no UTF-8", type(None): "null"}
    return kinds.get(type(value), "a number")


def _mapped(path: Path, content: dict[str, Any]) -> CaptionSet:
    """Read {"id": "caption"} or {"id": ["caption", …]}."""
    texts = {key: [value] if isinstance(value, str) else value for key, value in content.items()}
    for image_id, captions in texts.items():
        if not isinstance(captions, list) or not all(map(is_text, captions)):
            raise DataError(f"{path}: expected a caption, or a list of captions, for image {image_id!r}.")
    return CaptionSet.of_texts(texts)


def _is_own(source: Source) -> bool:
    """Return whether a file is one of ours: JSON lines whose captions are objects, not strings."""
    if source.layout not in ("lines", "") or not source.path.is_file():
        return False
    empty = False
    for line in read_start(source.path).split("\n"):
        try:
            first = parse_json(line, source.path)
        except DataError:
            return empty  # an empty line, or one that is cut
        captions = first.get("captions") if isinstance(first, dict) else None
        if not isinstance(captions, list):
            return False
        if captions:
            return all(isinstance(caption, dict) for caption in captions)
        empty = True  # the next line tells
    return empty
