"""Options of the paper's tables."""

from __future__ import annotations

from dataclasses import dataclass

from distilcap.encoders.recipes import ENGINES
from distilcap.errors import ConfigError
from distilcap.metrics.registry import named_metrics
from distilcap.options import Options, option
from distilcap.runtime.limits import MAX_SIZE
from distilcap.stages.data import ImportData
from distilcap.stages.features import ExtractFeatures
from distilcap.study.presets import PRESETS, EncoderChoice, table_preset
from distilcap.study.rows import Students

__all__ = ["TableOptions"]


@dataclass(frozen=True)
class TableOptions(Options):
    """Which captioners a table trains, how often, on what, and how they are scored."""

    preset: str = option(
        "paper",
        "Of tables: paper, 30 + 10 epochs as published; flickr8k, both phases, for Flickr8k; quick, short "
        "and narrow, for two CPU cores; smoke, a test, of seconds on the few scenes that it draws.",
        choices=tuple(PRESETS),
    )
    seeds: int | None = option(
        None,
        "Number of times that students are trained.  [default: 3; 1 of `reproduce box`, encoders …]",
        least=1,
        most=1000,
    )
    more_seeds: int | None = option(
        None,
        "Of extra: number of times that the ways named by --more-for, what they are compared with, and all "
        "teachers are trained.",
        least=2,
        most=1000,
    )
    more_for: str = option("", "Of extra: ways of distilling with more seeds, with semicolons between.")
    encoder: str | None = option(
        None, "Of tables: name of the encoder that sees the images.  [default: the preset's]"
    )
    image_size: int | None = option(
        None, "Of tables: side of the encoder's input in pixels.", least=32, most=MAX_SIZE
    )
    encoder_form: str | None = option(None, "Of tables: see `distilcap models --encoders`.")
    encoder_weights: str | None = option(None, "Of tables: file of the encoder's weights.")
    encoder_engine: str | None = option(
        None,
        "Of tables: what runs the encoder: torch, onnxruntime or openvino; on a CPU the last two are two to "
        "three times as fast. Given, large JPEG files are decoded smaller.  [default: torch, whole pictures]",
        choices=ENGINES,
    )
    metrics: str = option(
        "bleu,meteor,rouge_l,cider,spice", "Of tables: metrics with commas between; spice takes longest."
    )

    @property
    def metric_names(self) -> tuple[str, ...]:
        """Those of `metrics`.

        Raises:
            ConfigError: there is none.
        """
        return named_metrics(self.metrics)

    def students(self, data: ImportData, features: ExtractFeatures | None = None) -> Students:
        """Everything about the rows but which they are.

        Args:
            features: of the data; None is what the chosen encoder sees.

        Raises:
            ConfigError: more seeds are asked for, but not of which ways, or they are not more; or the other
                way round.
        """
        seeds = self.seeds or 3
        more_for = tuple(filter(None, map(str.strip, self.more_for.split(";"))))
        if bool(more_for) != (self.more_seeds is not None):
            raise ConfigError("`more_seeds` and `more_for` go together: how many seeds, and of which ways.")
        if self.more_seeds is not None and self.more_seeds <= seeds:
            raise ConfigError(f"`more_seeds` must be above `seeds`, {seeds}, but is {self.more_seeds}.")
        preset = table_preset(self.preset)
        seen = preset.encoder
        if self.encoder not in (None, seen.name):  # comes with its own defaults
            seen = EncoderChoice(str(self.encoder), form=None)
        if features is None:
            features = ExtractFeatures.of(
                data,
                seen.name,
                self.image_size or seen.size,
                self.encoder_weights or seen.weights,
                self.encoder_form or seen.form,
            )
            if self.encoder_engine is not None:
                features = features.by(self.encoder_engine, "reduced")
        more_seeds = tuple(range(self.more_seeds or 0))
        return Students(data, features, preset, tuple(range(seeds)), more_seeds, more_for)
