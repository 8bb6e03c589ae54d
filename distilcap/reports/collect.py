"""All that a report shows, gathered from the artifacts of a store."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import ImageRecord
from distilcap.files import read_json
from distilcap.progress import Progress
from distilcap.reports.pictures import lies_below
from distilcap.reports.records import Epoch, Results, Row, Sample
from distilcap.reports.results import System, trained_members
from distilcap.reports.typed_json import from_json
from distilcap.stages.data import ImportData
from distilcap.store.store import Store

__all__ = ["collect_results", "samples_again"]

SAMPLES = 12


def collect_results(
    title: str,
    members: Sequence[System],
    rows: tuple[Row, ...],
    verdict: str,
    store: Store,
    progress: Progress,
) -> Results:
    """Gather rows, verdict, training logs, and captions of some test images with their paths."""
    from distilcap.training.loop import LOG

    curves = {}
    for member in trained_members(members):
        log = store.open(member.trains[0], LOG) / LOG
        epochs = from_json(tuple[Epoch, ...], read_json(log), log)
        if epochs:  # else nothing was trained
            curves[member.name] = epochs
    source = members[0].scored("beam")[0].source
    dataset = source.load(store)
    captions = _captions(members, store)
    described = set(dataset.captions).intersection(*captions.values())
    test = [image for image in dataset.split("test") if image.id in described]
    shown = test[:: max(1, len(test) // SAMPLES)][:SAMPLES]  # neighbours are often of the same scene
    asked = dataset.references("test")
    samples = tuple(
        _sample(image.id, _picture_path(image, source, progress), dataset.captions, captions)
        for image in shown
    )
    scored = sum(image_id in described for image_id in asked)
    return Results(title, rows, verdict, curves, samples, scored_images=scored, test_images=len(asked))


def samples_again(samples: Sequence[Sample], members: Sequence[System], store: Store) -> tuple[Sample, ...]:
    """The same images with what people and systems say of them, without pictures."""
    references = members[0].scored("beam")[0].source.load(store).captions
    captions = _captions(members, store)
    return tuple(_sample(sample.image, "", references, captions) for sample in samples)


def _captions(members: Sequence[System], store: Store) -> dict[str, CaptionSet]:
    return {member.name: member.scored("beam")[0].load(store) for member in members}


def _sample(image: str, path: str, references: CaptionSet, captions: dict[str, CaptionSet]) -> Sample:
    said = {name: system[image][0].text for name, system in captions.items() if image in system}
    return Sample(image, path, tuple(references.texts(image)) if image in references else (), said)


def _picture_path(image: ImageRecord, source: ImportData, progress: Progress) -> str:
    """Where a picture lies; "" if not below the data's folder, since a report may be passed on."""
    folder = Path(source.images or source.path)
    folder = folder if folder.is_dir() else folder.parent
    folder = folder.parent if folder.name == "annotations" else folder
    if lies_below(image.path, folder):
        return str(image.path)
    progress.note(
        f"The report leaves a picture out: {image.path} is not below {folder}; `--images` names its folder."
    )
    return ""
