"""Batches of images with their captions as ids, in an order that depends on seed and epoch alone."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from distilcap.data.captions import CaptionSet
from distilcap.errors import DataError
from distilcap.text.vocabulary import BOS, EOS, PAD, UNK, Vocabulary

__all__ = ["Batch", "Batches", "EncodedCaptions", "encode_captions"]

EncodedCaptions = Mapping[str, Sequence[Sequence[int]]]
"""Ids of each caption of each image."""


def encode_captions(
    captions: CaptionSet, vocabulary: Vocabulary, max_words: int | None, unknown: int = UNK
) -> EncodedCaptions:
    """Tokenize and number captions; empty captions are dropped.

    An end token closes a caption, unless it was cut at `max_words`. Without `max_words` captions are whole
    and have no end token: that is what a reward takes as references, and it counts the end itself.

    Args:
        unknown: id of a word that the vocabulary does not have.
    """
    encoded = {}
    for image_id in captions:
        encodings = []
        for text in captions.texts(image_id):
            words = vocabulary.words_of(text)
            if words:
                ended = [EOS] if max_words is not None and len(words) <= max_words else []
                ids = vocabulary.encode(words, max_words)
                encodings.append([unknown if id == UNK else id for id in ids] + ended)
        if encodings:
            encoded[image_id] = encodings
    return encoded


@dataclass(frozen=True)
class Batch:
    """B images with K captions each.

    Attributes:
        ids: of the images.
        inputs: (B, K, T) ids that begin with the begin token.
        targets: (B, K, T) the ids that should follow; pads do not count.
    """

    ids: tuple[str, ...]
    inputs: Tensor
    targets: Tensor

    def rows(self, rows: Sequence[int]) -> Batch:
        """The batch of some of the images."""
        chosen = list(rows)
        return Batch(tuple(self.ids[row] for row in chosen), self.inputs[chosen], self.targets[chosen])


class Batches:
    """Epochs of batches over images that have captions.

    An epoch has each image once, with K of its captions drawn anew; an image that has fewer gets rows of pads
    beside them.

    Args:
        captions: of each image, as `encode_captions` gives them.
        batch_images: B; the last batch of an epoch may have fewer.
        captions_per_image: K, or the most captions that any image has where these are fewer.
        seed: of the order of images and the choice of captions.

    Raises:
        DataError: there is no caption.
    """

    def __init__(
        self, captions: EncodedCaptions, batch_images: int, captions_per_image: int, seed: int
    ) -> None:
        if not captions:
            raise DataError("There is no caption to train on: all are empty.")
        self.captions, self.ids = captions, tuple(captions)
        self.batch_images, self.captions_per_image, self.seed = batch_images, captions_per_image, seed
        # Fewer than asked where no image has so many: one pseudo-caption an image makes K = 1.
        self.width = min(captions_per_image, max(map(len, captions.values())))

    def __len__(self) -> int:
        return -(-len(self.ids) // self.batch_images)

    def epoch(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """Yield the batches of one epoch from number `start` on."""
        order = np.random.default_rng((self.seed, epoch)).permutation(len(self.ids))
        for number in range(start, len(self)):
            rows = order[number * self.batch_images : (number + 1) * self.batch_images]
            # A generator of the batch's own, so that a resumed epoch chooses the same captions.
            chooser = np.random.default_rng((self.seed, epoch, number))
            yield self._batch([self.ids[row] for row in rows], chooser)

    def _batch(self, ids: list[str], chooser: np.random.Generator) -> Batch:
        chosen = []
        for image_id in ids:
            of_image = self.captions[image_id]
            order = chooser.permutation(len(of_image))[: self.width]
            chosen.append([of_image[index] for index in order])
        longest = max(len(caption) for of_image in chosen for caption in of_image)
        filled = np.full((len(ids), self.width, longest), PAD)
        for row, of_image in enumerate(chosen):
            for column, caption in enumerate(of_image):
                filled[row, column, : len(caption)] = caption
        targets = torch.from_numpy(filled)
        inputs = torch.cat([torch.full_like(targets[..., :1], BOS), targets[..., :-1]], dim=-1)
        return Batch(tuple(ids), inputs, targets)
