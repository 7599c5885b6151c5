"""The part of a graph that turns logits into honest probabilities.

Source:
    Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599) for
    temperature and vector scaling. A scale that depends on the picture follows Tomani et
    al., "Parameterized Temperature Scaling", 2022 (arXiv 2102.12182); a term for the
    distance in feature space follows Tomani et al., "Beyond In-Domain Scenarios:
    Robust Density-Aware Calibration", 2023 (arXiv 2302.05118).
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Term = Literal["margin", "distance", "label"]


class Calibrator(nn.Module):
    """Logits and distances -> probabilities.

    softmax(exp(a + b m + c log(1 + m)) exp(s_k) z_k + h_k - d D_k), with m the margin
    between the two largest logits and D_k the distance to label k; a method has some of
    the terms, and temperature scaling is exp(a) alone. Margins count up to the largest that
    was fitted: beyond it nobody knows, and the exponential would run away.

    Args:
        terms: Beside the common scale.
        classes: Labels.
        largest_margin: That counts.
    """

    largest_margin: Tensor

    def __init__(
        self, terms: tuple[Term, ...], classes: int, largest_margin: float = math.inf
    ) -> None:
        """Start as the plain softmax."""
        super().__init__()
        self.terms = terms
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.margin = nn.Parameter(torch.zeros(2, dtype=torch.float64))
        self.register_buffer("largest_margin", torch.full((1,), largest_margin).double())
        self.distance = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.label_scale = nn.Parameter(torch.zeros(classes, dtype=torch.float64))
        self.label_shift = nn.Parameter(torch.zeros(classes, dtype=torch.float64))

    def forward(self, logits: Tensor, distances: Tensor) -> Tensor:
        """(N, K) and (N, K) -> probabilities (N, K)."""
        return self.scaled(logits, distances).softmax(1)

    def scaled(self, logits: Tensor, distances: Tensor) -> Tensor:
        """Give the calibrated logits (N, K)."""
        exponent: Tensor = self.scale
        if "margin" in self.terms:
            margin = margin_of(logits).minimum(self.largest_margin)  # (N, 1)
            exponent = exponent + self.margin[:1] * margin
            exponent = exponent + self.margin[1:] * torch.log(margin + 1)
        scaled = logits * torch.exp(exponent)
        if "label" in self.terms:
            scaled = scaled * torch.exp(self.label_scale) + self.label_shift
        if "distance" in self.terms:
            scaled = scaled - self.distance * distances
        return scaled

    def temperature(self) -> float | None:
        """Give the divisor of the logits, if that is all there is."""
        return None if self.terms else float(torch.exp(-self.scale))

    def coefficients(self) -> dict[str, tuple[float, ...]]:
        """Give the fitted numbers, by term."""
        used: dict[str, tuple[Tensor, ...]] = {
            "scale": (self.scale,),
            **({"margin": (self.margin,)} if "margin" in self.terms else {}),
            **({"largest_margin": (self.largest_margin,)} if "margin" in self.terms else {}),
            **({"distance": (self.distance,)} if "distance" in self.terms else {}),
        }
        if "label" in self.terms:
            used |= {"label_scale": (self.label_scale,), "label_shift": (self.label_shift,)}
        return {
            name: tuple(round(float(value), 8) for value in parameters[0])
            for name, parameters in used.items()
        }


def margin_of(logits: Tensor) -> Tensor:
    """(N, K) -> how far the largest is above the second, (N, 1)."""
    largest = logits.topk(2, dim=1).values
    return largest[:, :1] - largest[:, 1:]
