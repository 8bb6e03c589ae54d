"""A data set written in every form and read again is the same data set."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from distilcap.cli.main import main
from distilcap.data.captions import CaptionSet
from distilcap.data.convert import FORMS, convert
from distilcap.data.dataset import SPLITS, Dataset, ImageRecord
from distilcap.data.readers import read_dataset
from distilcap.errors import ConfigError, DataError
from distilcap.stages.data import CleanReferences, ImportData

PIXEL = b"P5 1 1 255\n%c"  # an image of one grey pixel
ENDINGS = {"karpathy": ".json", "coco": ".json", "jsonl": ".jsonl", "csv": ".csv", "imagefolder": ""}
# As readers give them: with single blanks, and a letter in each.
CAPTIONS = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(
    lambda text: " ".join(f"a{text}".split())
) | st.sampled_from(["nan", "None", "['a', 'b']", '["a"]', "=a,b", 'a "b"', "[a", "NULL", "a; b", "a|b"])
NAMES = st.text("ab1 .é_-", min_size=1, max_size=6).map(lambda stem: f"x{stem.strip()}")
ENTRIES = st.dictionaries(
    st.integers(0, 10**12).map(str) | NAMES,
    st.tuples(
        NAMES,
        st.sampled_from([".jpg", ".PNG", ".heic"]),
        st.sampled_from(SPLITS),
        st.lists(CAPTIONS, max_size=3),
    ),
    min_size=1,
    max_size=5,
)


@settings(
    derandomize=True,
    max_examples=10,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(ENTRIES)
def test_it_comes_back_from_every_form(
    tmp_path_factory: pytest.TempPathFactory, entries: dict[str, tuple[str, str, str, list[str]]]
) -> None:
    folder = tmp_path_factory.mktemp("data")
    records, texts = [], {}
    for number, (image_id, (stem, ending, split, captions)) in enumerate(entries.items()):
        path = folder / "in" / str(number) / f"{stem}{ending}"
        path.parent.mkdir(parents=True)
        path.write_bytes(PIXEL % number)
        records.append(ImageRecord(image_id, path, split))
        texts |= {image_id: captions} if captions else {}
    original = Dataset("x", tuple(records), CaptionSet.of_texts(texts))
    for form, ending in ENDINGS.items():
        for to in (folder / f"{form}{ending}", folder / "in" / f"{form}{ending}"):
            assert convert(original, to, form).form == form
            again = read_dataset(to)
            assert again.captions == original.captions, form
            key = {image.id: (image.split, image.path.read_bytes()) for image in original.images}
            assert {image.id: (image.split, image.path.read_bytes()) for image in again.images} == key, form
            if form != "imagefolder":
                assert again.fingerprint() == original.fingerprint(), form
                assert {i.id: i.path.resolve() for i in again.images} == {i.id: i.path for i in records}


def a_set(folder: Path) -> Dataset:
    records = []
    for number, split in enumerate(SPLITS):
        path = folder / "images" / f"{number}.jpg"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(PIXEL % number)
        records.append(ImageRecord(str(number), path, split))
    return Dataset("x", tuple(records), CaptionSet.of_texts({"0": ["A dog.", "b"], "2": ["c"]}))


def test_others_find_in_them_what_they_expect(tmp_path: Path) -> None:
    data = a_set(tmp_path)
    convert(data, tmp_path / "k.json")
    (first, *_) = json.loads((tmp_path / "k.json").read_text())["images"]
    assert first["filename"] == "images/0.jpg"
    assert first["cocoid"] == 0
    assert first["sentences"][0] == {"tokens": ["a", "dog"], "raw": "A dog.", "imgid": 0, "sentid": 0}
    convert(data, tmp_path / "c.json", "coco")
    coco = json.loads((tmp_path / "c.json").read_text())
    assert coco["annotations"][2] == {"id": 2, "image_id": 2, "caption": "c"}
    convert(data, tmp_path / "t.csv")
    with (tmp_path / "t.csv").open(newline="") as file:
        assert list(csv.reader(file))[1] == ["0", "images/0.jpg", "A dog.", "train"]
    convert(data, tmp_path / "folder")
    written = (path.relative_to(tmp_path / "folder").as_posix() for path in tmp_path.glob("folder/*/*"))
    assert sorted(written) == [
        f"{split}/{name}" for split, number in (("test", 2), ("train", 0), ("validation", 1))
        for name in (f"{number}.jpg", "metadata.jsonl")
    ]  # fmt: skip


def test_empty_files_and_devices_are_written(tmp_path: Path) -> None:
    """Those of `mktemp`, and `/dev/stdout`."""
    (tmp_path / "empty.jsonl").touch()
    assert convert(a_set(tmp_path), tmp_path / "empty.jsonl").images == 3
    assert (tmp_path / "empty.jsonl").stat().st_size
    convert(a_set(tmp_path), Path("/dev/null"), "jsonl")


def test_what_cannot_be_written_leaves_nothing(tmp_path: Path) -> None:
    data = a_set(tmp_path)
    with pytest.raises(ConfigError, match="`form` must be one of karpathy, coco, jsonl, csv, imagefolder"):
        convert(data, tmp_path / "x", "xml")
    (tmp_path / "captions.jsonl").write_text("somebody's")
    before = set(tmp_path.rglob("*"))
    for name, form in (("images", None), ("captions.jsonl", None), ("captions.jsonl", "coco")):
        with pytest.raises(DataError, match=f"{name}: exists already; give another name"):
            convert(data, tmp_path / name, form)
    assert (tmp_path / "captions.jsonl").read_text() == "somebody's"
    spaced = Dataset("x", (ImageRecord(" 1", tmp_path / " 1.jpg", "val"),), CaptionSet({}))
    with pytest.raises(DataError, match=r"a table loses the space at an end of ' 1'; write \.jsonl instead"):
        convert(spaced, tmp_path / "x.csv")
    assert set(tmp_path.rglob("*")) == before
    assert set(FORMS) == set(ENDINGS)


def test_copies_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    records = []
    for number, name in enumerate(("a/2-x.jpg", "a/x.jpg", "b/x.jpg", "c/X.jpg", "c/x.jpg")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(PIXEL % number)
        records.append(ImageRecord(name, tmp_path / name, "train"))
    convert(Dataset("x", tuple(records), CaptionSet({})), tmp_path / "to")
    again = read_dataset(tmp_path / "to").images
    assert [(image.id, image.path.read_bytes()) for image in again] == [
        (image.id, image.path.read_bytes()) for image in records
    ]
    assert len({image.path.name.casefold() for image in again}) == len(records)


def test_only_images_are_copied(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "secret").write_text("of this machine")
    folder = tmp_path / "theirs"
    folder.mkdir()
    (folder / "1.jpg").write_bytes(PIXEL % 1)
    (folder / "2.jpg").symlink_to(tmp_path / "secret")
    names = ["1.jpg", "2.jpg", "../secret", str(tmp_path / "secret"), "nowhere.jpg"]
    lines = [json.dumps({"image": name, "caption": "a dog"}) + "\n" for name in names]
    (folder / "captions.jsonl").write_text("".join(lines))
    main(["data", "convert", str(folder / "captions.jsonl"), "--to", str(tmp_path / "to")])
    out, err = capsys.readouterr()
    assert "to: 1 images with 1 captions (imagefolder)." in out
    assert "1 images whose file is missing are left out" in err
    assert "3 files that are no images are left out: " in err
    assert sorted(path.name for path in (tmp_path / "to").rglob("*.*")) == ["1.jpg", "metadata.jsonl"]
    (folder / "1.jpg").unlink()
    with pytest.raises(SystemExit, match="2"):
        main(["data", "convert", str(folder), "--to", str(tmp_path / "none")])
    assert "none: no image to copy; 2 images whose file is missing" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_the_ending_says_the_form_or_the_flag_does(tmp_path: Path) -> None:
    data = a_set(tmp_path)
    assert convert(data, tmp_path / "OUT.JSON").form == "karpathy"
    with pytest.raises(ConfigError, match=r"out\.tsv: the ending \.tsv says no form; name it by `--form`"):
        convert(data, tmp_path / "out.tsv")
    assert convert(data, tmp_path / "photos-1.5", "imagefolder").images == 3


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    convert(a_set(tmp_path), tmp_path / "k.json")
    (tmp_path / "images" / "1.jpg").unlink()
    main(["data", "convert", str(tmp_path / "k.json"), "--to", str(tmp_path / "out.csv")])
    assert "out.csv: 3 images with 3 captions (csv)." in capsys.readouterr().out
    main(["data", "convert", str(tmp_path / "out.csv"), "--to", str(tmp_path / "folder")])
    assert "1 images whose file is missing are left out" in capsys.readouterr().err
    assert len(read_dataset(tmp_path / "folder").images) == 2


@pytest.mark.parametrize("form", ENDINGS)
def test_line_breaks_reach_a_later_cleaning(
    tmp_path: Path, form: str, capsys: pytest.CaptureFixture[str]
) -> None:
    texts = ("# Sunny Days\n\nA dog runs.\n\nIt is brown.", "1. A cat\r\n2. A hen", "a boy")
    photos, file = tmp_path / "photos", tmp_path / "given.jsonl"
    photos.mkdir()
    for number, text in enumerate(texts):
        (photos / f"{number}.jpg").write_bytes(PIXEL % number)
        (photos / f"{number}.txt").write_bytes(text.encode())
    records = [{"image": f"photos/{n}.jpg", "caption": text} for n, text in enumerate(texts)]
    file.write_text("".join(json.dumps(record) + "\n" for record in records))
    for source, joined in ((file, False), (photos, True)):
        to = tmp_path / source.name[0] / f"to{ENDINGS[form]}"
        main(["data", "convert", str(source), "--to", str(to), "--form", form])
        said = "text files of 2 images are one caption each"
        assert (said in " ".join(capsys.readouterr().err.split())) == joined
        cleaned = CleanReferences.of_data(ImportData.of(to)).read().captions
        assert [cleaned.texts(id) for id in cleaned] == [["A dog runs."], ["A cat"], ["a boy"]]
        plain = read_dataset(to).captions
        assert [plain.texts(id) for id in plain] == [[" ".join(text.split())] for text in texts]
