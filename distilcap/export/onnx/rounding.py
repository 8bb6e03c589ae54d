"""Weights as steps of int8, and which way to round them so that a layer's outputs stay where they are.

Rows have a scale each, the largest absolute value / 127 (symmetric, as Krishnamoorthi 2018, section 3.1.1,
per channel). Where a layer's inputs x are known, its weights W become W' by GPTQ (Frantar et al. 2023, arXiv
2210.17323, algorithm 1), which makes E |(W - W') (x - E x)|^2 small instead of |W - W'|; the mean that is
left goes into the bias. Columns have a scale there as well: an input that varies little has large weights,
which would set the steps of whole rows. It is the root of the column's largest, so that rows and columns
share the work.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Moments", "Rounded", "round_by_inputs", "round_rows"]

_STEPS = 127
_DAMPING = 0.1  # of the mean variance; GPTQ's 0.01 follows few pictures too closely (docs/log.md)
_LEAST_COLUMN = 1e-3  # of the largest: an input without weights gets a scale that is still a number


@dataclass(frozen=True)
class Moments:
    """Mean (K) and covariance (K, K) of a layer's inputs."""

    mean: NDArray[np.float64]
    covariance: NDArray[np.float64]


@dataclass(frozen=True)
class Rounded:
    """A matrix (N, K, …) as steps, times scales of rows (N, 1, …) and, where given, of columns (1, K, …)."""

    steps: NDArray[np.int8]
    rows: NDArray[np.float32]
    columns: NDArray[np.float32] | None = None

    @property
    def matrix(self) -> NDArray[np.float32]:
        """What the steps stand for."""
        scaled: NDArray[np.float32] = self.steps * self.rows
        return scaled if self.columns is None else scaled * self.columns

    def convolution(self) -> Rounded:
        """A matrix (N, K) as the weights (N, K, 1, 1) of a convolution."""
        columns = None if self.columns is None else self.columns[:, :, None, None]
        return Rounded(self.steps[:, :, None, None], self.rows[:, :, None, None], columns)


def round_rows(matrix: NDArray[np.float32]) -> Rounded:
    """Each weight (N, …) to the nearest step of its row."""
    rows = _row_scales(matrix)
    return Rounded(np.rint(matrix / rows).astype(np.int8), rows)


def _row_scales(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    largest = np.abs(matrix).max(axis=tuple(range(1, matrix.ndim)), keepdims=True)
    scales: NDArray[np.float32] = np.maximum(largest / _STEPS, np.finfo(np.float32).tiny).astype(np.float32)
    return scales


def round_by_inputs(matrix: NDArray[np.float32], inputs: Moments) -> Rounded:
    """A matrix (N, K) to steps with which the product with such inputs varies as before.

    Columns are rounded one after the other, those of the most varying inputs first, and what the outputs lose
    by each is made up for, as far as inputs vary together, by the columns that are not rounded yet.
    """
    largest = np.abs(matrix).max(0)
    columns = np.sqrt(np.maximum(largest, _LEAST_COLUMN * largest.max() or 1)).astype(np.float32)[None]
    scaled = matrix / columns
    rows = _row_scales(scaled)
    covariance = inputs.covariance * columns * columns.T
    covariance += np.eye(len(covariance)) * (_DAMPING * np.diag(covariance).mean() or 1)
    order = np.argsort(-np.diag(covariance))
    inverse = np.linalg.inv(covariance[np.ix_(order, order)])
    upper = np.linalg.cholesky(inverse).T
    left = scaled[:, order].astype(np.float64)
    steps = np.empty(matrix.shape, np.int8)
    for index, column in enumerate(order):
        rounded = np.rint(left[:, index] / rows[:, 0]).clip(-_STEPS, _STEPS)
        steps[:, column] = rounded
        lost = (left[:, index] - rounded * rows[:, 0]) / upper[index, index]
        left[:, index + 1 :] -= np.outer(lost, upper[index, index + 1 :])
    return Rounded(steps, rows, columns)
