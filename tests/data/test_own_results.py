"""What distilcap wrote into a folder of photographs is not learnt from."""

from __future__ import annotations

from pathlib import Path

from distilcap.data.readers import find_entries


def test_results_and_stores_below_a_folder_of_images_are_not_its_images(tmp_path: Path) -> None:
    for name in (
        "a.jpg",
        "a.txt",
        "distilled/results.json",
        "distilled/report.html",
        "distilled/images/sample-01.jpg",
        "runs/train-0f/stage.json",
        "runs/train-0f/checksums.json",
        "runs/train-0f/words.txt",
        "mine/stage.json",
        "mine/b.jpg",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("{}" if name.endswith("json") else "a dog")
    found = find_entries(tmp_path)
    assert list(found.entries) == ["a", "mine/b"]
    assert not found.problems
    (note,) = (note for note in found.notes if "distilcap wrote it" in note)
    assert "distilled" in note
    assert "runs/train-0f" in note
    images = find_entries(tmp_path / "distilled")  # named itself, it is read
    assert list(images.entries) == ["images/sample-01"]
