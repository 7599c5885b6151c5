"""Summarize the validation split, for the service to compare its traffic with."""

import numpy as np
import torch
from torch import Tensor

from model.artifact.histograms import CONFIDENCE, SIDE, brightness, deciles, histogram
from model.artifact.trust import Reference
from training.data.dataset import Dataset
from training.data.loader import in_batches


def drift_reference(
    probabilities: Tensor, scores: Tensor, dataset: Dataset, threshold: float | None
) -> Reference:
    """Build the histograms of the validation split's inputs and of the model's outputs.

    Args:
        probabilities: Of the float32 graph for the validation split, (N, K).
        scores: Its OOD scores, (N,).
        dataset: Its validation split, and the sizes of its files.
        threshold: Scores under it are out of distribution; None: there is none.
    """
    split = dataset.validation
    confidence, top = probabilities.max(1)
    counts = torch.bincount(top, minlength=len(dataset.labels)).double()
    light = np.concatenate([brightness(batch.numpy()) for batch in in_batches(split)])
    outside = None if threshold is None else float((scores < threshold).double().mean())
    sizes = dataset.shorter_sides or [dataset.preprocessing.crop] * len(split)
    return Reference(
        n=len(split),
        labels=tuple((counts / len(split)).tolist()),
        confidence=histogram(confidence.double().numpy(), CONFIDENCE),
        out_of_distribution=outside,
        brightness=histogram(light, deciles(light)),
        side=histogram(np.array(sizes, np.float64), SIDE),
    )
