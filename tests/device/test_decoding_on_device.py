"""Captions on a device that is not the CPU: those of the CPU, with few waits."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from device_waits import check, draws_as_the_cpu, waiting
from small_captioners import sure_captioner
from test_training_on_device import CAPTIONS, DIM, VOCABULARY, Pictures

from distilcap.data.captions import CaptionSet
from distilcap.decode.beam import BeamSearch
from distilcap.decode.captions import caption_images
from distilcap.errors import DataError
from distilcap.models.captioner import Captioner
from distilcap.models.families import families
from distilcap.models.fast import accelerate
from distilcap.teachers.ensemble import Ensemble
from distilcap.teachers.sampling import draw_captions

MOST = 6
IDS = tuple(CAPTIONS)
DECODERS: dict[str, Callable[[Captioner], CaptionSet]] = {
    "greedy": lambda captioner: caption_images(captioner, VOCABULARY, Pictures(), IDS, BeamSearch(1, MOST)),
    "beam": lambda captioner: caption_images(
        captioner, VOCABULARY, Pictures(), IDS, BeamSearch(3, MOST, length_penalty=0.7), n_best=2
    ),
    "bfloat16": lambda captioner: caption_images(
        captioner, VOCABULARY, Pictures(), IDS, BeamSearch(2, MOST, precision="bfloat16")
    ),
    "sampling": lambda captioner: draw_captions(
        captioner, VOCABULARY, Pictures(), IDS, captions=3, max_words=MOST, temperature=0.8, seed=2
    ),
}


def captioner_of(family: str, path: str) -> Captioner:
    captioner = sure_captioner(family, len(VOCABULARY), DIM)
    return captioner if path == "plain" else accelerate(captioner)


@pytest.mark.parametrize("path", ["plain", "accelerated"])
@pytest.mark.parametrize("family", families())
@pytest.mark.parametrize("decoder", DECODERS)
def test_captions_are_those_of_the_cpu(decoder: str, family: str, path: str, device: torch.device) -> None:
    captioner = captioner_of(family, path)
    expected = DECODERS[decoder](copy.deepcopy(captioner))
    with waiting() as waits:
        captions = DECODERS[decoder](captioner.to(device))
    check(waits, word=MOST, image=len(IDS), batch=1)
    if decoder == "sampling" and not draws_as_the_cpu(device):
        pytest.skip("a GPU draws other captions")
    for image in IDS:
        for caption, wanted in zip(captions[image], expected[image], strict=True):
            rounded = 0.2 if decoder == "bfloat16" else 1e-3
            assert caption.log_prob == pytest.approx(wanted.log_prob, abs=rounded)
            assert caption.text == wanted.text


def test_ensembles_caption_on_the_device(device: torch.device) -> None:
    ensemble = Ensemble([captioner_of(family, "accelerated") for family in families()])
    expected = DECODERS["beam"](copy.deepcopy(ensemble))
    captions = DECODERS["beam"](ensemble.to(device))
    assert {id: captions.texts(id) for id in IDS} == {id: expected.texts(id) for id in IDS}


def test_what_is_damaged_is_named_on_the_device(device: torch.device) -> None:
    captioner = captioner_of("updown", "accelerated").to(device)
    with torch.no_grad():
        captioner.get_parameter("keys.bias")[0] = torch.nan
    with pytest.raises(DataError, match=r"weight `keys.bias` holds NaN"):
        DECODERS["greedy"](captioner)
