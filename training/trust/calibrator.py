"""The calibrator: logits to probabilities, none of which is 0 or 1, in the order of the logits."""

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import Literal

import torch
from torch import Tensor, nn

Term = Literal["margin", "distance"]
SMALLEST_SHARE = 1e-6
"""Of the nearly flat distribution in every answer: float32 tells 1 - 1e-6 from 1."""


def bounded_softmax(logits: Tensor, largest: float = 1.0) -> Tensor:
    """Softmax (N, K) that never saturates: no probability is 0 or 1, and ties need equal logits.

    Mixes the softmax with that of the same logits scaled to a range of 1 at most, which is nearly
    flat. The share of the latter is `SMALLEST_SHARE`, and as much more as brings the likeliest
    label down to `largest`. Both have the order of the logits, so the mixture has it, too.

    Args:
        logits: (N, K).
        largest: No probability is above it; at least 0.75, as the flat part has up to 0.73.
    """
    sharp = logits.softmax(1)
    behind = logits - logits.amax(1, keepdim=True)
    flat = (behind / (-behind.amin(1, keepdim=True)).clamp(min=1)).softmax(1)
    top, top_flat = sharp.amax(1, keepdim=True), flat.amax(1, keepdim=True)
    share = (top - largest) / (top - top_flat).clamp(min=1e-6)
    share = share.clamp(min=SMALLEST_SHARE)
    return sharp + share * (flat - sharp)


class Calibrator(nn.Module):
    """Logits and distances -> probabilities; the order of the labels never changes.

    softmax(exp(a + sum of b_i q_i) max(u, 0) + exp(r) min(u, 0)), where u are the logits minus the
    second largest logit. The lead of the likeliest label has one scale, the other labels have
    another (decision 43). The first scale depends on quantities q_i of the image:

    - `margin`: m and log(1 + m), where m is the margin between the two largest logits;
    - `distance`: log(1 + D1) and log(1 + D2 - D1), of the distances to the two nearest labels.

    Without terms it is temperature scaling, softmax(exp(a) z). Quantities are clipped at the
    largest value that was fitted: beyond it the exponential would run away.

    Args:
        terms: What the scale of the likeliest label depends on.
        largest: Upper limit of each quantity, (Q,); None: no limit.
        max_probability: No answer is above it.
    """

    largest: Tensor

    def __init__(
        self,
        terms: tuple[Term, ...],
        largest: Tensor | None = None,
        max_probability: float = 1.0,
    ) -> None:
        super().__init__()
        self.terms = terms
        self.max_probability = max_probability
        count = 2 * len(terms)
        self.scale = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.rest = nn.Parameter(torch.zeros(1, dtype=torch.float64))
        self.weights = nn.Parameter(torch.zeros(count, dtype=torch.float64))
        unlimited = torch.full((count,), math.inf, dtype=torch.float64)
        self.register_buffer("largest", unlimited if largest is None else largest)

    def forward(self, logits: Tensor, distances: Tensor) -> Tensor:
        """(N, K) and (N, K) -> probabilities (N, K)."""
        return bounded_softmax(self.scaled(logits, distances), self.max_probability)

    def scaled(self, logits: Tensor, distances: Tensor) -> Tensor:
        """Return the calibrated logits (N, K); with terms, minus the second largest logit."""
        if not self.terms:
            return logits * torch.exp(self.scale)
        known = quantities(self.terms, logits, distances).minimum(self.largest)
        exponent = self.scale + (known * self.weights).sum(1, keepdim=True)
        ahead = logits - logits.topk(2, dim=1).values[:, 1:]
        return ahead * torch.where(ahead > 0, exponent, self.rest).exp()

    def temperature(self) -> float | None:
        """Return the temperature; None if the calibrator has terms."""
        return None if self.terms else float(torch.exp(-self.scale))

    def coefficients(self) -> dict[str, tuple[float, ...]]:
        """Return the fitted coefficients, by term."""
        found: dict[str, tuple[float, ...]] = {"scale": (round(float(self.scale), 8),)}
        if self.terms:
            found["rest"] = (round(float(self.rest), 8),)
        for place, term in enumerate(self.terms):
            for name, values in ((term, self.weights), (f"largest {term}", self.largest)):
                own = values[2 * place : 2 * place + 2].tolist()
                found[name] = tuple(round(value, 8) for value in own)
        return found


def quantities(terms: tuple[Term, ...], logits: Tensor, distances: Tensor) -> Tensor:
    """Logits (N, K) and distances (N, K) -> two quantities for each term: (N, Q)."""
    found = []
    if "margin" in terms:
        largest = logits.topk(2, dim=1).values
        margin = largest[:, :1] - largest[:, 1:]
        found += [margin, torch.log(margin + 1)]
    if "distance" in terms:
        nearest = distances.topk(2, dim=1, largest=False).values
        found += [torch.log(nearest[:, :1] + 1), torch.log(nearest[:, 1:] - nearest[:, :1] + 1)]
    return torch.cat(found, dim=1)


SOFTMAX = "softmax"
"""The method that fits nothing."""
METHODS: Mapping[str, tuple[Term, ...]] = MappingProxyType(
    {
        SOFTMAX: (),
        "temperature": (),
        "margin+distance": ("margin", "distance"),
    }
)
