"""Bundles of format 2: words never written and confidence, from export to captions; and of format 1."""

from __future__ import annotations

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from distilcap.cli.main import cli
from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.errors import BundleError, ConfigError
from distilcap.export.bundle import export_bundle
from distilcap.export.card import model_card
from distilcap.export.options import ExportOptions
from distilcap.export.pictures import sample_pictures
from distilcap.pipeline.captioning import ImageCaptioner
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.calibration import BINS, Calibration, Reliability
from distilcap.runtime.decode_options import DecodeChoice, DecodeOptions
from distilcap.runtime.manifest import Manifest, write_manifest
from distilcap.text.vocabulary import SPECIALS, Vocabulary

FLAT = Reliability((0,) * BINS, (0.0,) * BINS, (0.0,) * BINS)


def test_a_manifest_of_version_1_is_read():
    """As the program wrote it before there was version 2."""
    content = json.loads((Path(__file__).parent / "manifest_1.json").read_text())
    manifest = Manifest.from_json(content)
    assert manifest.decode == DecodeOptions(4, 12, 0.3)
    assert manifest.decode.blocked == ()
    assert manifest.calibration is None
    assert manifest.vocabulary == Vocabulary((*SPECIALS, "a", "dog", "runs"))
    assert Manifest.from_json(manifest.to_json()) == manifest
    older = {name: value for name, value in content.items() if name not in ("tokenizer", "spaced")}
    assert Manifest.from_json(older) == manifest
    for name, value in {"never_write": {"dog": None}, "avoid_repeats": True}.items():
        newer = content | {"decode": content["decode"] | {name: value}}
        with pytest.raises(BundleError, match=f"`decode` has an unknown field '{name}'"):
            Manifest.from_json(newer)


@pytest.fixture(scope="module")
def pixels():
    return np.stack([picture for _, picture in sample_pictures(16, 32)])


def test_words_never_written_are_in_no_caption_of_any_graph(run, encoder, exported, bundle, pixels, tmp_path):
    seen = bundle.see(pixels)
    before = bundle.greedy(seen).tokens
    written = sorted(set(before.ravel().tolist()) - set(range(len(SPECIALS))))
    unwritten = sorted(set(range(len(SPECIALS), 60)) - set(written))
    none, moved, other = written[0], written[1:4], unwritten[0]
    blocked = tuple(sorted([(none, 0), *((word, other) for word in moved)]))
    made = export_bundle(
        run, tmp_path / "blocked", encoder=encoder, decode=DecodeOptions(beam_size=4, blocked=blocked)
    )
    assert made.parity.complete, "PyTorch's, token by token, by beam and by the greedy graph"
    opened = Bundle.open(made.folder)
    assert opened.manifest.decode.blocked == blocked
    for tokens in (opened.greedy(seen).tokens, opened.search(seen).tokens):
        assert not set(tokens.ravel().tolist()) & {none, *moved}
        assert other in tokens
    # The same words, left out by the search of a bundle that writes them.
    same = bundle.search(seen, DecodeOptions(beam_size=4, blocked=blocked))
    np.testing.assert_array_equal(opened.search(seen).tokens[:, 0], same.tokens[:, 0])
    words = exported.manifest.vocabulary.words
    assert f"Never written: {words[none]}, {words[moved[0]]} (but {words[other]})" in (
        made.folder / "MODEL_CARD.md"
    ).read_text().replace("\\", "")
    content = json.loads((made.folder / "manifest.json").read_text())["decode"]["never_write"]
    assert content == {words[none]: None} | {words[word]: words[other] for word in moved}


def test_a_greedy_graph_that_writes_what_its_manifest_forbids_is_refused(exported, bundle, pixels):
    seen = bundle.see(pixels)
    word = int(bundle.greedy(seen).tokens[0, 0, 0])
    decode = replace(exported.manifest.decode, blocked=((word, 0),))
    other = Bundle(exported.folder, replace(exported.manifest, decode=decode), 1)
    with pytest.raises(BundleError, match=r"greedy\.onnx: it writes words that the manifest says are never"):
        other.greedy(seen)


@pytest.fixture
def data(tmp_path, exported) -> Dataset:
    """Pictures of which half has references that are what PyTorch says, and half others."""
    records, captions = [], {}
    for number, (name, picture) in enumerate(sample_pictures(16, 32)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        records.append(ImageRecord(name, path, "val" if number < 10 else "test"))
        text = exported.parity.ours[name].text if number % 2 else "word1 word2"
        captions[name] = [text, text]
    return Dataset("pictures", tuple(records), CaptionSet.of_texts(captions))


@pytest.mark.parametrize("split, measured", [("val", "halves of"), ("test", "6 images of test")])
def test_confidence_is_calibrated_at_export(run, encoder, data, tmp_path, monkeypatch, split, measured):
    monkeypatch.setattr("distilcap.export.calibration.LEAST_IMAGES", 10)
    made = export_bundle(run, tmp_path / "bundle", ExportOptions(split=split), encoder=encoder, data=data)
    calibration = made.manifest.calibration
    assert calibration is not None
    assert calibration.images == 10
    assert calibration.measured_on.startswith(measured)
    assert sum(calibration.reliability.captions) == (10 if split == "val" else 6)
    caption = Bundle.open(made.folder).alternatives(data.images[1].path)[0]
    assert caption.confidence == calibration.confidence(caption.log_prob / len(caption.tokens))
    card = (made.folder / "MODEL_CARD.md").read_text()
    measured = calibration.reliability
    assert f"expected calibration error {100 * measured.error:.1f} points, where chance alone" in card
    assert f"show about {100 * measured.error_by_chance:.1f} of a right calibration." in card
    assert card.count(" % | ") >= 1


def test_too_few_images_leave_it_uncalibrated(run, encoder, data, tmp_path):
    made = export_bundle(run, tmp_path / "bundle", encoder=encoder, data=data)
    assert made.manifest.calibration is None
    assert "the captions have no confidence" in model_card(made.manifest, "")


@pytest.fixture
def calibrated(exported, tmp_path) -> Path:
    """A bundle that is sure of likely captions alone."""
    folder = Path(shutil.copytree(exported.folder, tmp_path / "calibrated"))
    logs = [one.log_prob / (len(one.text.split()) + 1) for one in exported.parity.ours.values()]
    middle = float(np.median(logs))
    calibration = Calibration(500.0, -500 * middle, 0.5, 100, FLAT, "nothing")
    write_manifest(folder, replace(exported.manifest, calibration=calibration))
    return folder


@pytest.fixture
def photos(tmp_path) -> list[Path]:
    paths = []
    for number, (_, picture) in enumerate(sample_pictures(16, 32)):
        paths.append(tmp_path / f"{number}.png")
        Image.fromarray(picture).save(paths[-1])
    return paths


def test_a_bundle_that_avoids_repeats_ranks_them_last_unless_told_otherwise(exported, photos, tmp_path):
    folder = Path(shutil.copytree(exported.folder, tmp_path / "avoiding"))
    three_words = DecodeOptions(4, max_words=7, blocked=tuple((word, 0) for word in range(7, 60)))
    avoiding = replace(three_words, avoid_repeats=True)
    manifest = write_manifest(folder, replace(exported.manifest, decode=avoiding))
    assert "those that write a pair of words twice come last" in model_card(manifest, "")
    opened, asked = Bundle.open(folder), ["caption", "--bundle", str(folder), *map(str, photos)]
    beams = {}
    for choice, options in ((), avoiding), (("--no-avoid-repeats",), three_words):
        beams[choice] = [opened.alternatives(photo, options) for photo in photos]
        written = CliRunner().invoke(cli, [*asked, *choice]).stdout.splitlines()
        assert [line.split("\t")[-1] for line in written] == [beam[0].text for beam in beams[choice]]
    moved = [one != other for one, other in zip(*beams.values(), strict=True)]
    assert any(moved)
    assert all(
        sorted(a.text for a in one) == sorted(b.text for b in two)
        for one, two in zip(*beams.values(), strict=True)
    )


def test_doubtful_captions_are_left_empty_and_counted(calibrated, exported, photos, tmp_path):
    names = [str(photo) for photo in photos]
    asked = ["caption", "--bundle", str(calibrated), "--beam-size", "4", "--min-confidence", "0.5"]
    told = CliRunner().invoke(cli, [*asked, *names])
    assert told.exit_code == 0, told.output
    captions = [line.split("\t")[1] for line in told.stdout.splitlines()]
    assert captions.count("") == 8
    assert told.stderr.splitlines()[-1] == ("Captions left empty, since their confidence is below 0.5: 8.")
    whole = [caption.text for caption in exported.parity.ours.values()]
    assert all(caption in ("", text) for caption, text in zip(captions, whole, strict=True))
    to = tmp_path / "captions.csv"
    told = CliRunner().invoke(cli, [*asked, *names, "--to", str(to)])
    assert "below 0.5: 8." in told.stderr
    with to.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["caption"] for row in rows] == captions
    assert all((float(row["confidence"]) >= 0.5) == bool(row["caption"]) for row in rows)
    told = CliRunner().invoke(cli, [*asked, *names, "--side-files", "txt"])
    assert "captions of 8 photos" in told.stdout
    assert [photo.with_suffix(".txt").exists() for photo in photos] == [bool(text) for text in captions]


def test_a_least_confidence_needs_a_calibration(exported, photos):
    captioner = ImageCaptioner.of_bundle(exported.folder, DecodeChoice())
    with pytest.raises(ConfigError, match=r"bundle: its captions have no confidence, so `min_confidence`"):
        captioner.without_doubtful(0.5)
    asked = ["caption", "--bundle", str(exported.folder), str(photos[0]), "--min-confidence"]
    assert isinstance(CliRunner().invoke(cli, [*asked, "0.5"]).exception, ConfigError)
    assert "1.5" in CliRunner().invoke(cli, [*asked, "1.5"]).stderr


def test_words_are_left_out_by_the_command_and_unknown_ones_told(exported, photos):
    asked = ["caption", "--bundle", str(exported.folder), str(photos[0])]
    first = CliRunner().invoke(cli, asked).stdout.split()[1]
    told = CliRunner().invoke(cli, [*asked, "--never-write", f"{first},zebra"])
    assert told.exit_code == 0
    assert first not in told.stdout.split()[1:]
    assert "since the captioner does not know them: zebra." in told.stderr
