"""Predictions of a network, with torch and with onnxruntime alike.

A `Predict` turns uint8 images into logits; `predict_split` applies it to a whole split.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network.resnet import Normalize, ResNet, build_parts
from training.data.dataset import Split
from training.data.loader import in_batches
from training.runs.reading import read_checkpoint
from training.runs.record import CheckpointError, RunRecord

Logits = Tensor
Predict = Callable[[Tensor], Logits]
"""uint8 (N, S, S, C) -> logits float32 (N, K)."""


@dataclass(frozen=True)
class Predictions:
    """Logits (N, K) and targets (N,) of a whole split, in its order.

    Attributes:
        probabilities: Calibrated, (N, K); None: the softmax of the logits.
    """

    logits: Logits
    targets: Tensor
    probabilities: Tensor | None = None

    def calibrated(self) -> Tensor:
        """Return the probabilities that a user gets, (N, K)."""
        return self.logits.softmax(1) if self.probabilities is None else self.probabilities


@dataclass(frozen=True)
class TrainedNetwork:
    """The network of a checkpoint, in evaluation mode, and the record of its run.

    Attributes:
        path: The checkpoint, or the run folder whose best checkpoint it is.
    """

    path: Path
    record: RunRecord
    normalize: Normalize
    network: ResNet

    def predict(self) -> Predict:
        """Predict with these weights."""
        return torch_predict(self.network, self.normalize)


def load_network(path: Path) -> TrainedNetwork:
    """Build the network of a checkpoint, or of a run's best one, and load its weights.

    Raises:
        CheckpointError: If it cannot be read, or its weights are not the network's.
    """
    record, weights = read_checkpoint(path)
    normalize, network = build_parts(record.architecture, record.preprocessing)
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        cause = str(error).splitlines()[-1].strip()
        raise CheckpointError(
            f"The weights in {path} are not those of {record.architecture.name}: {cause}"
        ) from error
    return TrainedNetwork(path, record, normalize, network.eval())


def torch_predict(network: ResNet, normalize: Normalize) -> Predict:
    """Predict with torch, in float32."""
    network.eval()

    @torch.inference_mode()
    def predict(images: Tensor) -> Logits:
        logits: Tensor = network(normalize(images))
        return logits

    return predict


def with_mirror(predict: Predict) -> Predict:
    """Predict the mean logits of each image and its mirror image."""

    def both(images: Tensor) -> Logits:
        return (predict(images) + predict(images.flip(2))) / 2

    return both


def predict_split(predict: Predict, split: Split) -> Predictions:
    """Predict every image of a split, in order."""
    logits = torch.cat([predict(images) for images in in_batches(split)])
    return Predictions(logits, split.targets)


def onnx_session(model: bytes, *, threads: int = 0) -> ort.InferenceSession:
    """Load an ONNX file on the CPU, the reference for all export gates."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_outputs(
    session: ort.InferenceSession, images: Split | Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Compute some outputs of a graph for uint8 (N, S, S, C), in batches."""
    parts: list[list[NDArray[np.float32]]] = [
        session.run(list(names), {"images": batch.numpy()}) for batch in in_batches(images)
    ]
    return {
        name: torch.from_numpy(np.concatenate([part[index] for part in parts]))
        for index, name in enumerate(names)
    }
