"""Results for each image of a batch, computed once for the whole batch.

A NumPy call costs a microsecond or two, however few numbers it reads. Once per image, that would be
a tenth of a request to a small network.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json

from model.artifact.histograms import brightness
from model.preprocessing import Pixels
from service.inference.outputs import BatchOutputs

FEW_LABELS = 512
"""Up to so many labels are sorted; sorting 21,000 takes 4 ms, finding their first five 0.05 ms."""


DEFAULT_TOP_K = 5
"""Labels of each image, unless a request says otherwise."""


def label_heads(labels: Sequence[str]) -> list[bytes]:
    """Write the beginning of each label's `Prediction`, up to the probability, as JSON."""
    return [
        b'{"label":%b,"index":%d,"probability":' % (to_json(label), index)
        for index, label in enumerate(labels)
    ]


@dataclass(kw_only=True)
class BatchAnswers(BatchOutputs):
    """Outputs of one run, and values computed from them; one entry for each image.

    Attributes:
        finite: Whether logits, probabilities and score are finite numbers.
        top: The most probable label.
        confidence: Its probability.
        in_distribution: Whether the score reaches the threshold; None without a threshold.
        brightness: Mean of the network's input, in [0, 1].
        order: intp (N, K), labels by descending probability; of equals, the first one first.
            None with many labels.
        heads: See `label_heads`.
    """

    finite: list[bool]
    top: list[int]
    confidence: list[float]
    in_distribution: list[bool] | None
    brightness: list[float]
    order: NDArray[np.intp] | None
    heads: Sequence[bytes] = ()

    @cached_property
    def default_results(self) -> list[bytes] | None:
        """Each image's `Result` without options, as JSON; None with many labels.

        pydantic writes all numbers at once, and the rest is the same for each label.
        """
        if self.order is None or not self.heads:
            return None
        top = self.order[:, :DEFAULT_TOP_K]  # (N, k)
        found = self.probabilities[np.arange(len(top))[:, None], top]
        texts = to_json(np.minimum(np.maximum(found, 0), 1).tolist())[2:-2].split(b"],[")
        endings = [b"}"] * len(top)
        if self.in_distribution is not None and self.score is not None:
            flags = to_json(self.in_distribution)[1:-1].split(b",")
            scores = to_json(self.score.tolist())[1:-1].split(b",")
            each = zip(flags, scores, strict=True)
            endings = [b',"in_distribution":%b,"score":%b}' % pair for pair in each]
        results = []
        for labels, text, ending in zip(top.tolist(), texts, endings, strict=True):
            shown = zip(labels, text.split(b","), strict=True)
            predictions = b"},".join([self.heads[label] + number for label, number in shown])
            results.append(b'{"predictions":[%b}]%b' % (predictions, ending))
        return results


def read_batch(
    outputs: BatchOutputs,
    images: Pixels,
    threshold: float | None,
    heads: Sequence[bytes] = (),
) -> BatchAnswers:
    """Compute the values of `BatchAnswers` from the outputs of one run.

    Args:
        outputs: Of N images.
        images: uint8 (N, S, S, C).
        threshold: Of the score of images like the training data; None if there is none.
        heads: See `label_heads`.
    """
    probabilities = outputs.probabilities
    order: NDArray[np.intp] | None = None
    if probabilities.shape[1] <= FEW_LABELS:
        order = np.argsort(-probabilities, axis=1, kind="stable")
        top = order[:, 0]
    else:
        top = probabilities.argmax(axis=1)
    # a number that is not finite makes a sum that is not, either
    sums = np.add.reduce(outputs.logits, axis=1, dtype=np.float64)
    sums += np.add.reduce(probabilities, axis=1, dtype=np.float64)
    score, in_distribution = None, None
    if threshold is not None and outputs.score is not None:
        score = outputs.score
        sums += score
        in_distribution = (score >= threshold).tolist()
    return BatchAnswers(
        logits=outputs.logits,
        probabilities=probabilities,
        score=score,
        maps=outputs.maps,
        features=outputs.features,
        finite=np.isfinite(sums).tolist(),
        top=top.tolist(),
        confidence=np.maximum.reduce(probabilities, axis=1).tolist(),
        in_distribution=in_distribution,
        brightness=brightness(images).tolist(),
        order=order,
        heads=heads,
    )
