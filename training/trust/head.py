"""Fit the trust head: distances in feature space, the calibrator, and the OOD score.

The training split gives each label's mean feature, the validation split chooses and fits the
rest. The calibration split, which sets thresholds afterwards, and the test split are not read here.
"""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self

import torch
from torch import Tensor, nn

from model.artifact.trust import OodDetector
from model.network.resnet import Normalize, ResNet
from training.data.dataset import Dataset, Split, sample
from training.data.loader import in_batches
from training.trust.calibration import CalibrationData, Chosen, choose
from training.trust.calibrator import Calibrator
from training.trust.ood import SCORES, Distances, Score, auroc
from training.trust.ood_sets import MAX_DISTORTED, distort

FITTING_IMAGES = 20_000
"""Of the training split: enough for a covariance of 2,048 features."""


class TrustHead(nn.Module):
    """Logits and features -> calibrated probabilities and OOD scores.

    Args:
        calibrator: Logits and distances to probabilities.
        distances: In feature space, to each label.
        score: Higher for images like the training data.
    """

    def __init__(self, calibrator: Calibrator, distances: Distances, score: Score) -> None:
        super().__init__()
        self.calibrator = copy.deepcopy(calibrator).float()
        self.distances = distances
        self.score = score

    def forward(self, logits: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K), (N, F) -> probabilities (N, K) and scores (N,)."""
        distances = self.distances(features)
        return self.calibrator(logits, distances), self.score(logits, features, distances)


@dataclass(frozen=True)
class FittedTrustHead:
    """A trust head, and how it was chosen.

    Attributes:
        head: Goes into the graph.
        chosen: The calibrator, and those of the cross-validation.
        detector: How the OOD scores compared.
    """

    head: TrustHead
    chosen: Chosen
    detector: OodDetector

    def uncalibrated(self, reason: str) -> Self:
        """Keep the plain softmax instead of the calibrator, and record why."""
        chosen = self.chosen.uncalibrated(reason)
        head = TrustHead(chosen.calibrator, self.head.distances, self.head.score)
        return replace(self, head=head, chosen=chosen)

    def out_of_fold_probabilities(
        self, logits: Tensor, features: Tensor, targets: Tensor
    ) -> Tensor:
        """Calibrate the validation split (N, K), each image by a calibrator fitted without it."""
        data = CalibrationData(logits, self.head.distances(features), targets)
        return self.chosen.out_of_fold_probabilities(data)


@dataclass(frozen=True)
class _Outputs:
    """Features (N, F) and logits (N, K) of some images."""

    features: Tensor
    logits: Tensor


def fit_trust_head(
    normalize: Normalize, network: ResNet, dataset: Dataset, *, seed: int = 0
) -> FittedTrustHead:
    """Fit distances on the training split, and choose calibrator and score on validation."""
    classes = len(dataset.labels)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))
    fitting = dataset.train[order[:FITTING_IMAGES]]
    features = _outputs(normalize, network, fitting).features
    distances = Distances(features, fitting.targets, classes)
    validation = _outputs(normalize, network, dataset.validation)
    data = CalibrationData(
        # Cloned, because autograd refuses tensors that were made in inference mode.
        validation.logits.clone(),
        distances(validation.features).clone(),
        dataset.validation.targets,
    )
    chosen = choose(data, "validation", seed=seed)
    ood = {
        name: _outputs(normalize, network, images)
        for name, images in distort(sample(dataset.validation, MAX_DISTORTED).images, seed).items()
    }
    scores = {name: Score(name, features, fitting.targets, classes) for name in SCORES}
    detector = _compare(scores, distances, validation, ood)
    return FittedTrustHead(
        TrustHead(chosen.calibrator, distances, scores[detector.score]), chosen, detector
    )


def _compare(
    scores: Mapping[str, Score],
    distances: Distances,
    validation: _Outputs,
    ood: Mapping[str, _Outputs],
) -> OodDetector:
    """Choose the score with the largest sum of AUROCs over the OOD sets."""

    def of(score: Score, seen: _Outputs) -> Tensor:
        values: Tensor = score(seen.logits, seen.features, distances(seen.features))
        return values

    compared = {
        name: {
            which: round(auroc(of(score, validation), of(score, seen)), 6)
            for which, seen in ood.items()
        }
        for name, score in scores.items()
    }
    return OodDetector(
        score=max(compared, key=lambda name: sum(compared[name].values())),
        chosen_on=f"validation split against its own {', '.join(ood)} images",
        compared=compared,
    )


@torch.inference_mode()
def _outputs(normalize: Normalize, network: ResNet, images: Split | Tensor) -> _Outputs:
    """uint8 (N, S, S, C) -> features (N, F) and logits (N, K)."""
    network.eval()
    features, logits = [], []
    for batch in in_batches(images):
        features.append(network.avgpool(network.forward_features(normalize(batch))))
        logits.append(network.classifier(features[-1]))
    return _Outputs(torch.cat(features), torch.cat(logits))
