import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_cider import cider_d, document_frequencies

from distilcap.errors import ConfigError, DataError
from distilcap.metrics.cider import CiderD
from distilcap.metrics.frequencies import DocumentFrequencies
from distilcap.metrics.ngrams import References
from distilcap.metrics.reward import CiderReward
from distilcap.text.vocabulary import EOS, PAD

captions = st.lists(st.integers(4, 12), max_size=9)
corpora = st.lists(st.lists(captions, min_size=1, max_size=4), min_size=1, max_size=6)


def padded(samples, width):
    return np.array([sample + [PAD] * (width - len(sample)) for sample in samples])


@settings(deadline=None, max_examples=150)
@given(corpora, st.data())
def test_equals_cider_d_with_an_end_word(corpus, data):
    ended = [[[*caption, EOS] for caption in several] for several in corpus]
    frequencies, documents = document_frequencies(ended), len(corpus)
    reward = CiderReward({str(i): several for i, several in enumerate(corpus)})
    images = data.draw(st.lists(st.integers(0, len(corpus) - 1), min_size=1, max_size=5))
    samples = [[[*data.draw(captions), EOS] for _ in range(3)] for _ in images]
    got = reward([str(i) for i in images], np.stack([padded(several, 12) for several in samples]))
    wanted = [
        [cider_d(sample, ended[image], frequencies, documents) for sample in several]
        for image, several in zip(images, samples, strict=True)
    ]
    np.testing.assert_allclose(got, wanted, rtol=1e-9, atol=1e-9)


@settings(deadline=None, max_examples=50)
@given(corpora, corpora, st.data())
def test_the_metric_is_the_same_and_takes_document_frequencies_of_another_corpus(corpus, other, data):
    def words(captions):
        return [[str(id) for id in caption] for caption in captions]

    candidates = data.draw(st.lists(captions, min_size=len(corpus), max_size=len(corpus)))
    frequencies = DocumentFrequencies.of("other", map(words, other), end=True)
    metric = CiderD(frequencies, end=True)
    got = metric.statistics(words(candidates), metric.prepare(References(map(words, corpus))))
    ended = [[[*caption, EOS] for caption in several] for several in other]
    counted = document_frequencies(ended)
    wanted = [
        cider_d([*candidate, EOS], [[*caption, EOS] for caption in several], counted, len(other))
        for candidate, several in zip(candidates, corpus, strict=True)
    ]
    np.testing.assert_allclose(got[:, 0], wanted, rtol=1e-9, atol=1e-9)


def test_fractions_are_counted_as_they_are_scored():
    """The PTB tokenizer keeps the no-break space of a fraction in one word."""
    corpus = [[["eat", "1\xa01/2", "cakes"]], [["1\xa01/2", "cakes"]], [["a", "dog"]]]
    references = References(corpus)
    candidates = [captions[0] for captions in corpus]
    own, counted = CiderD(), CiderD(DocumentFrequencies.of("same", corpus))
    np.testing.assert_allclose(
        counted.statistics(candidates, counted.prepare(references)),
        own.statistics(candidates, own.prepare(references)),
    )


def test_a_cut_sample_has_no_end_token():
    corpus = {"a": [[5, 6, 7]], "b": [[8, 9]]}
    reward = CiderReward(corpus)
    whole, cut = reward(["a"], np.array([[[5, 6, 7, EOS], [5, 6, 7, PAD]]]))[0]
    full = reward(["a"], np.array([[[5, 6, 7]]]))[0, 0]
    assert whole == pytest.approx(10)
    assert cut == full < whole


def test_what_follows_the_end_does_not_count():
    reward = CiderReward({"a": [[5, 6, 7, 8]], "b": [[8, 9]]})
    ended, padded, cut = reward(
        ["a"], np.array([[[5, 6, 7, 8, EOS, 9], [5, 6, 7, 8, EOS, PAD], [5, 6, 7, 8, PAD, 4]]])
    )[0]
    assert ended == padded == pytest.approx(10)
    assert cut == reward(["a"], np.array([[[5, 6, 7, 8]]]))[0, 0] < ended


def test_a_call_leaves_memory_as_it_was():
    generator = np.random.default_rng(0)
    corpus = {str(i): generator.integers(4, 500, (5, 9)).tolist() for i in range(50)}
    reward = CiderReward(corpus)
    samples = generator.integers(4, 60_000, (300, 10, 5, 12))
    reward(list(corpus)[:10], samples[0])
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    for several in samples:
        reward(list(corpus)[:10], several)
    grown = tracemalloc.get_traced_memory()[0] - before
    tracemalloc.stop()
    assert grown < 10_000


def test_preparing_keeps_no_ngram_longer_than_it_is_needed():
    """COCO's references have 24 million n-grams: 35 bytes of each that nothing reads were 840 MB."""
    images, captions, words = 6000, 5, 11
    drawn = np.random.default_rng(0).integers(4, 3000, (images, captions, words)).tolist()
    references = {str(image): of_image for image, of_image in enumerate(drawn)}
    ngrams = images * captions * sum(words + 1 - order for order in range(4))  # with the end token
    tracemalloc.start()
    CiderReward(references)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 120 * ngrams


def test_refusals_say_what_to_fix():
    with pytest.raises(DataError, match=r"^the references are empty"):
        CiderReward({})
    with pytest.raises(DataError, match=r"^image 'b' has no references\.$"):
        CiderReward({"a": [[5]], "b": []})
    with pytest.raises(ConfigError, match=r"^token ids must be 0 to 65533 for the reward\.$"):
        CiderReward({"a": [[70_000]]})
    with pytest.raises(DataError, match=r"^image 'x' has no references for the reward\.$"):
        CiderReward({"a": [[5]]})(["x"], np.array([[[5]]]))
