"""The head of a network in a file: one linear layer, wherever a training script has put it.

`model.weights.names` asks; names and shapes only.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from string import digits

import torch
from torch import Tensor

USUAL = re.compile(
    r"(?:.*\.)?(?:fc|linear|last_linear|classifier|classification_head|head|logits|output)"
    r"(?:\.\d+|\.fc|\.linear)?"
)
"""Names of heads that are taken where a file has several linear layers."""


@dataclass(frozen=True)
class Head:
    """What of a file serves as the head.

    Attributes:
        keys: The file's keys -> our names; empty where nothing can serve.
        module: The layer's name in the file.
        fault: Why the file's head cannot be ours, if it has one that cannot.
        doubled: Keys of a second head of the same shape -> our name.
    """

    keys: Mapping[str, str] = field(default_factory=dict)
    module: str = ""
    fault: str = ""
    doubled: Mapping[str, str] = field(default_factory=dict)


def head_name(shapes: Mapping[str, torch.Size]) -> str:
    """Name the head among the tensors of a network of ours."""
    return "head.fc" if "head.fc.weight" in shapes else "fc"


def part_of(name: str) -> str:
    """Name the part of a network that a tensor belongs to: layer, conv, stages."""
    return name.split(".", maxsplit=1)[0].rstrip(digits)


def body_of(shapes: Mapping[str, torch.Size]) -> set[str]:
    """Name the parts of a network of ours beside the head."""
    return {part_of(name) for name in shapes if not name.startswith(f"{head_name(shapes)}.")}


def find_head(
    weights: Mapping[str, Tensor],
    spelt: Mapping[str, str],
    prefix: str,
    shapes: Mapping[str, torch.Size],
) -> Head:
    """Find the one linear layer behind the features.

    Args:
        weights: The file's, without what is of other networks or for training alone.
        spelt: Its keys, written as ours.
        prefix: Before the keys of the body.
        shapes: Of our network.
    """
    ours = head_name(shapes)
    linears = _linears(weights, spelt, prefix, shapes)
    if not linears:
        return Head()
    chosen, several = _choose(linears, f"{prefix}{ours}")
    if chosen is None:
        return Head(fault=several)
    width, outputs = linears[chosen].shape[1], linears[chosen].shape[0]
    chain = [
        name
        for name, tensor in linears.items()
        if name != chosen
        and tensor.shape != linears[chosen].shape
        and (tensor.shape[1] == outputs or tensor.shape[0] == width)
    ]
    siblings = _siblings(chosen, prefix, weights, spelt)
    if chain or siblings:
        layers = ", ".join(_drawn(name, linears) for name in dict.fromkeys([*linears, *siblings]))
        return Head(fault=f"its head has several layers ({layers}), ours is one linear layer")
    keys = {
        key: f"{ours}.{leaf}"
        for key, name in spelt.items()
        for leaf in ("weight", "bias")
        if name == f"{chosen}.{leaf}" and key in weights
    }
    second = {
        key: f"{ours}.{leaf}"
        for key, name in spelt.items()
        for leaf in ("weight", "bias")
        for other, tensor in linears.items()
        if other != chosen and tensor.shape == linears[chosen].shape and name == f"{other}.{leaf}"
    }
    return Head(keys, chosen, doubled=second)


def _linears(
    weights: Mapping[str, Tensor],
    spelt: Mapping[str, str],
    prefix: str,
    shapes: Mapping[str, torch.Size],
) -> dict[str, Tensor]:
    """Give the linear layers beside the body: module -> weight (K, F)."""
    body = body_of(shapes)
    ours = f"{head_name(shapes)}."
    found = {}
    for key, tensor in weights.items():
        name = spelt[key]
        module, _, leaf = name.rpartition(".")
        own = name.removeprefix(prefix)
        is_body = name.startswith(prefix) and part_of(own) in body and not own.startswith(ours)
        is_matrix = tensor.ndim == 2 or (tensor.ndim == 4 and tensor.shape[2:] == (1, 1))
        if leaf == "weight" and is_matrix and not is_body:
            found[module] = tensor
    return found


def _choose(linears: Mapping[str, Tensor], exact: str) -> tuple[str | None, str]:
    """Take the very name, the only layer, or the only one with a usual name."""
    if exact in linears:
        return exact, ""
    usual = [name for name in linears if USUAL.fullmatch(name)]
    for names in (list(linears), usual):
        if len(names) == 1:
            return names[0], ""
        if names and len({linears[name].shape for name in names}) == 1:
            return names[0], ""
    layers = ", ".join(_drawn(name, linears) for name in linears)
    return None, f"it has several linear layers beside the body ({layers}); ours has one"


def _siblings(
    chosen: str, prefix: str, weights: Mapping[str, Tensor], spelt: Mapping[str, str]
) -> list[str]:
    """Give what else stands beside the layer in a container that is the head's alone."""
    container = chosen.rpartition(".")[0]
    if not container or f"{prefix}.".startswith(f"{container}."):
        return []
    return [
        name.rpartition(".")[0]
        for key, name in spelt.items()
        if key in weights
        and name.startswith(f"{container}.")
        and not name.startswith(f"{chosen}.")
        and weights[key].ndim > 0
    ]


def _drawn(name: str, linears: Mapping[str, Tensor]) -> str:
    shape = f" {tuple(linears[name].shape)}" if name in linears else ""
    return f"{name}{shape}"
