"""Reports of hostile results: every text stays a text, and only pictures below the folder are shown."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import os
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from distilcap.cli.main import cli
from distilcap.errors import ConfigError
from distilcap.progress import Silent
from distilcap.reports import report
from distilcap.reports.records import Results, read_results
from distilcap.reports.report import check_report_folder, write_page, write_report
from distilcap.reports.typed_json import from_json

DOCS = Path(__file__).parents[2] / "docs/results"
HOSTILE = "</title></style>\"'><script>alert(1)</script><img src=x onerror=alert(2)>{{ 7 * 7 }}{% x %}"


@pytest.fixture(autouse=True)
def _no_plots(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report, "draw_plots", lambda results: [])


class Page(HTMLParser):
    """Tags, attributes and text of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.feed(path.read_text())

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.attributes += [(name, value or "") for name, value in attributes]

    def handle_data(self, data: str) -> None:
        if self.tags[-1:] != ["style"]:
            self.texts.append(data)

    @property
    def text(self) -> str:
        return "".join(self.texts)

    def lines(self) -> list[str]:
        """Texts between tags, without space around them."""
        return [" ".join(text.split()) for text in self.texts if text.strip()]

    def pictures(self) -> list[bytes]:
        """What is embedded."""
        sources = [value for name, value in self.attributes if name == "src"]
        assert all(source.startswith("data:image/jpeg;base64,") for source in sources)
        return [base64.b64decode(source.partition(",")[2]) for source in sources]


def with_texts(content: Any, text: str) -> Any:
    """The same with another text in every place; keys stay, but for those that are names."""
    if isinstance(content, dict):
        names = {key: key + text if " " in key or "-" in key else key for key in content}
        return {names[key]: with_texts(value, text) for key, value in content.items()}
    if isinstance(content, list):
        return [with_texts(value, text) for value in content]
    return text if isinstance(content, str) else content


@pytest.mark.parametrize("name", ["flickr8k-quick", "flickr8k-line"])
def test_no_text_becomes_a_tag(name: str, tmp_path: Path) -> None:
    content = json.loads((DOCS / name / "results.json").read_text())
    hostile = from_json(Results, with_texts(content, HOSTILE), "hostile")
    tables = bool(content.get("tables"))
    write_report(hostile, tmp_path / "hostile", Silent(), photos=False)
    write_report(from_json(Results, content, "usual"), tmp_path / "usual", Silent(), photos=False)
    page, usual = (Page(tmp_path / which / "report.html") for which in ("hostile", "usual"))
    assert set(page.tags) <= set(usual.tags)
    assert {name for name, _ in page.attributes} == {name for name, _ in usual.attributes}
    assert page.text.count("alert(1)") == page.text.count("<script>alert(1)</script>") > 15
    assert "{{ 7 * 7 }}" in page.text  # a template in a text is not filled in
    if tables:
        markdown = (tmp_path / "hostile/report.md").read_text()
        assert "<script" not in markdown.replace(f"`{HOSTILE}`", "")
        tex = (tmp_path / "hostile/report.tex").read_text()
        assert r"\textless{}script\textgreater{}" in tex
        assert "<script" not in tex


@pytest.mark.parametrize("name", ["flickr8k-quick", "flickr8k-extra", "encoders"])
def test_recorded_reports_say_the_same_as_their_results(name: str, tmp_path: Path) -> None:
    write_report(read_results(DOCS / name / "results.json"), tmp_path, Silent())
    page, recorded = Page(tmp_path / "report.html"), Page(DOCS / name / "report.html")
    headings = ("CIDEr against the ", "What beam search adds", "Training")  # of plots: not drawn here
    explanations = ("A conclusion is ", "Scores on the ", r"\item[] Scores on the ")  # reworded since

    def compared(lines: list[str]) -> list[str]:
        return [line for line in lines if not line.startswith((*headings, *explanations))]

    assert compared(page.lines()) == compared(recorded.lines())
    for ending in ("csv", "tex") if name != "encoders" else ():
        again, kept = ((folder / f"report.{ending}").read_text() for folder in (tmp_path, DOCS / name))
        assert compared(again.splitlines()) == compared(kept.splitlines())


class Notes(Silent):
    """Keeps remarks."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def note(self, message: str) -> None:
        self.notes.append(message)


def with_pictures(*paths: str) -> Results:
    results = read_results(DOCS / "flickr8k-line/results.json")
    sample = read_results(DOCS / "flickr8k/results.json").samples[0]
    samples = tuple(dataclasses.replace(sample, path=path, image=f"<{path}>") for path in paths)
    return dataclasses.replace(results, samples=samples)


def photograph(path: Path) -> Path:
    """A picture with a place in its metadata."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x010E] = "SECRET PLACE"
    Image.new("RGB", (900, 300), "teal").save(path, exif=exif, comment="SECRET COMMENT")
    assert b"SECRET PLACE" in path.read_bytes()
    return path


def test_only_pictures_below_the_folder_are_shown(tmp_path: Path) -> None:
    folder = tmp_path / "results"
    photograph(folder / "images/fine.jpg")
    outside = photograph(tmp_path / "private.png")
    (folder / "link.png").symlink_to(outside)
    (folder / "inner").symlink_to(tmp_path)
    (folder / "loop.png").symlink_to(folder / "loop.png")
    (folder / "text.jpg").write_text("SECRET TEXT")
    (folder / "cut.jpg").write_bytes((folder / "images/fine.jpg").read_bytes()[:700])
    os.mkfifo(folder / "pipe.jpg")
    refused = ["/etc/passwd", str(outside), "../private.png", "link.png", "inner/private.png", "loop.png"]
    refused += ["text.jpg", "cut.jpg", "pipe.jpg", "images", "missing.jpg", "a\0b.jpg", "x" * 5000]
    notes = Notes()
    write_page(with_pictures("images/fine.jpg", *refused), folder, tmp_path / "page.html", notes)
    page = Page(tmp_path / "page.html")
    (picture,) = page.pictures()
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.size) == ("JPEG", (640, 213))
    assert b"SECRET" not in picture
    assert len(notes.notes) == len(refused)
    assert page.text.count("(its picture is left out)") == len(refused)
    for path in refused:
        assert f"<{path}>" in page.text.replace("\ufffd", "\0")
    whole = (tmp_path / "page.html").read_bytes()
    assert str(folder).encode() not in whole  # a page that is passed on says nothing about this machine
    for path in (Path("/etc/passwd"), folder / "text.jpg", outside):
        assert base64.b64encode(path.read_bytes())[:40] not in whole


def test_a_report_keeps_its_pictures_and_leaves_out_what_is_none(tmp_path: Path) -> None:
    first, second = photograph(tmp_path / "a/same.jpg"), photograph(tmp_path / "b/same.jpg")
    (tmp_path / "a/notes.txt").write_text("SECRET")
    notes = Notes()
    results = with_pictures(str(first), str(second), str(tmp_path / "a/notes.txt"))
    write_report(results, tmp_path / "out", notes)
    kept = read_results(tmp_path / "out/results.json").samples
    assert len({sample.path for sample in kept[:2]}) == 2
    assert kept[2].path == ""
    assert len(notes.notes) == 1
    assert "notes.txt: not an image" in notes.notes[0]
    assert {path.name for path in (tmp_path / "out/images").iterdir()} == {
        Path(sample.path).name for sample in kept[:2]
    }
    before = (tmp_path / "out/report.html").read_text()
    write_page(read_results(tmp_path / "out/results.json"), tmp_path / "out", tmp_path / "again.html", notes)
    assert Page(tmp_path / "again.html").text == Page(tmp_path / "out/report.html").text
    assert before.count("data:image/jpeg") == 2


def test_no_file_of_an_earlier_report_is_passed_on(tmp_path: Path) -> None:
    out, photo = tmp_path / "out", photograph(tmp_path / "a.jpg")
    own = photograph(out / "images/sample-03.jpg").read_bytes()
    write_report(with_pictures(str(photo), str(photo)), out, Silent())
    for name in ("report.md", "report.tex", "report.csv", "greedy_gap.png", "notes.md"):
        (out / name).write_text("earlier")
    write_report(with_pictures(str(photo), str(photo)), out, Silent())  # no tables: those are a person's
    assert (out / "report.md").read_text() == "earlier"
    results = out / "results.json"
    results.write_text(results.read_text().replace("{", '{"tables": [],', 1))
    write_report(with_pictures(str(photo)), out, Silent())
    assert {path.name for path in (out / "images").iterdir()} == {"sample-01.jpg", "sample-03.jpg"}
    write_report(with_pictures(str(photo)), out, Silent(), photos=False)
    assert {path.name for path in out.iterdir()} == {"images", "notes.md", "report.html", "results.json"}
    # A picture that no report wrote is a person's.
    assert [path.read_bytes() for path in (out / "images").iterdir()] == [own]


def test_the_page_does_not_replace_its_results(tmp_path: Path) -> None:
    write_report(with_pictures(""), tmp_path, Silent())
    before = (tmp_path / "results.json").read_bytes()
    asked = ["report", str(tmp_path / "results.json"), "--to", str(tmp_path / "." / "results.json")]
    error = CliRunner().invoke(cli, asked).exception
    assert isinstance(error, ConfigError)
    assert "name another file" in str(error)
    assert (tmp_path / "results.json").read_bytes() == before


def test_what_students_begin_from_and_the_student_stand_beside_the_own_caption(tmp_path: Path) -> None:
    results = with_pictures("")
    row, (sample,) = results.rows[0], results.samples
    roles = {"big": "teacher", "box": "start", "plain": "student", "first": "distilled", "new": "distilled"}
    rows = tuple(dataclasses.replace(row, name=name, role=role) for name, role in roles.items())
    sample = dataclasses.replace(
        sample, references=("mine", "hers"), captions={name: f"of {name}" for name in roles}
    )

    def shown(*left_out: str) -> tuple[str, str]:
        kept = tuple(row for row in rows if row.role not in left_out)
        some = dataclasses.replace(results, rows=kept, samples=(sample,))
        write_page(some, tmp_path, tmp_path / "page.html", Silent())
        figure = (tmp_path / "page.html").read_text().partition("<figure>")[2]
        at_once, _, folded = figure.partition("<details>")
        assert all(figure.count(f">{text}<") == 1 for text in (*sample.references, *sample.captions.values()))
        return at_once, folded

    for left_out, before in ((), "box"), (("start",), "big"):
        at_once, folded = shown(*left_out)
        assert all(f">{text}<" in at_once for text in ("mine", f"of {before}", "of new"))
        assert all(f">{text}<" in folded for text in ("hers", "of plain", "of first"))
    at_once, folded = shown("distilled")  # nothing was distilled: all captions are of equal interest
    assert all(f">{text}<" in at_once for text in sample.captions.values())
    assert ">mine<" in folded


def test_a_folder_is_judged_before_hours_of_training(tmp_path: Path) -> None:
    check_report_folder(tmp_path / "new")
    check_report_folder(DOCS / "flickr8k-worth")  # a report is replaced
    (tmp_path / "photos").mkdir()
    (tmp_path / "link").symlink_to("photos", target_is_directory=True)
    (tmp_path / "file").write_text("")
    check_report_folder(tmp_path / "photos")
    for to, images, said in (
        ("file", (), "is a file"),
        ("link", (tmp_path / "photos",), "is the folder of your images"),
    ):
        with pytest.raises(ConfigError, match=said):
            check_report_folder(tmp_path / to, images)
    (tmp_path / "photos/results.json").write_text('[{"image": "a.jpg", "caption": "mine"}]')
    with pytest.raises(ConfigError, match="would be replaced, but is no report's"):
        check_report_folder(tmp_path / "photos")
