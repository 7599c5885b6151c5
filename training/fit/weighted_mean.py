"""The mean of a loss over batches and processes."""

from torch import Tensor
from torchmetrics import MeanMetric


class WeightedMean(MeanMetric):
    """torchmetrics' mean without its checks of values, which would wait for a GPU.

    With `nan_strategy="disable"` torchmetrics 1.9 takes all weights for 1, and Lightning's own mean
    over processes rounds the average of their counts down. The names of the states are in
    checkpoints that people have.
    """

    def update(self, value: Tensor, weight: Tensor) -> None:  # type: ignore[override]
        """Add the mean of a batch.

        Args:
            value: Mean loss of the batch, a scalar.
            weight: Number of images in it, a scalar.
        """
        self.mean_value = self.mean_value + value * weight
        self.weight = self.weight + weight
