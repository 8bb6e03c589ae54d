"""How captions are searched for: options that a run and its bundle share, and what a person chooses."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any

from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.progress import SILENT, Progress
from distilcap.runtime.fields import Fields
from distilcap.runtime.limits import MAX_BEAM, MAX_LENGTH_PENALTY, MAX_WORDS
from distilcap.runtime.never_write import NEVER_WRITE, Blocked, blocked_ids, blocked_words, never_written
from distilcap.text.people import NEUTRAL_PEOPLE
from distilcap.text.vocabulary import BOS, PAD, SPECIALS, UNK, Vocabulary

AVOID_REPEATS = "hypotheses that write a pair of words twice rank behind all others of their beam."

__all__ = ["BeamChoice", "DecodeChoice", "DecodeOptions", "beam_option"]


@dataclass(frozen=True)
class DecodeOptions(Options):
    """How captions are searched for, from training (`decode.beam.BeamSearch`) to the bundle."""

    beam_size: int = option(
        3, "Number of hypotheses kept while searching (K); 1 is greedy.", least=1, most=MAX_BEAM
    )
    max_words: int = option(
        20, "Number of words at which a caption stops, with or without an end token.", least=1, most=MAX_WORDS
    )
    length_penalty: float = option(
        0.7,
        "Exponent p: captions are ranked by log-probability / length^p, the end token counted (Wu et al. "
        "2016 use a similar form); 0 ranks by log-probability alone.",
        least=-MAX_LENGTH_PENALTY,
        most=MAX_LENGTH_PENALTY,
    )
    allow_unk: bool = option(False, "Whether `<unk>` may be written.")
    blocked: Blocked = ()
    avoid_repeats: bool = option(False, f"Whether {AVOID_REPEATS}")

    def __post_init__(self) -> None:
        super().__post_init__()
        words = {word for word, _ in self.blocked}
        if any(word < len(SPECIALS) for word in words) or words & {instead for _, instead in self.blocked}:
            raise ConfigError(f"`blocked` must be ids from {len(SPECIALS)}, and ids that are not blocked.")

    @property
    def moved(self) -> Blocked:
        """Those of the blocked words whose probability goes to another."""
        return tuple(pair for pair in self.blocked if pair[1] != PAD)

    def forbidden(self) -> list[int]:
        """Ids that no caption may contain: pad, begin, unless allowed `<unk>`, and those that are blocked."""
        return [PAD, BOS, *([] if self.allow_unk else [UNK]), *(word for word, _ in self.blocked)]

    def to_json(self, vocabulary: Vocabulary) -> dict[str, Any]:
        """As bundles name the fields, with words instead of ids."""
        plain = dataclasses.asdict(self)
        plain["never_write"] = never_written(plain.pop("blocked"), vocabulary)
        if not self.avoid_repeats:  # programs that do not know it open what does without
            del plain["avoid_repeats"]
        return {"width": plain.pop("beam_size"), **plain}

    @staticmethod
    def from_json(content: Fields, vocabulary: Vocabulary, version: int) -> DecodeOptions:
        """Read the fields of a JSON object; BundleError where one is missing, unknown or out of range.

        Args:
            version: of the manifest; 1 names neither words that are never written nor `avoid_repeats`.
        """
        never = ("never_write",) if version > 1 else ()
        avoid = ("avoid_repeats",) if version > 1 and "avoid_repeats" in content.content else ()
        content.only("width", "max_words", "length_penalty", "allow_unk", *avoid, *never)
        words = _never_write(content.object("never_write", len(vocabulary))) if never else {}
        blocked = blocked_ids(words, vocabulary)
        if never_written(blocked, vocabulary) != words:
            content.refuse("decode.never_write", "words of the vocabulary, with others or null", words)
        return DecodeOptions(
            beam_size=content.integer("width", 1, MAX_BEAM),  # its name in bundles
            max_words=content.integer("max_words", 1, MAX_WORDS),
            length_penalty=content.number("length_penalty", -MAX_LENGTH_PENALTY, MAX_LENGTH_PENALTY),
            allow_unk=content.boolean("allow_unk"),
            blocked=blocked,
            avoid_repeats=bool(avoid) and content.boolean("avoid_repeats"),
        )


def _never_write(content: Fields) -> dict[str, str | None]:
    return {word: content.text(word) if content.has(word) else None for word in content.content}


def beam_option(default: int | None, otherwise: str = "") -> Any:
    """The field `beam_size` of an option class; `otherwise` says in words what None is."""
    return option(
        default,
        f"Number of hypotheses kept while searching; 1 is greedy.{otherwise}",
        least=1,
        most=MAX_BEAM,
        aliases=("--beam",),
    )


def n_best_option() -> Any:
    """The field `n_best` of an option class."""
    return option(1, "Number of captions kept of each image.", least=1, most=MAX_BEAM)


def length_penalty_option(otherwise: str) -> Any:
    """The field `length_penalty` of an option class; `otherwise` says in words what None is."""
    return option(
        None,
        f"Exponent p: captions are ranked by log-probability / length^p.  [default: {otherwise}]",
        least=-MAX_LENGTH_PENALTY,
        most=MAX_LENGTH_PENALTY,
    )


def _check_n_best(n_best: int, beam_size: int) -> None:
    if n_best > beam_size:
        raise ConfigError(f"`n_best` must be at most `beam_size` ({beam_size}), but is {n_best}.")


@dataclass(frozen=True)
class BeamChoice(Options):
    """How wide a beam is, and how many of its captions are wanted."""

    beam_size: int = beam_option(3)
    n_best: int = n_best_option()

    def __post_init__(self) -> None:
        super().__post_init__()
        _check_n_best(self.n_best, self.beam_size)


@dataclass(frozen=True)
class DecodeChoice(Options):
    """What a person chooses of a search; what is None stays as the run or the bundle has it."""

    beam_size: int | None = beam_option(None, "  [default: the bundle's; of a run 3]")
    n_best: int = n_best_option()
    max_words: int | None = option(
        None, "Number of words at which a caption stops.  [default: as in training]", least=1, most=MAX_WORDS
    )
    length_penalty: float | None = length_penalty_option("chosen on validation, or the bundle's")
    never_write: tuple[str, ...] = option((), NEVER_WRITE)
    neutral_people: bool = option(False, f"Write {NEUTRAL_PEOPLE}.")
    avoid_repeats: bool | None = option(
        None, f"Whether {AVOID_REPEATS}  [default: as the bundle, where `export` has it so; of a run no]"
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.beam_size is not None:
            _check_n_best(self.n_best, self.beam_size)

    def over(
        self, options: DecodeOptions, vocabulary: Vocabulary, progress: Progress = SILENT
    ) -> DecodeOptions:
        """The given options with what was chosen in their stead; words that these block stay blocked.

        Args:
            vocabulary: of the captioner.
            progress: hears of words that are not in it.

        Raises:
            ConfigError: neutral words for people, but the captioner's language has no list of them; or more
                captions are wanted than the search keeps hypotheses.
            DataError: a file of words cannot be read.
        """
        names = ("beam_size", "max_words", "length_penalty", "avoid_repeats")
        chosen: dict[str, Any] = {name: getattr(self, name) for name in names}
        known = {name: value for name, value in chosen.items() if value is not None}
        blocked = blocked_words(self.never_write, self.neutral_people, vocabulary, progress)
        words = never_written(options.blocked, vocabulary) | never_written(blocked, vocabulary)
        known["blocked"] = blocked_ids(words, vocabulary)
        searched = dataclasses.replace(options, **known)
        _check_n_best(self.n_best, searched.beam_size)
        return searched

    @property
    def beam_of_run(self) -> int:
        """The beam size for a run, which has none of its own."""
        return self.beam_size or DecodeOptions.beam_size
