"""A captioner that begins from another says the same with the words that both know."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from small_captioners import small_options

from distilcap.errors import ConfigError
from distilcap.models.families import families, family_of
from distilcap.models.presets import build_captioner
from distilcap.models.transfer import begin_from
from distilcap.models.weights import TrainedCaptioner
from distilcap.shapes import Regions
from distilcap.text.vocabulary import SPECIALS, Vocabulary

OLD = Vocabulary((*SPECIALS, "a", "dog", "runs", "cat"))
NEW = Vocabulary((*SPECIALS, "cat", "a", "okapi", "dog"))
KNOWN = [word for word in NEW.words if word in OLD.words]
BOTH = [(name, tied) for name in families() for tied in (False, True)]


def captioner(
    family: str, vocabulary: Vocabulary, tied: bool, seed: int, hidden: int = 8
) -> TrainedCaptioner:
    options = small_options(family, hidden=hidden, dropout=0.0)
    options = dataclasses.replace(options, tie_words=tied)  # type: ignore[type-var]
    built = build_captioner(family, options, len(vocabulary), 6, seed).eval()
    return TrainedCaptioner(built, family, options, vocabulary, {})


@pytest.mark.parametrize("family, tied", BOTH)
def test_words_that_both_know_are_as_likely_as_before(family: str, tied: bool) -> None:
    start, new = captioner(family, OLD, tied, 1), captioner(family, NEW, tied, 2)
    begin_from(new, start)
    regions = Regions.full(torch.randn(2, 3, 6, generator=torch.manual_seed(0)))
    text = ["a", "dog", "cat", "a"]
    logits = []
    for one in (start, new):
        ids = [1, *one.vocabulary.encode(text)]
        with torch.no_grad():
            seen = one.captioner(regions, torch.tensor([ids, ids])[:, None])
        logits.append(seen[..., one.vocabulary.encode(KNOWN)])
    torch.testing.assert_close(logits[1], logits[0])


@pytest.mark.parametrize("family, tied", BOTH)
def test_a_new_word_begins_as_the_mean_of_all(family: str, tied: bool) -> None:
    start, new = captioner(family, OLD, tied, 1), captioner(family, NEW, tied, 2)
    begin_from(new, start)
    names = family_of(family).parameters_of_words(start.options)
    assert len(names) == (2 if tied else 3)  # embedding, output weights, output bias
    before, after = (dict(one.captioner.named_parameters()) for one in (start, new))
    for name in names:
        torch.testing.assert_close(after[name][NEW.words.index("okapi")], before[name].mean(dim=0))


@pytest.mark.parametrize("family", families())
def test_what_does_not_fit_is_refused(family: str) -> None:
    start = captioner(family, OLD, False, 1)
    for other in (captioner(family, NEW, True, 2), captioner(family, NEW, False, 2, hidden=16)):
        with pytest.raises(ConfigError, match="what begins from it must be the same"):
            begin_from(other, start)
