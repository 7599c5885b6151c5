"""What the engine computes: the outputs of a batch, and those of one image in it."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass
class BatchOutputs:
    """What one run of the engine gives for a batch of N images.

    Attributes:
        logits: float32 (N, K), before calibration.
        probabilities: float32 (N, K), calibrated.
        score: float32 (N,), higher for images like the training data; None if the graph has none.
        maps: float32 (N, M, h, w) of the M likeliest labels; None if no request asked for them.
        features: float32 (N, F); None if no request asked for them.
    """

    logits: Floats
    probabilities: Floats
    score: Floats | None = None
    maps: Floats | None = None
    features: Floats | None = None


class ImageOutput(NamedTuple):
    """The outputs of one image and how long they took; times in seconds."""

    logits: Floats  # (K,)
    probabilities: Floats  # (K,)
    queue_s: float
    infer_s: float
    batch_size: int
    batch_outputs: Any  # of the whole batch, as the run gave them
    row: int  # of the image in `batch_outputs`
    began: float = 0.0  # the run, on `time.perf_counter`'s clock
