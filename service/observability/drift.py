"""Prometheus gauges of a model's drift window."""

from collections.abc import Iterator

from prometheus_client.core import GaugeMetricFamily, Metric

from service.postprocessing.drift import Drift

MEANS = {
    "confidence": ("confidence_ratio", "Mean probability of the top label, over the window."),
    "brightness": ("brightness_ratio", "Mean of the network's input, in [0, 1], over the window."),
    "side": ("side_pixels", "Mean shorter side of the images sent, over the window."),
}
"""Quantity -> end of its metric's name, and help text."""


def drift_metrics(drift: Drift) -> Iterator[Metric]:
    """Give the gauges of a window; those of a quantity that no image has are left out."""
    for name, mean in drift.means().items():
        ending, text = MEANS[name]
        yield GaugeMetricFamily(f"resnet_window_{ending}", text, mean)
    ratio = drift.outside_ratio()
    if ratio is not None:
        text = "Share of the window that is out of distribution."
        yield GaugeMetricFamily("resnet_window_out_of_distribution_ratio", text, ratio)
    index = GaugeMetricFamily(
        "resnet_drift_psi", "Population stability index, less chance.", labels=("quantity",)
    )
    for name, quantity in drift.report().quantities.items():
        if quantity.status != "unknown":  # an alert on the figure does not ask for the status
            index.add_metric((name,), quantity.psi)
    yield index
