"""The part of a graph that turns logits into honest probabilities.

Source:
    Guo et al., "On Calibration of Modern Neural Networks", 2017 (arXiv 1706.04599) for
    temperature scaling. A scale that depends on the picture follows Tomani et al.,
    "Parameterized Temperature Scaling", 2022 (arXiv 2102.12182); that it may depend on the
    distance in feature space follows Tomani et al., "Beyond In-Domain Scenarios: Robust
    Density-Aware Calibration", 2023 (arXiv 2302.05118).
"""

import math
from typing import Literal

import torch
from torch import Tensor, nn

Term = Literal["margin", "distance"]


class Calibrator(nn.Module):
    """Logits and distances -> probabilities; the likeliest label stays what it was.

    softmax(exp(a + sum of b_i q_i) max(u, 0) + exp(r) min(u, 0)), where u are the logits less the
    second largest: how far the likeliest label is ahead has one scale, how far the others are
    behind another (decision 43). The first depends on quantities q_i of the picture: m and
    log(1 + m), where m is the margin between the two largest logits (`margin`); log(1 + D1) and
    log(1 + D2 - D1), where D1 and D2 are the distances to the two nearest labels (`distance`). A
    method has some of the terms; with none it is temperature scaling, softmax(exp(a) z).
    Quantities count up to the largest that was fitted: beyond it nobody knows, and the exponential
    would run away.

    Args:
        terms: What the scale of the likeliest label depends on.
        largest: Of each quantity, (Q,); None: as they come.
    """

    largest: Tensor

    def __init__(self, terms: tuple[Term, ...], largest: Tensor | None = None) -> None:
        """Start as the plain softmax."""
        super().__init__()
        self.terms = terms
        count = 2 * len(terms)
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.rest = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.weights = nn.Parameter(torch.zeros(count, dtype=torch.float64))
        unlimited = torch.full((count,), math.inf, dtype=torch.float64)
        self.register_buffer("largest", unlimited if largest is None else largest)

    def forward(self, logits: Tensor, distances: Tensor) -> Tensor:
        """(N, K) and (N, K) -> probabilities (N, K)."""
        return self.scaled(logits, distances).softmax(1)

    def scaled(self, logits: Tensor, distances: Tensor) -> Tensor:
        """Give the calibrated logits (N, K), with terms less the second largest."""
        if not self.terms:
            return logits * torch.exp(self.scale)
        known = quantities(self.terms, logits, distances).minimum(self.largest)
        exponent = self.scale + (known * self.weights).sum(1, keepdim=True)
        ahead = logits - logits.topk(2, dim=1).values[:, 1:]
        return ahead * torch.where(ahead > 0, exponent, self.rest).exp()

    def temperature(self) -> float | None:
        """Give the divisor of the logits, if that is all there is."""
        return None if self.terms else float(torch.exp(-self.scale))

    def coefficients(self) -> dict[str, tuple[float, ...]]:
        """Give the fitted numbers, by term."""
        found: dict[str, tuple[float, ...]] = {"scale": (round(float(self.scale), 8),)}
        if self.terms:
            found["rest"] = (round(float(self.rest), 8),)
        for place, term in enumerate(self.terms):
            for name, values in ((term, self.weights), (f"largest {term}", self.largest)):
                own = values[2 * place : 2 * place + 2].tolist()
                found[name] = tuple(round(value, 8) for value in own)
        return found


def quantities(terms: tuple[Term, ...], logits: Tensor, distances: Tensor) -> Tensor:
    """(N, K) and (N, K) -> what each term looks at, two for each: (N, Q)."""
    found = []
    if "margin" in terms:
        largest = logits.topk(2, dim=1).values
        margin = largest[:, :1] - largest[:, 1:]
        found += [margin, torch.log(margin + 1)]
    if "distance" in terms:
        nearest = distances.topk(2, dim=1, largest=False).values
        found += [torch.log(nearest[:, :1] + 1), torch.log(nearest[:, 1:] - nearest[:, :1] + 1)]
    return torch.cat(found, dim=1)
