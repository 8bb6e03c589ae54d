"""Whether a bundle says what the captioner it was made from says, caption by caption, and how well."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np
import torch

from distilcap.data.captions import Caption, CaptionSet
from distilcap.decode.beam import BeamSearch, beam_search
from distilcap.encoders.base import Encoder
from distilcap.models.weights import TrainedCaptioner
from distilcap.runtime.bundle import Bundle, BundleCaption
from distilcap.runtime.pixels import Bytes, normalise

__all__ = ["Comparison", "compare"]

TIE = 1e-3  # nats: two captions this close in log-probability are equally good to either program


@dataclass
class Comparison:
    """What PyTorch and a bundle say of the same images.

    Attributes:
        images: how many.
        beam: images whose best caption of the beam is the same, token by token, or tied.
        greedy: the same of the single greedy graph.
        ties: captions that differ in tokens, but by at most `TIE` nats in log-probability.
        largest: largest difference of log-probability where tokens agree, in nats.
        differing: the first to differ: image, PyTorch's caption, the bundle's caption.
        ours: PyTorch's best captions of the beam. theirs: the bundle's.
    """

    images: int = 0
    beam: int = 0
    greedy: int = 0
    ties: int = 0
    largest: float = 0.0
    differing: tuple[str, str, str] | None = None
    ours: dict[str, Caption] = field(default_factory=dict)
    theirs: dict[str, BundleCaption] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every caption agrees."""
        return self.beam == self.greedy == self.images

    def captions(self) -> tuple[CaptionSet, CaptionSet]:
        """PyTorch's and the bundle's, to be scored."""
        ours = CaptionSet({name: (caption,) for name, caption in self.ours.items()})
        theirs = {name: (Caption(caption.text, caption.log_prob),) for name, caption in self.theirs.items()}
        return ours, CaptionSet(theirs)

    def __str__(self) -> str:
        return (
            f"{self.beam} of {self.images} beam captions and {self.greedy} of {self.images} greedy captions "
            f"equal PyTorch's ({self.ties} ties; log-probabilities within {self.largest:.1g} nats)"
        )


@torch.inference_mode()
def compare(
    encoder: Encoder,
    trained: TrainedCaptioner,
    bundle: Bundle,
    pictures: Iterable[tuple[str, Bytes]],
    batch_images: int = 8,
) -> Comparison:
    """Caption pictures by PyTorch and by the bundle.

    Args:
        pictures: names and (S, S, 3) bytes.
    """
    options = bundle.manifest.decode
    searches = {
        "beam": BeamSearch(**asdict(options)),
        "greedy": BeamSearch(**asdict(options) | {"beam_size": 1, "length_penalty": 0.0}),
    }
    comparison = Comparison()
    pictures = iter(pictures)
    while batch := list(itertools.islice(pictures, batch_images)):
        names, images = zip(*batch, strict=True)
        pixels = np.stack(images)
        seen = encoder(torch.from_numpy(normalise(pixels, bundle.manifest.preprocessing)))
        other_seen = bundle.see(pixels, names)
        theirs = {
            "beam": bundle.search(other_seen, names=names),
            "greedy": bundle.greedy(other_seen, names),
        }
        for kind, search in searches.items():
            ours = beam_search(trained.captioner, seen, search)
            for row, (name, _) in enumerate(batch):
                mine = ours.tokens[row, 0].tolist(), ours.log_probs[row, 0].item()
                other = theirs[kind].tokens[row, 0].tolist(), float(theirs[kind].log_probs[row, 0])
                _count(comparison, kind, name, trained, mine, other)
    return comparison


def _count(
    comparison: Comparison,
    kind: str,
    name: str,
    trained: TrainedCaptioner,
    mine: tuple[Sequence[int], float],
    other: tuple[Sequence[int], float],
) -> None:
    decode = trained.vocabulary.decode
    same = [token for token in mine[0] if token] == [token for token in other[0] if token]
    gap = abs(mine[1] - other[1])
    if same:
        comparison.largest = max(comparison.largest, gap)
    elif gap <= TIE:
        comparison.ties += 1
    elif comparison.differing is None:
        comparison.differing = (name, decode(mine[0]), decode(other[0]))
    agrees = int(same or gap <= TIE)
    if kind == "greedy":
        comparison.greedy += agrees
        return
    comparison.beam += agrees
    comparison.images += 1
    comparison.ours[name] = Caption(decode(mine[0]), mine[1])
    tokens = tuple(token for token in other[0] if token)
    comparison.theirs[name] = BundleCaption(decode(other[0]), other[1], tokens)
