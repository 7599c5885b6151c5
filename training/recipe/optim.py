"""The optimisers, and which weights get which rule and rate.

Three kinds of weights: convolutions, which Muon may move; other matrices, to which weight
decay applies as to convolutions under the other optimisers; norms and biases, which never
decay. The head may learn faster than the rest, or alone.
"""

from collections.abc import Callable, Iterable
from typing import Any, overload

import torch
from torch import Tensor
from torch.optim import SGD, Adam, AdamW, Optimizer

from model.network.resnet import ResNet
from training.recipe.recipe import Recipe

QUINTIC = (3.4445, -4.7750, 2.0315)
"""Steepest at zero of the odd quintics that keep [0, 1] near 1 (Jordan et al., 2024)."""

NEWTON_SCHULZ_STEPS = 5
"""They bring the singular values between about 0.7 and 1.2."""


class Muon(Optimizer):
    """Nesterov SGD, with orthogonal updates of a fixed angle for convolutions.

    In a group with `orthogonal=True` the momentum of each weight, as a matrix
    (out, in x k x k), is replaced by the nearest semi-orthogonal one, so that all
    directions learn alike. The step is `lr` times the weight's own norm, and the norm
    stays what the initialisation made it: behind a batch norm only the direction counts,
    so weight decay would do no more than change the rate. Where no norm follows, as in
    squeeze-and-excitation, the fixed norm is a limit of this rule. A grouped convolution
    counts as one matrix. Other groups take plain Nesterov steps with decay.

    Args:
        groups: As for any optimiser; each may set `lr`, `momentum`, `weight_decay` and
            `orthogonal`.

    Source:
        Jordan et al., "Muon: An optimizer for hidden layers in neural networks", 2024.
    """

    def __init__(self, groups: Iterable[dict[str, Any]]) -> None:
        super().__init__(
            groups, {"lr": 0.1, "momentum": 0.9, "weight_decay": 0.0, "orthogonal": False}
        )

    @overload
    def step(self, closure: None = None) -> None: ...

    @overload
    def step(self, closure: Callable[[], float]) -> float: ...

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """Move every weight that has a gradient."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            for weight in group["params"]:
                if weight.grad is not None:
                    self._move(weight, group)
        return loss

    def _move(self, weight: Tensor, group: dict[str, Any]) -> None:
        gradient: Tensor = weight.grad  # type: ignore[assignment]  # `step` has checked
        if group["weight_decay"]:
            gradient = gradient.add(weight, alpha=group["weight_decay"])
        state = self.state[weight]
        if "momentum_buffer" not in state:
            state["momentum_buffer"] = torch.zeros_like(gradient)
        buffer = state["momentum_buffer"].mul_(group["momentum"]).add_(gradient)
        update = gradient.add(buffer, alpha=group["momentum"])
        if not group["orthogonal"]:
            weight.add_(update, alpha=-group["lr"])
            return
        direction = orthogonalize(update.flatten(1)).view_as(update)
        norm = weight.norm()
        weight.sub_(direction * (group["lr"] * norm / direction.norm().clamp_min(1e-12)))
        weight.mul_(norm / weight.norm().clamp_min(1e-12))


def orthogonalize(matrix: Tensor) -> Tensor:
    """Push all singular values of a matrix towards one; float32 (R, C) in and out.

    By Newton-Schulz iterations, in bfloat16: multiplications alone, and none of them
    needs to be exact.
    """
    if matrix.shape[0] > matrix.shape[1]:
        return orthogonalize(matrix.T).T
    a, b, c = QUINTIC
    x: Tensor = matrix.bfloat16() / matrix.norm().clamp_min(1e-7)
    for _ in range(NEWTON_SCHULZ_STEPS):
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x.float()


def build_optimizer(network: ResNet, recipe: Recipe) -> Optimizer:
    """Put the weights that learn into groups, and give each the recipe's rule."""
    groups = _parameter_groups(network, recipe)
    match recipe.optimizer:
        case "adam":
            return Adam(groups.values())
        case "adamw":
            return AdamW(groups.values())
        case "sgd":
            return SGD(groups.values(), momentum=recipe.momentum, nesterov=recipe.momentum > 0)
        case "muon":
            return Muon(groups.values())


def _parameter_groups(network: ResNet, recipe: Recipe) -> dict[tuple[float, str], dict[str, Any]]:
    """Group the weights by rate and rule; frozen ones are in no group."""
    groups: dict[tuple[float, str], dict[str, Any]] = {}
    head = {id(parameter) for parameter in network.classifier.parameters()}
    for weight in network.parameters():
        scale = 1.0 if id(weight) in head else recipe.backbone_lr_scale
        if not scale:
            continue
        if recipe.optimizer == "muon" and weight.ndim == 4 and id(weight) not in head:
            rule = {
                "lr": recipe.muon_lr * scale,
                "momentum": recipe.muon_momentum,
                "orthogonal": True,
            }
            kind = "orthogonal"
        else:
            kind = "decayed" if weight.ndim > 1 else "not decayed"
            rule = {"lr": recipe.learning_rate * scale, "weight_decay": 0.0}
            if kind == "decayed":
                rule["weight_decay"] = recipe.weight_decay
            if recipe.optimizer == "muon":
                rule["momentum"] = recipe.momentum
        groups.setdefault((scale, kind), {"params": [], **rule})["params"].append(weight)
    return groups
