"""Options of labelling photographs, readable without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass

from distilcap.encoders.recipes import ENGINES
from distilcap.options import option
from distilcap.runtime.decode_options import BeamChoice, beam_option, length_penalty_option
from distilcap.runtime.never_write import NEVER_WRITE
from distilcap.teachers.shard_files import Shard
from distilcap.text.people import NEUTRAL_PEOPLE

__all__ = ["LabelOptions"]


@dataclass(frozen=True)
class LabelOptions(BeamChoice):
    """How a teacher captions images, and in how many parts."""

    beam_size: int = beam_option(5)
    length_penalty: float | None = length_penalty_option(
        "chosen on validation; with --images as parts that are there"
    )
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
        "Number format of a run's products; auto is bfloat16 where the processor has units for it, float32 "
        "on a GPU.  [default: the run's own; with --images float32]",
        choices=("float32", "bfloat16", "auto"),
    )

    never_write: tuple[str, ...] = option((), f"Of a run: {NEVER_WRITE[0].lower()}{NEVER_WRITE[1:]}")
    neutral_people: bool = option(False, f"Rewrite captions: {NEUTRAL_PEOPLE}.")

    def __post_init__(self) -> None:
        super().__post_init__()
        self.part  # noqa: B018 - refuses a part outside the shards

    @property
    def part(self) -> Shard:
        """The part of the images that is captioned."""
        return Shard(self.shard, self.shards)
