"""Beam search over a whole batch at once: no loop over images or hypotheses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from distilcap.decode.hypotheses import Hypotheses
from distilcap.errors import ConfigError
from distilcap.models.captioner import Captioner, Memory, take_captions, take_images
from distilcap.models.fast.products import steps_share_weights
from distilcap.models.fast.search import extend as fast_extend
from distilcap.options import option
from distilcap.runtime.decode_options import DecodeOptions
from distilcap.runtime.limits import MAX_BEAM, MAX_LENGTH_PENALTY
from distilcap.shapes import Regions
from distilcap.text.vocabulary import BOS, EOS, PAD

__all__ = ["BeamSearch", "beam_search", "forbidden_tokens", "search_memory"]


@dataclass(frozen=True)
class BeamSearch(DecodeOptions):
    """How to search: the options that a run and its bundle share, and one of the search itself.

    The search prunes by log-probability; length penalty and repeats order the K hypotheses that are left.

    Without these the search of an image ends as soon as the hypotheses that are kept are certain,
    which changes none of them.
    """

    beam_size: int = option(5, "Number of hypotheses kept (K); 1 is greedy.", least=1, most=MAX_BEAM)
    length_penalty: float = option(
        0.0, "See `DecodeOptions`.", least=-MAX_LENGTH_PENALTY, most=MAX_LENGTH_PENALTY
    )
    keep: int = option(0, "Number of hypotheses returned of each image; 0 is all.", least=0)
    precision: str = option(
        "float32",
        "Number format of products; bfloat16 is PyTorch's autocast.",
        choices=("float32", "bfloat16"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.keep > self.beam_size:
            raise ConfigError(f"`keep` must be 0 to `beam_size` {self.beam_size}, but is {self.keep}.")

    @property
    def decisive(self) -> int:
        """Best hypotheses of an image that must have ended before its search may."""
        as_found = not self.length_penalty and not self.avoid_repeats
        return self.keep if self.keep and as_found else self.beam_size


@torch.inference_mode()
def beam_search(
    captioner: Captioner, regions: Regions, options: BeamSearch, ids: Sequence[str] = ()
) -> Hypotheses:
    """Find the K likeliest captions of each image, best first.

    A hypothesis that wrote its end token stays in the beam with its score frozen, so that the K best
    finished and unfinished ones compete by log-probability. An image whose K hypotheses have all ended (or
    the best that are kept) leaves the batch: longer hypotheses could only score lower. Where `K` reaches
    the number of all captions, the search is exhaustive.

    Raises:
        DataError: features, weights or log-probabilities are NaN or infinite; it names images by `ids`.
    """
    bfloat16 = options.precision == "bfloat16"
    with torch.autocast(regions.features.device.type, torch.bfloat16, enabled=bfloat16):
        hypotheses = search_memory(captioner, captioner.encode(regions), options)
    return hypotheses.or_error(captioner, regions, ids)


@torch.inference_mode()
@steps_share_weights()
def search_memory(captioner: Captioner, memory: Memory, options: BeamSearch) -> Hypotheses:
    """`beam_search`, from images that are encoded already."""
    images, device = len(memory[0]), memory[0].device
    best_continuations = fast_extend if captioner.accelerated else extend
    forbidden = torch.tensor(options.forbidden(), device=device)
    tokens = torch.full((images, options.beam_size, options.max_words), PAD, device=device)
    log_probs = torch.full((images, options.beam_size), -torch.inf, device=device)
    # The beam is one empty hypothesis at first, and grows to its width by its best continuations.
    last = torch.full((images, 1), BOS, device=device)
    scores = torch.zeros(images, 1, device=device)
    history = torch.full((images, 1, options.max_words), PAD, device=device)
    state = captioner.initial_state(memory, 1)
    active = torch.arange(images, device=device)  # images still searched
    for length in range(options.max_words):
        logits, state = captioner.step(last, state, memory)
        if logits.dtype == torch.bfloat16:  # whose 8 bits are too few for sums of exponentials
            logits = logits.float()
        finished = (last == EOS) | (last == PAD)
        logits = _move_words(logits, options)
        scores, parents, last = best_continuations(logits, forbidden, scores, finished, options.beam_size)
        if options.beam_size > 1:  # else each hypothesis continues itself
            state = take_captions(state, parents)
            history = history.gather(1, parents[..., None].expand(-1, -1, options.max_words))
        history[:, :, length] = last
        # Scores fall as captions grow, so nothing can overtake the best once they have ended.
        over = ((last == EOS) | (last == PAD))[:, : options.decisive].all(dim=1)
        over |= length + 1 == options.max_words
        ended = over.nonzero()[:, 0]
        if len(ended):
            tokens[active[ended], : history.shape[1]] = history[ended]
            log_probs[active[ended], : scores.shape[1]] = scores[ended].float()
            if len(ended) == len(active):
                break
            going = (~over).nonzero()[:, 0]
            active, last, scores, history = active[going], last[going], scores[going], history[going]
            state, memory = take_images(state, going), take_images(memory, going)
    return _ranked(tokens, log_probs, options)


def forbidden_tokens(allow_unk: bool, device: torch.device) -> Tensor:
    """Ids that no caption may contain: pad, begin and, unless allowed, `<unk>`."""
    return torch.tensor(DecodeOptions(allow_unk=allow_unk).forbidden(), device=device)


def _move_words(logits: Tensor, options: DecodeOptions) -> Tensor:
    """See `runtime.search.move_words`: (…, V)."""
    if not options.moved:
        return logits
    logits = logits.clone()
    for word, instead in options.moved:
        logits[..., instead] = torch.logaddexp(logits[..., instead], logits[..., word])
        logits[..., word] = -torch.inf
    return logits


def extend(
    logits: Tensor, forbidden: Tensor, log_probs: Tensor, finished: Tensor, width: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Choose the best continuations of K hypotheses.

    Args:
        logits: (B, K, V) of the next word.
        forbidden: ids of words that may not follow.
        log_probs: (B, K) of the hypotheses.
        finished: (B, K) whether they have ended; then they go on with pads, at no cost.
        width: how many to choose: K' is this, or K x V where that is less.

    Returns:
        Scores, indices in the old beam, and words, each (B, K').
    """
    count, words = logits.shape[1:]
    # log p(caption, word) = log p(caption) + log softmax(logits)[word]
    following = logits.log_softmax(dim=-1).index_fill(2, forbidden, -torch.inf)
    only_pad = torch.full_like(following[0, 0], -torch.inf)
    only_pad[PAD] = 0.0
    scores = log_probs[..., None] + torch.where(finished[..., None], only_pad, following)
    scores, chosen = scores.flatten(1).topk(min(width, count * words), dim=-1)
    return scores, chosen // words, chosen % words


def _repeats(tokens: Tensor) -> Tensor:
    """See `runtime.search.repeats`: (B, K, T) to (B, K)."""
    first, second = tokens[..., :-1], tokens[..., 1:]
    places = torch.arange(second.shape[-1], device=tokens.device)
    pairs = torch.where(second == PAD, -1 - places, (first << 32) + second).sort(dim=-1).values
    return (pairs[..., 1:] == pairs[..., :-1]).any(dim=-1)


def _ranked(tokens: Tensor, log_probs: Tensor, options: BeamSearch) -> Hypotheses:
    if options.length_penalty or options.avoid_repeats:
        lengths = (tokens != PAD).sum(dim=-1).clamp(min=1)
        order = (log_probs / lengths**options.length_penalty).argsort(dim=-1, descending=True, stable=True)
        if options.avoid_repeats:  # impossible hypotheses stay last
            behind = (_repeats(tokens) | log_probs.isneginf()).byte().gather(1, order)
            order = order.gather(1, behind.argsort(dim=-1, stable=True))
        tokens = tokens.gather(1, order[..., None].expand_as(tokens))
        log_probs = log_probs.gather(1, order)
    keep = options.keep or options.beam_size
    return Hypotheses(tokens[:, :keep], log_probs[:, :keep])
