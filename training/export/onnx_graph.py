"""Export a network as an ONNX graph that reads uint8 images, and compare it with torch.

In the graph: to float, / 255, mean and std, NHWC to NCHW, the network with its norms folded, the
calibrator, the softmax, the score and the map. So normalisation cannot differ between training
and serving, and images in a server's queue are uint8.
"""

import io
import logging
import warnings
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from typing import Any

import onnx
import torch
from torch import Tensor, nn

from model.network.resnet import Normalize, ResNet
from model.preprocessing import Preprocessing
from training.errors import ExportError
from training.trust.calibrator import bounded_softmax
from training.trust.head import TrustHead

OPSET = 20
GATE_LOGIT_ERROR = 1e-4
"""Largest difference of a logit that float32 rounding explains ..."""
GATE_RELATIVE_ERROR = 2e-5
"""... or this share of the largest logit, where that is more: rounding grows with the numbers."""


MAPPED_LABELS = 5
"""So many of the likeliest labels get a map each: as many as an answer shows unless told."""


class ParityError(ExportError):
    """onnxruntime and torch disagree about the same images."""


class Servable(nn.Module):
    """The whole graph of an artifact: from uint8 images to all outputs of the service.

    Args:
        normalize: Scales pixels; its mean and std become part of the graph.
        network: In evaluation mode.
        head: Calibrates and scores; None: plain softmax and no score.
    """

    def __init__(
        self, normalize: Normalize, network: ResNet, head: TrustHead | None = None
    ) -> None:
        super().__init__()
        self.normalize = normalize
        self.network = network
        self.head = head

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the outputs of `forward`, in order."""
        score = () if self.head is None else ("score",)
        return ("logits", "probabilities", *score, "features", "maps")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 (N, S, S, C) -> logits, probabilities (N, K), score (N,), features (N, F), maps.

        The maps (N, M, h, w) are of the M likeliest labels, at most five: the last feature map,
        weighted by the classifier's row of a label. The classifier is linear and follows a mean,
        so the map's mean plus the label's bias is exactly the label's logit.

        Source:
            Zhou et al., "Learning Deep Features for Discriminative Localization", 2016
            (arXiv 1512.04150).
        """
        feature_map = self.network.forward_features(self._normalized(images))  # (N, F, h, w)
        features = self.network.avgpool(feature_map)  # (N, F)
        logits = self.network.classifier(features)
        if feature_map.ndim == 2:  # an MLP's features have no position: make it one
            feature_map = feature_map[:, :, None, None]
        if self.head is None:
            probabilities, scores = bounded_softmax(logits), []
        else:
            probabilities, score = self.head(logits, features)
            scores = [score]
        rows = self.network.classifier.weight.flatten(1)  # (K, F)
        mapped = min(MAPPED_LABELS, len(rows))
        weights = rows[probabilities.topk(mapped).indices]  # (N, M, F)
        # A matrix product: a sum over the channels would take 10 % of an int8 run.
        maps = (weights @ feature_map.flatten(2)).reshape(-1, mapped, *feature_map.shape[2:])
        return (logits, probabilities, *scores, features, maps)

    def _normalized(self, images: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> float32 (N, C, S, S): `normalize`, a row of pixels at a time.

        onnxruntime broadcasts along the last axis. With mean and std as long as a row instead of a
        pixel this step is 15 times as fast; it took 15 % of an int8 resnet18.
        """
        _, height, width, channels = images.shape
        mean = self.normalize.get_buffer("mean").repeat(width)  # (S C,)
        std = self.normalize.get_buffer("std").repeat(width)
        rows = (images.flatten(2).float() / 255 - mean) / std  # (N, S, S C)
        return rows.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def to_onnx(servable: Servable, preprocessing: Preprocessing) -> bytes:
    """Trace the graph with a free batch size and fold the norms into the convolutions."""
    size, channels = preprocessing.crop, preprocessing.channels
    example = torch.zeros(2, size, size, channels, dtype=torch.uint8)
    quiet = io.StringIO()
    with warnings.catch_warnings(), redirect_stdout(quiet), redirect_stderr(quiet):
        warnings.simplefilter("ignore")  # the exporter's own deprecations
        for name in ("onnxscript", "torch.onnx"):
            logging.getLogger(name).setLevel(logging.ERROR)
        program = torch.onnx.export(
            servable.eval(),
            (example,),
            input_names=["images"],
            output_names=list(servable.outputs),
            dynamic_shapes={"images": {0: torch.export.Dim("N", min=1)}},
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:  # pragma: no cover  # torch's type allows it; `dynamo=True` never does it
        raise ExportError("torch exported nothing.")
    model: Any = program.model_proto
    _remove_tracing_notes(model.graph)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _remove_tracing_notes(graph: Any) -> None:  # onnx has no types
    """Remove the notes that torch leaves on nodes and values; some name files of this machine."""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]


@dataclass(frozen=True)
class Parity:
    """How far a graph is from its reference on the same images."""

    max_abs_logit_error: float
    top1_agreement: float


def check_finite(logits: Tensor) -> None:
    """Reject weights that overflow, before anything is fitted to the logits (N, K).

    Raises:
        ExportError: If a logit is not finite.
    """
    if not bool(logits.isfinite().all()):
        raise ExportError(
            "The network's logits are not finite: its weights overflow. Nothing was "
            "written. Export an earlier checkpoint, or train again with a lower "
            "learning rate."
        )


def check_parity(expected: Tensor, actual: Tensor) -> Parity:
    """Compare onnxruntime's logits (N, K) with torch's.

    The top labels may differ where two logits are nearer to each other than twice what rounding
    explains: neither is then wrong.

    Raises:
        ParityError: If a logit differs by more than rounding explains.
    """
    error = (expected - actual).abs().max().item()
    allowed = max(GATE_LOGIT_ERROR, GATE_RELATIVE_ERROR * expected.abs().max().item())
    agreement = (expected.argmax(1) == actual.argmax(1)).float().mean().item()
    if not error <= allowed:  # `not <=` also stops a NaN
        raise ParityError(
            f"onnxruntime differs from torch by {error:.2e} in a logit (allowed: "
            f"{allowed:.1e}), and gives the same label for {agreement:.2%} of "
            f"{len(expected):,} images. Nothing was written."
        )
    return Parity(error, agreement)
