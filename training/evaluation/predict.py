"""What a network answers: the same questions to torch and to onnxruntime.

A `Predict` turns uint8 pictures into logits; `answer` shows it every picture of a split once.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from torch import Tensor

from model.network.resnet import Normalize, ResNet, build_parts
from training.data.dataset import Split
from training.data.loader import at_once
from training.runs.reading import read_checkpoint
from training.runs.record import CheckpointError, RunRecord

Logits = Tensor
Predict = Callable[[Tensor], Logits]
"""uint8 (N, S, S, C) -> logits float32 (N, K)."""


@dataclass(frozen=True)
class Answers:
    """Logits (N, K) and targets (N,) of a whole split, in its order.

    Attributes:
        probabilities: Calibrated, (N, K); None takes the softmax of the logits.
    """

    logits: Logits
    targets: Tensor
    probabilities: Tensor | None = None

    def calibrated(self) -> Tensor:
        """Give what a user would get, (N, K)."""
        return self.logits.softmax(1) if self.probabilities is None else self.probabilities


def torch_predict(network: ResNet, normalize: Normalize) -> Predict:
    """Predict with torch, in float32."""
    network.eval()

    @torch.inference_mode()
    def predict(images: Tensor) -> Logits:
        logits: Tensor = network(normalize(images))
        return logits

    return predict


def with_mirror(predict: Predict) -> Predict:
    """Predict from each picture and its mirror image, by the mean of the logits."""

    def both(images: Tensor) -> Logits:
        return (predict(images) + predict(images.flip(2))) / 2

    return both


def checkpoint_predict(path: Path) -> tuple[RunRecord, Predict]:
    """Predict with the weights of a checkpoint, or of a run's best one.

    Raises:
        CheckpointError: If it cannot be read.
    """
    record, normalize, network = load_network(path)
    return record, torch_predict(network, normalize)


def load_network(path: Path) -> tuple[RunRecord, Normalize, ResNet]:
    """Build the network of a checkpoint and load its weights.

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
    return record, normalize, network.eval()


def onnx_session(model: bytes, *, threads: int = 0) -> ort.InferenceSession:
    """Load an ONNX file on the CPU, as the reference for all gates."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def onnx_predict(model: bytes) -> Predict:
    """Predict with onnxruntime on the CPU."""
    session = onnx_session(model)

    def predict(images: Tensor) -> Logits:
        return onnx_outputs(session, images, ("logits",))["logits"]

    return predict


def onnx_outputs(
    session: ort.InferenceSession, images: Tensor, names: Sequence[str]
) -> dict[str, Tensor]:
    """Ask a graph for some of its outputs for uint8 (N, S, S, C), in batches."""
    parts: list[list[NDArray[np.float32]]] = [
        session.run(list(names), {"images": batch.numpy()}) for batch in _batches(images)
    ]
    return {
        name: torch.from_numpy(np.concatenate([part[place] for part in parts]))
        for place, name in enumerate(names)
    }


def answer(predict: Predict, split: Split) -> Answers:
    """Ask about every picture of a split, once, in order."""
    logits = torch.cat([predict(images) for images in _batches(split.images)])
    return Answers(logits, split.targets)


def _batches(images: Tensor) -> Iterator[Tensor]:
    yield from torch.split(images, at_once(images.shape[1]))
