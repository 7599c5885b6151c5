"""Sum up the validation split, for the service to hold its traffic against."""

import numpy as np
import torch

from model.artifact.histograms import CONFIDENCE, SIDE, brightness, deciles, histogram
from model.artifact.trust import Reference
from training.data.dataset import Dataset
from training.evaluation.predict import onnx_outputs, onnx_session


def sum_up(model: bytes, dataset: Dataset, threshold: float) -> Reference:
    """Answer the validation split and count what comes out.

    Args:
        model: The float32 graph.
        dataset: Its validation split, and the sides of its files.
        threshold: Scores under it are out of distribution.
    """
    split = dataset.validation
    outputs = onnx_outputs(onnx_session(model), split.images, ("probabilities", "score"))
    confidence, top = outputs["probabilities"].max(1)
    counts = torch.bincount(top, minlength=len(dataset.labels)).double()
    light = brightness(split.images.numpy())
    sides = np.array(dataset.sides or [dataset.preprocessing.crop] * len(split), np.float64)
    return Reference(
        n=len(split),
        labels=tuple((counts / len(split)).tolist()),
        confidence=histogram(confidence.double().numpy(), CONFIDENCE),
        out_of_distribution=float((outputs["score"] < threshold).double().mean()),
        brightness=histogram(light, deciles(light)),
        side=histogram(sides, SIDE),
    )
