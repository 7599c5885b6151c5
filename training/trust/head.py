"""Fit what judges a network's answers: distances, calibrator, score.

The training split gives the labels' means in feature space, the validation split chooses
and fits everything else; the test split is not seen here.
"""

import copy
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from model.artifact.trust import OodDetector
from model.network.resnet import Normalize, ResNet
from training.data.dataset import Dataset, Split
from training.data.loader import at_once
from training.trust.calibration import Calibrator, Chosen, Evidence, choose
from training.trust.ood import SCORES, Distances, Score, auroc
from training.trust.ood_sets import distort


class Judge(nn.Module):
    """What stands between the network's logits and an answer that can be trusted.

    Args:
        calibrator: Makes probabilities of logits and distances.
        distances: In feature space, to each label.
        score: Tells strange pictures.
    """

    def __init__(self, calibrator: Calibrator, distances: Distances, score: Score) -> None:
        """Put the parts side by side, in single precision."""
        super().__init__()
        self.calibrator = copy.deepcopy(calibrator).float()
        self.distances = distances
        self.score = score

    def forward(self, logits: Tensor, features: Tensor) -> tuple[Tensor, Tensor]:
        """(N, K), (N, F) -> probabilities (N, K) and scores (N,)."""
        distances = self.distances(features)
        return self.calibrator(logits, distances), self.score(logits, features, distances)


FITTING_PICTURES = 20_000
"""Of the training split: enough for a covariance of 2,048 features."""


@dataclass(frozen=True)
class Fitted:
    """A judge for the graph, and how it was chosen.

    Attributes:
        judge: Goes into the graph.
        chosen: The calibrators of the folds, for honest conformal scores.
        refusal: How the scores compared.
    """

    judge: Judge
    chosen: Chosen
    refusal: OodDetector


def fit_judge(normalize: Normalize, network: ResNet, dataset: Dataset, *, seed: int = 0) -> Fitted:
    """Fit distances on the training split, and choose calibrator and score on validation."""
    classes = len(dataset.labels)
    order = torch.randperm(len(dataset.train), generator=torch.Generator().manual_seed(seed))
    sample = dataset.train[order[:FITTING_PICTURES]]
    features, _ = _look(normalize, network, sample.images)
    distances = Distances(features, sample.targets, classes)
    seen = _look(normalize, network, dataset.validation.images)
    chosen = choose(_evidence(seen, distances, dataset.validation), "validation", seed=seed)
    strange = {
        name: _look(normalize, network, images)
        for name, images in distort(dataset.validation.images, seed).items()
    }
    scores = {name: Score(name, features, sample.targets, classes) for name in SCORES}
    compared = {
        name: {
            of: round(auroc(_score(score, distances, seen), _score(score, distances, looks)), 6)
            for of, looks in strange.items()
        }
        for name, score in scores.items()
    }
    best = max(compared, key=lambda name: sum(compared[name].values()))
    refusal = OodDetector(
        score=best,
        chosen_on=f"validation split against its own {', '.join(strange)} pictures",
        compared=compared,
    )
    return Fitted(Judge(chosen.calibrator, distances, scores[best]), chosen, refusal)


def honest_probabilities(
    fitted: Fitted, logits: Tensor, features: Tensor, targets: Tensor
) -> Tensor:
    """Calibrate the validation split (N, K), each picture by a calibrator that did not see it."""
    return fitted.chosen.honest(Evidence(logits, fitted.judge.distances(features), targets))


@torch.inference_mode()
def _look(normalize: Normalize, network: ResNet, images: Tensor) -> tuple[Tensor, Tensor]:
    """uint8 (N, S, S, C) -> features (N, F) and logits (N, K)."""
    network.eval()
    parts = []
    for batch in torch.split(images, at_once(images.shape[1])):
        features = network.avgpool(network.forward_features(normalize(batch)))
        parts.append((features, network.classifier(features)))
    return torch.cat([part[0] for part in parts]), torch.cat([part[1] for part in parts])


def _evidence(seen: tuple[Tensor, Tensor], distances: Distances, split: Split) -> Evidence:
    features, logits = seen
    # Cloned, because autograd refuses what was made in inference mode.
    return Evidence(logits.clone(), distances(features).clone(), split.targets)


def _score(score: Score, distances: Distances, seen: tuple[Tensor, Tensor]) -> Tensor:
    features, logits = seen
    scores: Tensor = score(logits, features, distances(features))
    return scores
