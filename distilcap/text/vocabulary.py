"""Words and their ids, with four distinct special tokens."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from distilcap.errors import ConfigError, DataError
from distilcap.files import read_json
from distilcap.text.tokenizers import PTB, Tokenizer, tokenizer_of
from distilcap.text.unspaced import join_words

__all__ = ["BOS", "EOS", "PAD", "SPECIALS", "UNK", "Vocabulary"]

PAD, BOS, EOS, UNK = 0, 1, 2, 3
SPECIALS = ("<pad>", "<bos>", "<eos>", "<unk>")
_PTB = tokenizer_of(PTB)


@dataclass(frozen=True)
class Vocabulary:
    """The words a captioner knows; a word's id is its index.

    Attributes:
        words: all words, the four of `SPECIALS` first.
        tokenizer: its name; captions became words by it.
        spaced: of the tokenizer, so that captions can be written where it is not registered.
    """

    words: tuple[str, ...]
    tokenizer: str = PTB
    spaced: bool = True
    _ids: dict[str, int] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.words[: len(SPECIALS)] != SPECIALS:
            raise ConfigError(f"`words` must begin with {' '.join(SPECIALS)}.")
        if len(set(self.words)) != len(self.words):
            raise ConfigError("`words` must be distinct.")
        # No text can name a token of the captioner's own; a model's sentences hold such.
        written = {word: id for id, word in enumerate(self.words) if id not in (PAD, BOS, EOS)}
        object.__setattr__(self, "_ids", written)

    @staticmethod
    def load(path: Path, tokenizer: Tokenizer = _PTB) -> Vocabulary:
        """Read a list of words, as a run's `words.json` holds it.

        Raises:
            DataError: the file is missing or is no such list.
        """
        words = read_json(path)
        try:
            if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
                raise ConfigError("it must be a list of words.")
            return Vocabulary(tuple(words), tokenizer.name, tokenizer.spaced)
        except ConfigError as error:
            raise DataError(f"{path}: not a vocabulary: {error}") from None

    @staticmethod
    def build(
        captions: Iterable[Sequence[str]], min_count: int = 5, tokenizer: Tokenizer = _PTB
    ) -> Vocabulary:
        """Keep the words seen at least `min_count` times, most frequent first, ties by the alphabet.

        `min_count` 5 is the paper's "words that occurred less than five times" become `<unk>`.
        """
        if min_count < 1:
            raise ConfigError(f"`min_count` must be at least 1, but is {min_count}.")
        counts = Counter(word for words in captions for word in words if word not in SPECIALS)
        kept = sorted((-count, word) for word, count in counts.items() if count >= min_count)
        return Vocabulary(SPECIALS + tuple(word for _, word in kept), tokenizer.name, tokenizer.spaced)

    def __len__(self) -> int:
        return len(self.words)

    def words_of(self, caption: str) -> list[str]:
        """Split a caption; a captioner's own `<unk>` is one word, though the tokenizer would split it."""
        tokenizer = tokenizer_of(self.tokenizer)
        return tokenizer.written_words(caption) if SPECIALS[UNK] in caption else tokenizer.words(caption)

    def encode(self, words: Sequence[str], max_words: int | None = None) -> list[int]:
        """Return the ids of the first `max_words` words, without begin and end tokens."""
        return [self._ids.get(word, UNK) for word in words[:max_words]]

    def decode(self, tokens: Iterable[int]) -> str:
        """Join the words up to the first end token; begin and pad tokens are left out."""
        words = []
        for token in tokens:
            if token == EOS:
                break
            if token not in (PAD, BOS):
                words.append(self.words[token])
        return join_words(words, self.spaced)
