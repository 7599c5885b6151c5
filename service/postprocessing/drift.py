"""Drift: how the images that are served differ from those the network was measured on.

Keeps a few numbers of the last images (`window`) and compares their distribution with the
manifest's reference. Knows neither queues nor HTTP.

Source:
    The population stability index is Kullback-Leibler's divergence both ways; under 0.1
    counts as steady, over 0.25 as changed (Siddiqi, "Credit Risk Scorecards", 2006). The
    index expected by chance, (bins - 1) (1 / n + 1 / m), is subtracted (Yurdakul, 2018).
"""

from collections.abc import Mapping
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.artifact.trust import Reference
from service.postprocessing.schemas import DriftResponse, Quantity
from service.postprocessing.window import BRIGHTNESS, CONFIDENCE, SIDE_COLUMN, Window

MIN_SAMPLES = 200
"""With fewer images in the window, or if the index expected by chance exceeds `STEADY`, the status
is `unknown`."""
STEADY, CHANGED = 0.1, 0.25
GROUPS = 20
"""Labels are grouped into at most so many bins."""
BINNED = {CONFIDENCE: "confidence", BRIGHTNESS: "brightness", SIDE_COLUMN: "side"}
"""Quantities that are counted in the reference's bins."""
UNKNOWN = -1.0
Shares = NDArray[np.float64]


class Observation(NamedTuple):
    """The values of one answered image that enter the window.

    Attributes:
        label: Position of the top label.
        confidence: Its probability.
        in_distribution: 1 or 0; `UNKNOWN` where the artifact has no score.
        brightness: Mean of the network's input, in [0, 1].
        side: Shorter side of the image as sent, in pixels; `UNKNOWN` for a tensor.
    """

    label: int
    confidence: float
    in_distribution: float
    brightness: float
    side: float


class Drift:
    """The last images of one model.

    Args:
        labels: Names, in the manifest's order.
        reference: Distributions of the reference data; None: the artifact has none.
        window: Number of images in it.

    Attributes:
        has_score: Whether the reference says how many images are out of distribution.
    """

    def __init__(self, labels: tuple[str, ...], reference: Reference | None, window: int) -> None:
        self.labels = labels
        self.reference = reference
        self.window = window
        self.has_score = reference is not None and reference.out_of_distribution is not None
        edges = {
            column: getattr(reference, name).edges for column, name in BINNED.items() if reference
        }
        self._window = Window(window, len(labels), edges)
        self.observe = self._window.add
        """Replace the oldest `Observation`; on the event loop only."""

    def report(self) -> DriftResponse:
        """Compare the window with the reference, quantity by quantity."""
        self._window.fold()
        count = len(self._window)
        quantities = {}
        if self.reference is not None and count:
            for name, (usual, present) in self._distributions(self.reference).items():
                known = self._window.known(SIDE_COLUMN) if name == "side" else count
                if known:
                    quantities[name] = compare(usual, present, self.reference.n, known)
        return DriftResponse(
            window=self.window,
            pictures=count,
            reference_pictures=self.reference.n if self.reference else None,
            quantities=quantities,
        )

    def _distributions(self, reference: Reference) -> Mapping[str, tuple[Shares, Shares]]:
        """Quantity -> shares per bin, of the reference and of the window."""
        window, count = self._window, len(self._window)
        found = {"labels": grouped(np.array(reference.labels), window.labels / count)}
        for column, name in BINNED.items():
            shares = window.bins[column] / max(1, window.known(column))
            found[name] = (np.array(getattr(reference, name).shares), shares)
        if reference.out_of_distribution is not None:
            usual, present = reference.out_of_distribution, window.outside / count
            found["out_of_distribution"] = (
                np.array([1 - usual, usual]),
                np.array([1 - present, present]),
            )
        return found

    def means(self) -> dict[str, float]:
        """Return the means over the window, without quantities that no image has."""
        self._window.fold()
        found = {name: self._window.mean(column) for column, name in BINNED.items()}
        return {name: mean for name, mean in found.items() if mean is not None}

    def outside_ratio(self) -> float | None:
        """Return the share of the window that is out of distribution; None if unknown."""
        self._window.fold()
        count = len(self._window)
        return self._window.outside / count if count and self.has_score else None


def grouped(usual: Shares, present: Shares) -> tuple[Shares, Shares]:
    """Group neighbouring labels into bins that are about equally common in the reference.

    With a thousand bins, chance would hide any change.

    Args:
        usual: Shares of the reference, (B,).
        present: Shares of the window, (B,).

    Returns:
        The same, at most (GROUPS,) each.
    """
    if len(usual) <= GROUPS:
        return usual, present
    before = np.cumsum(usual) - usual
    group = (before * GROUPS).astype(np.int64).clip(0, GROUPS - 1)
    return _joined(group, usual), _joined(group, present)


def _joined(group: NDArray[np.int64], values: Shares) -> Shares:
    return np.bincount(group, weights=values, minlength=GROUPS).astype(np.float64)


def compare(usual: Shares, present: Shares, usual_count: int, count: int) -> Quantity:
    """Return the population stability index of two distributions over the same bins.

    Args:
        usual: Shares of the reference, (B,).
        present: Shares of the window, (B,).
        usual_count: Images behind the reference.
        count: Images in the window.
    """
    bins = len(usual)
    # Half an image in every bin: the logarithm of an empty one is infinite.
    expected = (usual * usual_count + 0.5) / (usual_count + 0.5 * bins)
    actual = (present * count + 0.5) / (count + 0.5 * bins)
    index = float(((actual - expected) * np.log(actual / expected)).sum())
    chance = (bins - 1) * (1 / count + 1 / usual_count)
    beyond = max(0.0, index - chance)
    is_known = count >= MIN_SAMPLES and chance <= STEADY
    status = _status(beyond) if is_known else "unknown"
    return Quantity(psi=beyond, by_chance=chance, status=status)


def _status(index: float) -> Literal["steady", "moving", "changed"]:
    return "steady" if index < STEADY else "moving" if index < CHANGED else "changed"
