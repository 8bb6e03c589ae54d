"""What a stage says of itself before it is built: how much work it is, and in a few words what it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

__all__ = ["Facts", "Plannable", "Work"]


@dataclass(frozen=True)
class Facts:
    """What costs depend on, beside the stages themselves.

    Attributes:
        images: of each split.
        captions: of an image that has any.
        words: of the vocabulary.
        regions, dim: of an image's features.
        pixels: of an image that the encoder sees.
        uncaptioned: training images without captions, which only labels tell something of.
    """

    images: dict[str, int]
    captions: float
    words: int
    regions: int
    dim: int
    pixels: int
    uncaptioned: int = 0

    @property
    def captioned(self) -> int:
        """Training images with captions."""
        return self.images["train"] - self.uncaptioned

    @property
    def all_images(self) -> int:
        """Images of all splits."""
        return sum(self.images.values())


@dataclass(frozen=True)
class Work:
    """What building a stage takes.

    Attributes:
        amount: in the unit of the stage's `rate`.
        megabytes: that it will take on disk.
        comparable: whether the time that it took says how fast others of its rate are.
    """

    amount: float = 1.0
    megabytes: float = 0.01
    comparable: bool = True


class Plannable:
    """The part of a stage that a plan reads; a stage that says nothing takes a second."""

    rate: ClassVar[float] = 1.0
    """Work in a second of one core of a 2025 server. Subclasses that do not set their own share it, and are
    measured together."""

    def work(self, facts: Facts) -> Work:
        """What building it takes; good to a factor of two."""
        return Work()

    def describe(self) -> str:
        """What it makes, in a few words."""
        return ""

    @classmethod
    def rate_owner(cls) -> type:
        """The class that sets its rate: the kind of stage that it is measured with."""
        return next(parent for parent in cls.__mro__ if "rate" in vars(parent))
