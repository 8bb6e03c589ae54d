"""The scores that the paper prints, times 100, on COCO's Karpathy test split (Atliha & Šešok 2022)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

__all__ = ["TABLE_1", "TABLE_2", "TABLE_3", "TABLE_4", "Printed"]


@dataclass(frozen=True)
class Printed:
    """One row of a table, in the order of its columns: B@4, M, R, C, S."""

    bleu_4: float
    meteor: float
    rouge_l: float
    cider: float
    spice: float

    def as_scores(self) -> dict[str, float]:
        """By metric, in the official toolkit's scale (0 to 1, CIDEr 0 to 10)."""
        return {name: value / 100 for name, value in asdict(self).items()}


# By size, and beam width of the labels; None is "-", trained on the original captions.
TABLE_1: Mapping[tuple[str, int | None], Printed] = {
    ("medium", None): Printed(35.2, 27.1, 56.1, 119.2, 20.9),
    ("medium", 1): Printed(35.6, 27.1, 56.5, 117.6, 20.8),
    ("medium", 3): Printed(35.9, 27.1, 56.6, 118.4, 20.7),
    ("medium", 5): Printed(35.4, 26.9, 56.2, 117.6, 20.6),
    ("medium", 10): Printed(35.8, 27.1, 56.6, 118.5, 20.8),
    ("small", None): Printed(33.6, 26.2, 55.5, 114.3, 19.8),
    ("small", 1): Printed(35.2, 26.8, 56.2, 116.0, 20.3),
    ("small", 3): Printed(35.2, 26.7, 56.1, 115.6, 20.4),
    ("small", 5): Printed(35.3, 26.7, 56.1, 115.8, 20.4),
    ("small", 10): Printed(35.4, 26.9, 56.3, 116.6, 20.5),
}
"""Up-Down, taught by a big Up-Down."""

TABLE_2: Mapping[tuple[str, int | None], Printed] = {
    ("medium", None): Printed(38.5, 28.5, 58.3, 129.1, 22.1),
    ("medium", 1): Printed(37.9, 28.3, 57.8, 126.3, 21.8),
    ("medium", 3): Printed(37.6, 28.1, 57.6, 125.3, 21.6),
    ("medium", 5): Printed(37.8, 28.3, 57.9, 125.9, 21.8),
    ("medium", 10): Printed(38.0, 28.3, 57.8, 126.3, 21.7),
    ("small", None): Printed(36.6, 27.6, 57.4, 122.9, 20.9),
    ("small", 1): Printed(37.3, 28.0, 57.4, 124.3, 21.5),
    ("small", 3): Printed(37.5, 28.0, 57.5, 124.5, 21.5),
    ("small", 5): Printed(37.4, 27.9, 57.3, 124.2, 21.5),
    ("small", 10): Printed(37.2, 28.0, 57.4, 123.8, 21.5),
}
"""AoANet, taught by a big AoANet."""

TABLE_3: Mapping[tuple[str, str], Printed] = {
    ("updown", "medium"): Printed(36.6, 27.3, 57.2, 119.7, 20.9),
    ("updown", "small"): Printed(35.3, 27.0, 56.3, 116.8, 20.6),
    ("aoanet", "medium"): Printed(37.0, 28.0, 57.1, 123.5, 21.7),
    ("aoanet", "small"): Printed(37.0, 27.8, 57.3, 122.8, 21.4),
}
"""By the student's family and size; the teacher is the big captioner of the other family."""

TABLE_4: Mapping[tuple[str, str], Printed] = {
    ("updown", "original"): Printed(34.7, 26.6, 55.9, 114.9, 20.3),
    ("updown", "distilled"): Printed(35.2, 26.8, 56.2, 115.5, 20.3),
    ("aoanet", "original"): Printed(37.3, 27.9, 57.2, 123.4, 21.3),
    ("aoanet", "distilled"): Printed(37.0, 27.8, 57.1, 122.7, 21.4),
}
"""Small students, by family and by what their medium teacher learnt from."""
