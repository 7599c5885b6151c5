"""The cost of a batch: a part for each batch and a part for each image, fitted to measurements."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np

CONFIDENCE = 2.0
"""Standard errors to each side: about 95 % of the fits to other measurements lie within."""


class Cost(NamedTuple):
    """Seconds of a batch: `fixed_s` (tau0) + `image_s` (alpha) x its images."""

    fixed_s: float
    image_s: float

    def seconds(self, images: float) -> float:
        """Of a batch of so many images."""
        return self.fixed_s + self.image_s * images


class Fit(NamedTuple):
    """A cost with its error bars.

    Attributes:
        cost: The fit.
        low: The cheapest cost that the measurements allow.
        high: The dearest.
        residual: Root of the mean squared difference of measurement and fit, as a share.
    """

    cost: Cost
    low: Cost
    high: Cost
    residual: float

    @classmethod
    def to(cls, sizes: Sequence[float], seconds: Sequence[float]) -> Self:
        """Fit by least squares of the relative differences.

        Where all batches have about the same size, nothing tells the two parts apart, and nothing
        depends on it: then all of the time counts for the image.

        Args:
            sizes: Mean images in a batch, one for each measurement; at least three.
            seconds: That such a batch takes.
        """
        images, times = np.asarray(sizes), np.asarray(seconds)
        parts = np.stack([np.ones_like(images), images], axis=1)
        if images.max() < 1.2 * images.min():
            parts[:, 0] = 0
        weighted = parts / times[:, None]
        found, *_ = np.linalg.lstsq(weighted, np.ones_like(times))
        if found[0] < 0:  # a batch costs no less than its images
            parts[:, 0] = 0
            weighted = parts / times[:, None]
            found, *_ = np.linalg.lstsq(weighted, np.ones_like(times))
        errors = weighted @ found - 1
        variance = float(errors @ errors) / (len(times) - np.linalg.matrix_rank(weighted))
        deviation = np.sqrt(np.diag(np.linalg.pinv(weighted.T @ weighted)) * variance)
        low, high = (
            Cost(*map(float, np.maximum(found + side * deviation, 0)))
            for side in (-CONFIDENCE, CONFIDENCE)
        )
        return cls(Cost(*map(float, found)), low, high, float(np.sqrt(np.mean(errors**2))))
