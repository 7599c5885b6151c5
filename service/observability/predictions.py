"""Prometheus counters of the default model's predictions, by label."""

import contextlib

from prometheus_client import CollectorRegistry, Counter

from service.observability.buffered import BufferedCounter
from service.postprocessing.drift import Drift, Observation


class PredictionCounters:
    """Counts the images that the default model classifies, whichever model that is.

    Unlike the window's gauges they add up over several workers, and they go on when the model
    is replaced; labels that its successor does not have keep their counts.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._predictions = BufferedCounter(
            "resnet_predictions_total", "Images by top label.", ("label",), registry=registry
        )
        self._out_of_distribution: Counter | None = None  # until a default model has a score
        self._default: Drift | None = None
        self._by_label: list[BufferedCounter] = []

    def refresh(self, default: Drift) -> None:
        """Create the labels of a new default model, so that Prometheus sees them start at 0.

        Where that fails, say on a full disk of several workers' files, nothing is counted until
        the next refresh.

        Args:
            default: The window of the model that is now the default.
        """
        if default is self._default:
            return
        self._default = None
        self.flush()
        with contextlib.suppress(OSError):
            self._by_label = [self._predictions.labels(label) for label in default.labels]
            if default.has_score and self._out_of_distribution is None:
                self._out_of_distribution = Counter(
                    "resnet_out_of_distribution_total",
                    "Images whose score is under the threshold.",
                    registry=self._registry,
                )
            self._default = default

    def flush(self) -> None:
        """Count what is buffered."""
        with contextlib.suppress(OSError):
            for counter in self._by_label:
                counter.flush()

    def count(self, drift: Drift, observation: Observation) -> None:
        """Count an image if it is the default model's: labels do not tell models apart.

        Args:
            drift: The window of the model that classified it.
            observation: Of the image.
        """
        if drift is not self._default:
            return
        self._by_label[observation.label].more += 1
        if (
            self._out_of_distribution is not None
            and drift.has_score
            and observation.in_distribution == 0
        ):
            self._out_of_distribution.inc()
