"""What `evaluate` takes and refuses, signatures, and files of scores."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from plain_cider import cider_d, document_frequencies

from distilcap.data.caption_files import read_candidates, read_references
from distilcap.data.captions import CaptionSet
from distilcap.errors import ConfigError, DataError, MissingError
from distilcap.metrics import Evaluator, MeanMetric, Metric, Score, create_metric, evaluate, registry
from distilcap.metrics.cider import CiderD
from distilcap.metrics.diversity import measure_diversity
from distilcap.metrics.files import read_scores, references_fingerprint, write_scores
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.metrics.registry import keys_of, metric_names, metric_of
from distilcap.metrics.resampling import intervals

REFERENCES = CaptionSet.of_texts(
    {"1": ["A dog runs.", "the dog"], "2": ["Two cats sleep.", "cats", "a cat"], "3": ["the sea"]}
)
CANDIDATES = CaptionSet.of_texts({"1": ["a dog runs"], "2": ["a cat sleeps"], "3": ["a dog"]})
BASIC = ("bleu", "rouge_l", "cider")


def test_signatures_say_how_a_score_is_made():
    scores = evaluate(CANDIDATES, REFERENCES, BASIC, tokenizer="ptb")
    assert scores["bleu_4"].signature == "bleu|refs:1-3|tok:ptb|len:closest|v:1.0"
    assert scores["rouge_l"].signature == "rouge-l|refs:1-3|tok:ptb|beta:1.2|v:1.0"
    assert scores["cider"].signature == "cider-d|refs:1-3|tok:ptb|df:test|end:0|v:1.0"
    assert evaluate(CANDIDATES, REFERENCES, ["cider"])["cider"].signature.split("|")[2] == "tok:ptb-official"


def test_references_of_other_images_are_left_out():
    two = CANDIDATES.only(["2", "1"])
    scores = evaluate(two, REFERENCES, BASIC)
    assert list(scores["cider"].per_image) == ["1", "2"]
    alone = evaluate(two, REFERENCES.only(["1", "2"]), BASIC)
    assert scores["cider"].value == alone["cider"].value


def test_what_cannot_be_scored_is_refused():
    with pytest.raises(ConfigError, match=r"`metrics` must be of bleu, .*, but 'blue' is not\."):
        evaluate(CANDIDATES, REFERENCES, ["blue"])
    with pytest.raises(
        ConfigError, match=r"`tokenizer` must be one of ptb-official, ptb, .* but is 'moses'\."
    ):
        evaluate(CANDIDATES, REFERENCES, BASIC, tokenizer="moses")
    with pytest.raises(DataError, match=r"^image '4' has a candidate, but no references\.$"):
        evaluate(CaptionSet.of_texts({"4": ["a"]}), REFERENCES, BASIC)
    with pytest.raises(DataError, match=r"^image '3' has references, but no candidate\.$"):
        Evaluator(REFERENCES, BASIC)(CANDIDATES.only(["1", "2"]))
    with pytest.raises(DataError, match=r"^image '4' has a candidate, but no references\.$"):
        Evaluator(REFERENCES, BASIC)(CaptionSet({**CANDIDATES, "4": CANDIDATES["1"]}))
    with pytest.raises(DataError, match=r"^the references are empty"):
        Evaluator(CaptionSet({}), BASIC)
    with pytest.raises(DataError, match=r"^image '1' has no references\.$"):
        Evaluator(CaptionSet({"1": ()}), BASIC)


class Broken(CiderD):
    def unavailable(self):
        return "Java was not found"


def test_a_metric_that_cannot_run_says_why_and_gives_no_number():
    (score,) = evaluate(CANDIDATES, REFERENCES, [Broken()]).values()
    assert score.unavailable == "Java was not found"
    assert np.isnan(score.value)
    assert score.per_image == {}


def test_cider_of_one_image_is_a_reason_unless_its_number_is_asked_for():
    one = REFERENCES.only(["1"])
    for scores in (evaluate(CANDIDATES.only(["1"]), REFERENCES), Evaluator(one)(CANDIDATES.only(["1"]))):
        assert "of one image it is always 0" in scores["cider"].unavailable
        assert np.isnan(scores["cider"].value)
        assert scores["bleu_1"].value == pytest.approx(1)
    number = evaluate(CANDIDATES.only(["1"]), REFERENCES, reasons=False)["cider"]
    assert (number.value, number.per_image, number.unavailable) == (0.0, {"1": 0.0}, None)


class Fails(MeanMetric):
    """At one of its two steps, as a program does that takes too long, or data that are damaged."""

    name = label = "fails"
    keys = ("fails",)

    def __init__(self, step):
        self.step = step

    def prepare(self, references):
        if self.step == "prepare":
            raise MissingError("the jar is damaged.")

    def statistics(self, candidates, prepared):
        raise MissingError("SPICE did not finish in 1 s")


@pytest.mark.parametrize(
    ("step", "reason"), [("prepare", "the jar is damaged"), ("statistics", "SPICE did not finish in 1 s")]
)
def test_a_metric_that_fails_leaves_the_others_their_scores(step, reason):
    scores = evaluate(CANDIDATES, REFERENCES, ["bleu", Fails(step), "cider"])
    assert (scores["fails"].unavailable, scores["fails"].signature) == (
        reason,
        "fails|refs:1-3|tok:ptb-official|v:1.0",
    )
    others = {key: score for key, score in scores.items() if key != "fails"}
    assert others == evaluate(CANDIDATES, REFERENCES, ["bleu", "cider"])
    with pytest.raises(MissingError, match=reason):
        evaluate(CANDIDATES, REFERENCES, ["bleu", Fails(step)], reasons=False)


class Odd(MeanMetric):
    """Gives what it is told to."""

    name = label = "odd"
    keys = ("odd",)

    def __init__(self, rows, pool=None, keys=keys):
        self.rows, self.keys = rows, keys
        self.pool = pool or self.pool

    def prepare(self, references):
        return None

    def statistics(self, candidates, prepared):
        return self.rows


def share(totals, images):
    return totals[..., :1] / totals[..., 1:]


def share_of_all(totals, images):
    return share(totals, images) if images == 1 else totals[..., :1] / 0


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        (Odd([[1], [2]]), r"`statistics` must return an array \(N, S\), .* 3 images, but returns \(2, 1\)"),
        (Odd([[1], [2, 3], [4]]), "`statistics` must return an array of numbers, but returns a list"),
        (Odd([["a"], ["b"], ["c"]]), "`statistics` must return an array of numbers"),
        (Odd([[1], [None], [2]]), "`statistics` of image '2' are not finite numbers"),
        (Odd([[1, 1], [0, 0], [1, 2]], share), "`pool` of image '2' gives no finite number"),
        (Odd([[1, 1], [1, 1], [1, 2]], share_of_all), "`pool` of all images gives no finite number"),
        (
            Odd([[1], [1], [1]], keys=("odd_1", "odd_2")),
            r"`pool` of statistics \(1,\) must return \(2,\), .*but returns \(1,\)",
        ),
        (
            Odd([[1], [1], [1]], lambda totals, images: 1.0),
            r"`pool` of .* must return \(1,\), .*but returns \(\)",
        ),
        (Odd([[1], [1], [1]], lambda totals, images: "x"), "`pool` must return an array of numbers"),
    ],
)
def test_what_a_metric_gives_is_checked(metric, message):
    with pytest.raises(ConfigError, match=f"^The metric odd: {message}"):
        evaluate(CANDIDATES, REFERENCES, [metric])


def test_a_metric_s_rows_may_be_lists():
    score = evaluate(CANDIDATES, REFERENCES, [Odd([[1], [2], [6]])])["odd"]
    assert (score.value, score.per_image) == (3.0, {"1": 1.0, "2": 2.0, "3": 6.0})


def test_a_line_separator_inside_a_caption_does_not_shift_the_others():
    odd = CaptionSet.of_texts({"1": ["a dog\u2028runs"], "2": ["a cat\rsleeps"], "3": ["a dog"]})
    ours, plain = evaluate(odd, REFERENCES, BASIC), evaluate(CANDIDATES, REFERENCES, BASIC)
    assert {key: score.per_image for key, score in ours.items()} == {
        key: score.per_image for key, score in plain.items()
    }


def test_cider_takes_document_frequencies_and_an_end_token(tmp_path):
    corpus = [[["a", "dog", "<eos>"], ["the", "sea", "<eos>"]], [["a", "dog", "<eos>"]], [["a", "<eos>"]]]
    plain = [[caption[:-1] for caption in captions] for captions in corpus]
    DocumentFrequencies.of("other", plain, end=True).save(tmp_path / "df.json")
    frequencies = DocumentFrequencies.load(tmp_path / "df.json")
    scores = evaluate(CANDIDATES, REFERENCES, [CiderD(frequencies, end=True)])
    words = {
        "1": [["a", "dog", "runs"], ["the", "dog"]],
        "2": [["two", "cats", "sleep"], ["cats"], ["a", "cat"]],
    }
    words["3"] = [["the", "sea"]]
    for image_id, references in words.items():
        expected = cider_d(
            [*CANDIDATES.texts(image_id)[0].split(), "<eos>"],
            [[*one, "<eos>"] for one in references],
            document_frequencies(corpus),
            3,
        )
        assert scores["cider"].per_image[image_id] == pytest.approx(expected)
    assert scores["cider"].signature.endswith(f"|df:{frequencies.label}|end:1|v:1.0")
    # Corpora are named by files, and two files of one name are two corpora.
    assert re.fullmatch("other-[0-9a-f]{8}", frequencies.label)
    assert DocumentFrequencies.of("other", plain[:2], end=True).label != frequencies.label
    with pytest.raises(ConfigError, match="count them again with the same"):
        CiderD(frequencies)
    (tmp_path / "bad.json").write_text('{"name": "x"}')
    with pytest.raises(
        DataError, match=r"bad\.json: not document frequencies; `distilcap metrics df` writes"
    ):
        DocumentFrequencies.load(tmp_path / "bad.json")


def test_scores_come_back_from_their_file(tmp_path):
    scores = intervals(evaluate(CANDIDATES, REFERENCES, BASIC), resamples=50)
    scores["spice"] = Score.missing("spice", "spice|v:1.0", "no Java")
    write_scores(tmp_path / "s.json", scores, references_fingerprint(REFERENCES), diversity={})
    found, fingerprint = read_scores(tmp_path / "s.json")
    assert fingerprint == references_fingerprint(REFERENCES) != references_fingerprint(CANDIDATES)
    assert found["spice"].unavailable == "no Java"
    for key in keys_of(BASIC):
        assert (found[key], found[key].interval) == (scores[key], scores[key].interval)
        np.testing.assert_array_equal(found[key].statistics, scores[key].statistics)


def test_files_of_scores_and_frequencies_know_that_they_are_damaged(tmp_path):
    path = tmp_path / "x.json"
    write_scores(path, evaluate(CANDIDATES, REFERENCES, BASIC), references_fingerprint(REFERENCES))
    _every_flip_is_refused(path, read_scores)
    DocumentFrequencies("x", 3, {"a": 2, "a dog": 3}).save(path)
    _every_flip_is_refused(path, DocumentFrequencies.load)
    old = json.loads(path.read_text())
    path.write_text(json.dumps({name: old[name] for name in ("name", "images", "end", "counts")}))
    assert DocumentFrequencies.load(path).counts == {"a": 2, "a dog": 3}


def _every_flip_is_refused(path, read):
    whole = path.read_bytes()
    read(path)
    for bit in range(0, 8 * len(whole), 37):
        content = bytearray(whole)
        content[bit // 8] ^= 1 << bit % 8
        path.write_bytes(content)
        with pytest.raises(DataError):
            read(path)
    path.write_bytes(whole)


def test_one_statistic_that_is_no_mean_comes_back_from_a_file(tmp_path, monkeypatch):
    class RootMeanSquare(Metric):
        """Of captions' lengths."""

        name = label = "rms"
        keys = ("rms",)

        def prepare(self, references):
            return None

        def statistics(self, candidates, prepared):
            return np.array([[len(words) ** 2.0] for words in candidates])

        def pool(self, totals, images):
            return np.sqrt(totals / images)

    monkeypatch.setitem(registry._metrics, "rms", RootMeanSquare)
    scores = evaluate(CANDIDATES, REFERENCES, ["rms", "rouge_l"])
    write_scores(tmp_path / "s.json", scores, "0123")
    assert list(json.loads((tmp_path / "s.json").read_text())["statistics"]) == ["rms"]
    back = read_scores(tmp_path / "s.json")[0]
    assert back == scores
    assert np.array_equal(back["rms"].statistics, scores["rms"].statistics)


def test_a_mean_that_a_plugin_pools_otherwise_comes_back_from_a_file(tmp_path, monkeypatch):
    class Geometric(MeanMetric):
        """Mean of captions' lengths; the statistics are their logarithms."""

        name = label = "geometric"
        keys = ("geometric",)

        def prepare(self, references):
            return None

        def statistics(self, candidates, prepared):
            return np.log([[len(words)] for words in candidates])

        def pool(self, totals, images):
            return np.exp(totals / images)

    monkeypatch.setitem(registry._metrics, "geometric", Geometric)
    scores = evaluate(CANDIDATES, REFERENCES, ["geometric"])
    assert scores["geometric"].value == pytest.approx((3 * 3 * 2) ** (1 / 3))
    write_scores(tmp_path / "s.json", scores, "0123")
    assert read_scores(tmp_path / "s.json")[0] == scores


def test_every_score_has_its_metric():
    for key in ("bleu_1", "bleu_4", "meteor", "rouge_l", "cider", "spice", "meteor_jar"):
        assert isinstance(metric_of(key), Metric)
        assert key in metric_of(key).keys
    with pytest.raises(ConfigError, match=r"there is no score 'bleu_5'"):
        metric_of("bleu_5")
    assert set(metric_names()) == {"bleu", "meteor", "rouge_l", "cider", "spice", "meteor_jar"}
    assert create_metric("cider").name == "cider"


def test_diversity():
    candidates = CaptionSet.of_texts({"1": ["a dog runs"], "2": ["A dog runs."], "3": ["a cat"], "4": [""]})
    found = measure_diversity(candidates, REFERENCES)
    assert found.mean_length == 2
    assert found.vocabulary == 4
    assert found.distinct_1 == 4 / 8
    assert found.distinct_2 == 3 / 5
    assert found.distinct_captions == 3 / 4
    assert found.novel == 1 / 4  # only the empty one
    assert measure_diversity(candidates).novel is None


def test_files_of_references_and_candidates(tmp_path):
    annotations = {
        "images": [{"id": 7}, {"id": 3}, {"id": 9}],
        "annotations": [
            {"image_id": 3, "caption": " two  spaces "},
            {"image_id": 7, "caption": ""},
            {"image_id": 3, "caption": "b"},
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(annotations))
    read = read_references(tmp_path / "coco.json")
    assert {image_id: read.texts(image_id) for image_id in read} == {"7": [""], "3": [" two  spaces ", "b"]}
    assert list(read) == ["7", "3"]
    (tmp_path / "map.json").write_text('{"7": "x", "3": ["y", "z"]}')
    assert read_references(tmp_path / "map.json").texts("3") == ["y", "z"]
    (tmp_path / "list.json").write_text(json.dumps(annotations["annotations"]))
    assert list(read_references(tmp_path / "list.json")) == ["3", "7"]
    REFERENCES.save(tmp_path / "ours.jsonl")
    assert read_references(tmp_path / "ours.jsonl") == REFERENCES
    (tmp_path / "rows.jsonl").write_text('{"image": "a.jpg", "caption": "x"}\n')
    assert read_references(tmp_path / "rows.jsonl").texts("a") == ["x"]
    (tmp_path / "several.jsonl").write_text('{"image": "a.jpg", "captions": ["x", "y"]}\n')
    assert read_references(tmp_path / "several.jsonl").texts("a") == ["x", "y"]
    REFERENCES.save(tmp_path / "labels")  # whatever its name
    assert read_references(tmp_path / "labels") == REFERENCES
    (tmp_path / "results.json").write_text('[{"image_id": 7, "caption": "x"}]')
    assert read_candidates(tmp_path / "results.json").texts("7") == ["x"]
    assert len(read_candidates(tmp_path / "ours.jsonl")["2"]) == 3
    with pytest.raises(DataError, match=r"list\.json: image 3 must have one caption, but has 2; "):
        read_candidates(tmp_path / "list.json")
    (tmp_path / "bad.json").write_text('[{"image_id": 7, "caption": 5}]')
    with pytest.raises(DataError, match="expected COCO results"):
        read_candidates(tmp_path / "bad.json")
    (tmp_path / "bad.json").write_text('{"7": 5}')
    with pytest.raises(DataError, match="expected a caption, or a list of captions, for image '7'"):
        read_candidates(tmp_path / "bad.json")
