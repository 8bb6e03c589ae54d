"""Options of labelling photographs, readable without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from distilcap.encoders.recipes import ENGINES
from distilcap.errors import ConfigError
from distilcap.options import Options, option
from distilcap.runtime.limits import MAX_BEAM
from distilcap.teachers.shard_files import Shard

__all__ = ["LabelOptions"]


@dataclass(frozen=True)
class LabelOptions(Options):
    """How a teacher captions images, and in how many parts."""

    beam_size: int = option(
        5,
        "Number of hypotheses kept while searching; 1 is greedy.",
        least=1,
        most=MAX_BEAM,
        aliases=("--beam",),
    )
    n_best: int = option(1, "Number of captions kept of each image.", least=1, most=MAX_BEAM)
    shards: int = option(
        1, "With --images: number of parts that the images are divided into.", least=1, most=1_000_000
    )
    shard: int = option(0, "With --images: number of the part to make, from 0.", least=0)
    batch_images: int = option(32, "With --images: number of images captioned at once.", least=1, most=65_536)
    threads: int = option(
        2,
        "With --images: number of threads that decode images, and of those that encode them.",
        least=1,
        most=256,
    )
    encoder_engine: str | None = option(
        None,
        "With --images: what runs a run's encoder.  [default: onnxruntime on a CPU, torch on a GPU]",
        choices=ENGINES,
    )
    precision: str | None = option(
        None,
        "Number format of a run's products; auto is bfloat16 where the processor or GPU has units for it.  "
        "[default: the run's own; with --images float32]",
        choices=("float32", "bfloat16", "auto"),
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.n_best > self.beam_size:
            raise ConfigError(
                f"`n_best` must be at most `beam_size` ({self.beam_size}), but is {self.n_best}."
            )
        self.part  # noqa: B018 - refuses a part outside the shards

    @property
    def part(self) -> Shard:
        """The part of the images that is captioned."""
        return Shard(self.shard, self.shards)
