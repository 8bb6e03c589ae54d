"""BLEU, ROUGE-L and CIDEr-D equal the official toolkit's, corpus and image by image."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from official import KEYS, assert_equal, coco_captions, official_scores

from distilcap.data.caption_files import read_candidates, read_references
from distilcap.data.captions import CaptionSet
from distilcap.metrics import Evaluator, create_metric, evaluate
from distilcap.metrics.ngrams import References

METRICS = ("bleu", "rouge_l", "cider")


def test_the_toolkits_own_example(shared_data):
    folder = shared_data / "coco_fakecap"
    recorded = json.loads((folder / "fakecap_scores.json").read_text())
    scores = evaluate(
        read_candidates(folder / "captions_val2014_fakecap_results.json"),
        read_references(folder / "captions_val2014_fakecap_refs.json"),
        METRICS,
    )
    names = {"Bleu_1": "bleu_1", "Bleu_2": "bleu_2", "Bleu_3": "bleu_3", "Bleu_4": "bleu_4"}
    names |= {"ROUGE_L": "rouge_l", "CIDEr": "cider"}
    for name, key in names.items():
        assert scores[key].value == pytest.approx(recorded["scores"][name], abs=1e-9)
        ours = [scores[key].per_image[str(image_id)] for image_id in recorded["image_ids"]]
        assert np.abs(np.array(ours) - np.array(recorded["per_image"][name])).max() < 1e-9


def compare_with_toolkit(references: dict[str, list[str]], candidates: dict[str, str]) -> None:
    """Captions are words joined by single spaces already; the official string handling starts from there."""
    official = official_scores(references, {image_id: [text] for image_id, text in candidates.items()})

    def words(text: str) -> list[str]:
        return text.split(" ") if text else []

    known = References([words(text) for text in texts] for texts in references.values())
    found = {}
    for name in METRICS:
        metric = create_metric(name)
        statistics = metric.statistics([words(text) for text in candidates.values()], metric.prepare(known))
        corpus, images = metric.pool(statistics.sum(axis=0), len(known)), metric.pool(statistics, 1)
        found |= {key: (corpus[n], images[:, n]) for n, key in enumerate(metric.keys)}
    for key in KEYS:
        np.testing.assert_allclose(found[key][0], official[key][0], rtol=0, atol=1e-9, err_msg=key)
        np.testing.assert_allclose(found[key][1], official[key][1], rtol=0, atol=1e-9, err_msg=key)


HARD = {
    "empty candidate": (["a dog runs", "the dog"], ""),
    "empty reference": (["", "a dog"], "a dog"),
    "all empty": ([""], ""),
    "one reference": (["a dog runs on the grass"], "a dog runs on grass"),
    "one word": (["dog"], "dog"),
    "nothing in common": (["a dog runs on the grass", "a dog"], "two cats sleep"),
    "same": (["a dog runs on the grass"], "a dog runs on the grass"),
    "unicode": (["ein kleiner straßenhund läuft", "日本語 の 犬"], "日本語 の straßenhund läuft"),
    "no-break space": (["3 1\xa01/2 pies", "a pie"], "3 1\xa01/2 pies"),
    "punctuation only": (["a dog -lrb- runs -rrb-"], "-lrb- & / -rrb-"),
    "very long": (["a dog runs on the grass " * 80 + "end"], "the grass runs on a dog " * 90 + "end"),
    "repeated words": (["the the the cat", "the cat the cat the cat"], "the the the the the the the the"),
    "closest of two lengths": (["a b c", "a b c d e"], "a b c d"),
    "nine references": ([f"a dog runs {n}" for n in range(9)], "a dog runs 3"),
}


@pytest.mark.parametrize("alone", [True, False])
def test_hard_cases(alone):
    if alone:
        for references, candidate in HARD.values():
            if any(references):  # the official CIDEr fails where no reference has a word
                compare_with_toolkit({"1": references}, {"1": candidate})
    else:
        compare_with_toolkit(
            {name: references for name, (references, _) in HARD.items()},
            {name: candidate for name, (_, candidate) in HARD.items()},
        )


captions = st.lists(st.sampled_from(["a", "b", "c", "d", "e\xa0f"]), max_size=9).map(" ".join)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.lists(captions, min_size=1, max_size=4), captions), min_size=1, max_size=6))
def test_any_corpus(corpus):
    corpus.append((["a dog"], "a"))  # the official CIDEr fails where no reference has a word
    compare_with_toolkit(
        {str(n): references for n, (references, _) in enumerate(corpus)},
        {str(n): candidate for n, (_, candidate) in enumerate(corpus)},
    )


def test_prepared_references_serve_one_candidate_after_another():
    references = CaptionSet.of_texts({"1": ["a dog runs", "a dog"], "2": ["two cats sleep"]})
    several = [{"1": ["a dog"], "2": ["two dogs"]}, {"2": ["new words here"], "1": ["a dog runs"]}]
    evaluator = Evaluator(references, METRICS)
    for texts in several:
        candidates = CaptionSet.of_texts(texts)
        again = evaluate(candidates, references, METRICS)
        found = evaluator(candidates)
        assert {key: score.value for key, score in found.items()} == {
            key: score.value for key, score in again.items()
        }
        assert list(found["cider"].per_image) == ["1", "2"]


@pytest.mark.slow
def test_coco_val2014_with_a_reference_held_out(tmp_path):
    """40,504 images through both, from raw captions on: the official tokenizer, in Java, and ours."""
    captions = coco_captions("val2014")
    references = {image_id: texts[1:] for image_id, texts in captions.items()}
    candidates = {image_id: texts[:1] for image_id, texts in captions.items()}
    program = (
        "import json, sys\n"
        "from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer\n"
        "for name in ('references', 'candidates'):\n"
        "    texts = json.load(open(f'{name}.json'))\n"
        "    records = {id: [{'caption': text} for text in several] for id, several in texts.items()}\n"
        "    json.dump(PTBTokenizer().tokenize(records), open(f'{name}.tokens.json', 'w'))\n"
    )
    words = []
    for name, texts in (("references", references), ("candidates", candidates)):
        (tmp_path / f"{name}.json").write_text(json.dumps(texts))
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, stderr=subprocess.DEVNULL)
    for name in ("references", "candidates"):
        words.append(json.loads((tmp_path / f"{name}.tokens.json").read_text()))
    scores = evaluate(CaptionSet.of_texts(candidates), CaptionSet.of_texts(references), METRICS)
    assert_equal(scores, official_scores(*words))
