"""Does the traffic still look like what the network was measured on?

Keeps a few numbers of the last pictures (`window`), and holds their distribution against
 the manifest's reference. Knows neither queues nor HTTP.

Source:
    The population stability index is Kullback-Leibler's divergence both ways; under 0.1
    counts as steady, over 0.25 as changed (Siddiqi, "Credit Risk Scorecards", 2006). What
    chance alone gives, (bins - 1) (1 / n + 1 / m), is taken off (Yurdakul, 2018).
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

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
MEANS = (
    (CONFIDENCE, "confidence_ratio", "Mean probability of the top label"),
    (BRIGHTNESS, "brightness_ratio", "Mean of the network's input, in [0, 1]"),
    (SIDE, "side_pixels", "Mean shorter side of the pictures sent"),
)
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


class Drift(Collector):
    """The last pictures.

    Args:
        labels: Names, in the manifest's order.
        reference: What ordinary traffic looks like; None: the artifact does not say.
        window: Pictures that are remembered.

    Attributes:
        has_score: Whether the reference says how many pictures are out of distribution.
        on_picture: Called on the event loop with this window and each picture that it takes in.
    """

    def __init__(self, labels: tuple[str, ...], reference: Reference | None, window: int) -> None:
        """Take all the memory that will ever be needed."""
        self.labels = labels
        self.reference = reference
        self.window = window
        self.has_score = reference is not None and reference.out_of_distribution is not None
        self.on_picture: Callable[[Drift, Seen], None] = lambda *_: None
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
            self.on_picture(self, picture)

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

    def collect(self) -> Iterable[Metric]:
        """Give Prometheus gauges of the window."""
        self._window.fold()
        for place, name, told in MEANS:
            mean = self._window.mean(place)
            if mean is not None:
                yield GaugeMetricFamily(f"resnet_window_{name}", f"{told}, over the window.", mean)
        if len(self._window) and self.has_score:
            share = self._window.outside / len(self._window)
            about = "Share of the window that is out of distribution."
            yield GaugeMetricFamily("resnet_window_out_of_distribution_ratio", about, share)
        index = GaugeMetricFamily(
            "resnet_drift_psi", "Population stability index, less chance.", labels=("quantity",)
        )
        for name, quantity in self.report().quantities.items():
            if quantity.status != "unknown":  # whoever alerts on the figure asks for no status
                index.add_metric((name,), quantity.psi)
        yield index


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
