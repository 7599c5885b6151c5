"""A network as an ONNX graph that takes pictures as they are stored, and its gate.

In the graph: to float, / 255, mean and std, NHWC to NCHW, the network with its norms
folded, the calibrator, the softmax, the score and the map. So normalisation cannot
differ between training and serving, and what waits in a server's queue is uint8.
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
from training.trust.head import Judge

OPSET = 20
GATE_LOGIT_ERROR = 1e-4
"""Largest difference of a logit that float32 on another runtime explains ..."""
GATE_RELATIVE_ERROR = 2e-5
"""... or this share of the largest logit, where that is more: rounding grows with the numbers."""


class ParityError(ExportError):
    """onnxruntime and torch disagree about the same pictures."""


class Servable(nn.Module):
    """The whole graph of an artifact: stored pictures in, all that the service may want out.

    Args:
        normalize: Scales pixels; its mean and std end up in the graph.
        network: In evaluation mode.
        judge: Calibrates and scores; None gives the plain softmax and no score.
    """

    def __init__(self, normalize: Normalize, network: ResNet, judge: Judge | None = None) -> None:
        """Put the parts in a row."""
        super().__init__()
        self.normalize = normalize
        self.network = network
        self.judge = judge

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of what `forward` gives, in its order."""
        score = () if self.judge is None else ("score",)
        return ("logits", "probabilities", *score, "features", "maps")

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """uint8 (N, S, S, C) -> logits, probabilities (N, K), score (N,), features (N, F), maps.

        The maps (N, h, w) are of the top label: the last feature map, weighted by the head's
        row of that label. The head is linear and comes after a mean, so the map's mean plus
        the label's bias is its logit, exactly.

        Source:
            Zhou et al., "Learning Deep Features for Discriminative Localization", 2016
            (arXiv 1512.04150).
        """
        feature_map = self.network.forward_features(self._normalized(images))  # (N, F, h, w)
        features = self.network.avgpool(feature_map)  # (N, F)
        logits = self.network.classifier(features)
        if feature_map.ndim == 2:  # an MLP's features have no place: one, then
            feature_map = feature_map[:, :, None, None]
        if self.judge is None:
            probabilities, scores = logits.softmax(1), []
        else:
            probabilities, score = self.judge(logits, features)
            scores = [score]
        head = self.network.classifier.weight.flatten(1)  # (K, F)
        weights = head[probabilities.argmax(1)]  # (N, F)
        # As a product of matrices: a sum over the channels would cost 10 % of an int8 run.
        maps = weights[:, None] @ feature_map.flatten(2)  # (N, 1, h w)
        maps = maps.reshape(-1, *feature_map.shape[2:])
        return (logits, probabilities, *scores, features, maps)

    def _normalized(self, images: Tensor) -> Tensor:
        """uint8 (N, S, S, C) -> float32 (N, C, S, S): `normalize`, a row of pixels at a time.

        onnxruntime broadcasts along the last axis. With mean and std as long as a row, and not
        as long as a pixel, this step is 15 times as fast; it was 15 % of an int8 resnet18.
        """
        _, height, width, channels = images.shape
        mean = self.normalize.get_buffer("mean").repeat(width)  # (S C,)
        std = self.normalize.get_buffer("std").repeat(width)
        rows = (images.flatten(2).float() / 255 - mean) / std  # (N, S, S C)
        return rows.reshape(-1, height, width, channels).permute(0, 3, 1, 2)


def to_onnx(servable: Servable, preprocessing: Preprocessing) -> bytes:
    """Trace the graph with a free batch size and fold the norms into the convolutions."""
    side, channels = preprocessing.crop, preprocessing.channels
    example = torch.zeros(2, side, side, channels, dtype=torch.uint8)
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
    _forget_tracing(model.graph)
    onnx.checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _forget_tracing(graph: Any) -> None:  # onnx has no types
    """Drop the notes that torch leaves on nodes and values; some name files of this machine."""
    for part in (*graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        del part.metadata_props[:]


@dataclass(frozen=True)
class Parity:
    """How far onnxruntime is from torch on the same pictures."""

    max_abs_logit_error: float
    top1_agreement: float


def check_parity(expected: Tensor, actual: Tensor) -> Parity:
    """Hold onnxruntime's logits (N, K) against torch's.

    Raises:
        ParityError: If a logit differs by more than rounding explains, or any top label does.
    """
    error = (expected - actual).abs().max().item()
    allowed = max(GATE_LOGIT_ERROR, GATE_RELATIVE_ERROR * expected.abs().max().item())
    agreement = (expected.argmax(1) == actual.argmax(1)).float().mean().item()
    if not error <= allowed or agreement < 1:  # `not <=` also stops a NaN
        raise ParityError(
            f"onnxruntime differs from torch by {error:.2e} in a logit (allowed: "
            f"{allowed:.1e}) and agrees on {agreement:.2%} of {len(expected):,} "
            "pictures (needed: all). Nothing was written."
        )
    return Parity(error, agreement)
