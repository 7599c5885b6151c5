"""Does the traffic still look like what the network was measured on?

Keeps a few numbers of the last pictures (`window`), and holds their distribution against
 the manifest's reference. Knows neither queues nor HTTP.

Source:
    The population stability index is Kullback-Leibler's divergence both ways; under 0.1
    counts as steady, over 0.25 as changed (Siddiqi, "Credit Risk Scorecards", 2006). What
    chance alone gives, (bins - 1) (1 / n + 1 / m), is taken off (Yurdakul, 2018).
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from model.artifact.trust import Reference
from service.postprocessing.schemas import DriftResponse, Quantity
from service.postprocessing.window import BRIGHTNESS, CONFIDENCE, SIDE, Window

FEWEST = 200
"""With fewer pictures in the window, or where chance alone moves more than what counts as
steady, nothing is said to have changed."""
STEADY, CHANGED = 0.1, 0.25
GROUPS = 20
"""Bins of labels, where there are more."""
BINNED = {CONFIDENCE: "confidence", BRIGHTNESS: "brightness", SIDE: "side"}
"""Quantities that are counted in the reference's bins."""
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Seen:
    """What is kept of one answered picture.

    Attributes:
        label: Position of the top label.
        confidence: Its probability.
        in_distribution: None where the artifact has no score.
        brightness: Mean of the network's input, in [0, 1].
        side: Shorter side of the picture sent, in pixels; None for a tensor.
    """

    label: int
    confidence: float
    in_distribution: bool | None
    brightness: float
    side: int | None


class Drift:
    """The last pictures.

    Args:
        labels: Names, in the manifest's order.
        reference: What ordinary traffic looks like; None: the artifact does not say.
        window: Pictures that are remembered.

    Attributes:
        has_score: Whether the reference says how many pictures are out of distribution.
    """

    def __init__(self, labels: tuple[str, ...], reference: Reference | None, window: int) -> None:
        """Take all the memory that will ever be needed."""
        self.labels = labels
        self.reference = reference
        self.window = window
        self.has_score = reference is not None and reference.out_of_distribution is not None
        edges = {
            place: getattr(reference, name).edges for place, name in BINNED.items() if reference
        }
        self._window = Window(window, len(labels), edges)

    def observe(self, pictures: Iterable[Seen]) -> None:
        """Remember pictures in place of the oldest ones; called on the event loop alone."""
        add = self._window.add
        for picture in pictures:
            inside = -1.0 if picture.in_distribution is None else float(picture.in_distribution)
            side = -1.0 if picture.side is None else picture.side
            add((picture.label, picture.confidence, inside, picture.brightness, side))

    def report(self) -> DriftResponse:
        """Hold the window against the reference, quantity by quantity."""
        self._window.fold()
        count = len(self._window)
        quantities = {}
        if self.reference is not None and count:
            for name, (usual, present) in self._distributions(self.reference).items():
                told = self._window.known(SIDE) if name == "side" else count
                if told:
                    quantities[name] = compare(usual, present, self.reference.n, told)
        return DriftResponse(
            window=self.window,
            pictures=count,
            reference_pictures=self.reference.n if self.reference else None,
            quantities=quantities,
        )

    def _distributions(self, reference: Reference) -> Mapping[str, tuple[Floats, Floats]]:
        """Quantity -> shares per bin, of the reference and of the window."""
        window, count = self._window, len(self._window)
        found = {"labels": grouped(np.array(reference.labels), window.labels / count)}
        for place, name in BINNED.items():
            present = window.bins[place] / max(1, window.known(place))
            found[name] = (np.array(getattr(reference, name).shares), present)
        if reference.out_of_distribution is not None:
            strange, out = window.outside / count, reference.out_of_distribution
            found["out_of_distribution"] = (
                np.array([1 - out, out]),
                np.array([1 - strange, strange]),
            )
        return found

    def means(self) -> dict[str, float]:
        """Give the mean of each quantity that an image in the window has."""
        self._window.fold()
        means = {name: self._window.mean(place) for place, name in BINNED.items()}
        return {name: mean for name, mean in means.items() if mean is not None}

    def outside_ratio(self) -> float | None:
        """Give the share of the window that is out of distribution; None where nothing tells."""
        self._window.fold()
        count = len(self._window)
        return self._window.outside / count if count and self.has_score else None


def grouped(usual: Floats, present: Floats) -> tuple[Floats, Floats]:
    """Join many labels into groups of neighbours, about equally common in the reference.

    Over a thousand bins chance alone would hide any change.

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


def _joined(group: NDArray[np.int64], values: Floats) -> Floats:
    return np.bincount(group, weights=values, minlength=GROUPS).astype(np.float64)


def compare(usual: Floats, present: Floats, usual_count: int, count: int) -> Quantity:
    """Give the population stability index of two distributions over the same bins.

    Args:
        usual: Shares of the reference, (B,).
        present: Shares of the window, (B,).
        usual_count: Pictures behind the reference.
        count: Pictures in the window.
    """
    bins = len(usual)
    # Half a picture in every bin: the logarithm of an empty one is infinite.
    expected = (usual * usual_count + 0.5) / (usual_count + 0.5 * bins)
    actual = (present * count + 0.5) / (count + 0.5 * bins)
    index = float(((actual - expected) * np.log(actual / expected)).sum())
    chance = (bins - 1) * (1 / count + 1 / usual_count)
    beyond = max(0.0, index - chance)
    is_known = count >= FEWEST and chance <= STEADY
    status = _status(beyond) if is_known else "unknown"
    return Quantity(psi=beyond, by_chance=chance, status=status)


def _status(index: float) -> Literal["steady", "moving", "changed"]:
    return "steady" if index < STEADY else "moving" if index < CHANGED else "changed"
