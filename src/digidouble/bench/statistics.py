"""Small statistics: means that pass over NaN, and the paired bootstrap behind `bench compare`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

ROUNDS = 4000


@dataclass(frozen=True)
class Interval:
    """A mean and its 95 % bootstrap interval over `count` items."""

    mean: float
    low: float
    high: float
    count: int

    @property
    def clear(self) -> bool:
        """The interval does not hold zero."""
        return self.low > 0 or self.high < 0


def finite_mean(values: Sequence[float] | Float[np.ndarray, "..."]) -> float:
    """Mean over finite values; NaN where there are none."""
    v = np.asarray(values, np.float64)
    v = v[np.isfinite(v)]
    return float(v.mean()) if len(v) else float("nan")


def bootstrap(values: Sequence[float], seed: int = 0) -> Interval:
    """Percentile bootstrap of the mean (Efron 1979), ROUNDS resamples, the same for the same values and seed."""
    v = np.asarray([x for x in values if np.isfinite(x)], np.float64)
    if not len(v):
        return Interval(float("nan"), float("nan"), float("nan"), 0)
    pick = np.random.default_rng(seed).integers(0, len(v), (ROUNDS, len(v)))
    means = v[pick].mean(1)
    return Interval(float(v.mean()), float(np.quantile(means, 0.025)), float(np.quantile(means, 0.975)), len(v))


def paired(a: Sequence[float], b: Sequence[float], seed: int = 0) -> Interval:
    """Bootstrap of the mean of b - a over pairs where both are finite."""
    return bootstrap([y - x for x, y in zip(a, b, strict=True) if np.isfinite(x) and np.isfinite(y)], seed)
