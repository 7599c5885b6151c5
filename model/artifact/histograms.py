"""Histograms of traffic, for drift detection.

Training summarises the validation split for the manifest, and the service the last images that
it answered. Both use the bins of this module. NumPy only.
"""

import numpy as np
from numpy.typing import NDArray

from model.artifact.trust import Histogram
from model.preprocessing import Pixels

CONFIDENCE = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)
"""Fixed: deciles of confidence crowd together just under 1, where rounding would move them."""
SIDE = (24.0, 48.0, 96.0, 192.0, 384.0, 768.0, 1536.0, 3072.0)
"""Pixels; each bin an octave."""
BINS = 10


def brightness(images: Pixels) -> NDArray[np.float64]:
    """Give the mean of each network input, uint8 (N, S, S, C) -> float64 (N,) in [0, 1]."""
    inputs = images.reshape(len(images), -1)
    sums: NDArray[np.float64] = np.add.reduce(inputs, axis=1, dtype=np.float64)
    return sums / (255 * inputs.shape[1])


def deciles(values: NDArray[np.float64]) -> tuple[float, ...]:
    """Place edges so that each bin holds a tenth of the values; equal edges become one."""
    places = np.quantile(values, np.linspace(0, 1, BINS + 1)[1:-1])
    return tuple(np.unique(places.round(6)).tolist())


def histogram(values: NDArray[np.float64], edges: tuple[float, ...]) -> Histogram:
    """Count values (N,) into bins: the shares below, between and above the edges."""
    return Histogram(edges=edges, shares=tuple(shares(values, edges).tolist()))


def shares(values: NDArray[np.float64], edges: tuple[float, ...]) -> NDArray[np.float64]:
    """Give the share of each bin; zeros if there is no value."""
    places = np.searchsorted(np.asarray(edges), values, side="right")
    counts = np.bincount(places, minlength=len(edges) + 1)
    return counts / max(1, len(values))
