"""Weights from elsewhere: checkpoints of torchvision, timm and others, into our networks.

`model.weights_file` opens a file; `fit_to_weights` finds out which variant of an architecture
it was made for; `load_weights` copies what fits and reports every key that does not. Nothing is
left out in silence.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.architecture import Architecture, checked_architecture
from model.network import ResNet
from model.weights_file import Weights, WeightsError

PREFIXES = ("module.", "_orig_mod.", "network.", "model.")
"""Left by DataParallel, by torch.compile, by our own run folders, by Lightning modules."""

HEADS = ("fc", "linear", "classifier", "head.fc", "head")


@dataclass(frozen=True)
class LoadReport:
    """What became of each key.

    Attributes:
        loaded: How many of the network's tensors came from the file.
        total: How many it has.
        adapted: Loaded, but not as they were; each with what was done.
        mismatched: In both with different shapes; the network keeps its own.
        missing: Of the network, not in the file; the network keeps its own.
        unused: In the file, not in the network.
        doubled: In the file under a second name; the network has the first.
    """

    loaded: int
    total: int
    adapted: tuple[str, ...]
    mismatched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    doubled: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Say it, a line a key."""
        yield f"{self.loaded} of {self.total} tensors loaded"
        yield from (f"adapted: {note}" for note in self.adapted)
        yield from (f"left at its initial value: {note}" for note in self.mismatched)
        yield from (f"left at its initial value: {key}: not in the file" for key in self.missing)
        yield from (f"not used: {key}" for key in self.unused)
        yield from (f"not used: {note}" for note in self.doubled)


def our_name(key: str) -> str:
    """Take prefixes off; call a head `fc` and a shortcut `downsample`."""
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    for head in HEADS:
        if key in (f"{head}.weight", f"{head}.bias"):
            return f"fc.{key.rpartition('.')[2]}"
    return key.replace(".shortcut.", ".downsample.")


def _first_keys(weights: Weights) -> dict[str, str]:
    """Find the file's key for each of our names; the very name before one that is like it."""
    keys: dict[str, str] = {}
    for key in weights:
        name = our_name(key)
        if name not in keys or key == name:
            keys[name] = key
    return keys


def fit_to_weights(architecture: Architecture, weights: Weights) -> Architecture:
    """Take labels, input channels, stem and kind of shortcut from the file.

    Raises:
        ValueError: If the file asks for what the architecture cannot be.
    """
    weights = {name: weights[key] for name, key in _first_keys(weights).items()}
    changes: dict[str, Any] = {}
    head = weights.get("fc.weight")
    if head is not None and head.ndim in (2, 4):
        changes["num_classes"] = head.shape[0]
    first = weights.get("stem.conv.weight" if architecture.is_preactivated else "conv1.weight")
    if first is not None and first.ndim == 4:
        changes["in_channels"] = first.shape[1]
        if first.shape[2] == 3 and architecture.stem == "standard":
            changes |= {"stem": "small", "size": 32}
    if architecture.shortcuts == "padding" and any(".downsample." in key for key in weights):
        changes["shortcuts"] = "projection"
    return checked_architecture(architecture.model_dump() | changes)


def load_weights(network: ResNet, weights: Weights) -> LoadReport:
    """Copy every tensor that fits into the network.

    Three input channels become one by summing the first convolution over them: the answer to
    a grey picture is what three equal channels would give. One becomes three by a third each.

    Raises:
        WeightsError: If no tensor fits, or one holds what no training leaves behind.
    """
    own = network.state_dict()
    names = {our_name(key): key for key in own}
    first = next(iter(own))
    keys = _first_keys(weights)
    adapted, mismatched, unused, doubled = [], [], [], []
    loaded: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        name = names.get(our_name(key))
        if name is None:
            unused.append(key)
            continue
        if keys[our_name(key)] != key:
            doubled.append(f"{key}: {keys[our_name(key)]} is {name} already")
            continue
        wanted = own[name].shape
        _refuse_senseless(key, tensor, own[name])
        fitted, note = _fit(tensor, wanted, is_first=name == first)
        if fitted is None:
            shapes = f"the file has {tuple(tensor.shape)}, the network {tuple(wanted)}"
            mismatched.append(f"{name}: {shapes}")
            continue
        if note:
            adapted.append(f"{name}: {note}")
        loaded[name] = fitted
    if not loaded:
        raise WeightsError(
            f"No tensor of the file fits {network.architecture.name}: it begins with "
            f"{', '.join(list(weights)[:3])}; the network with {', '.join(list(own)[:3])}."
        )
    network.load_state_dict(loaded, strict=False)
    known = {names.get(our_name(key)) for key in weights}
    return LoadReport(
        loaded=len(loaded),
        total=len(own),
        adapted=tuple(adapted),
        mismatched=tuple(mismatched),
        missing=tuple(key for key in own if key not in known),
        unused=tuple(unused),
        doubled=tuple(doubled),
    )


def _refuse_senseless(key: str, tensor: Tensor, own: Tensor) -> None:
    """Refuse what would make every answer nonsense, before it is copied."""
    if not own.is_floating_point():
        return  # steps that were counted
    if not tensor.is_floating_point():
        raise WeightsError(
            f"{key} has integers ({tensor.dtype}); weights must be floating point. Save the "
            "network as it was before it was quantized."
        )
    if not tensor.isfinite().all():
        raise WeightsError(
            f"{key} holds numbers that are not finite: the training that saved it had failed. "
            "Take an earlier checkpoint."
        )


def _fit(tensor: Tensor, wanted: torch.Size, *, is_first: bool) -> tuple[Tensor | None, str]:
    """Bring a tensor to the wanted shape, and say how; None where there is no honest way."""
    if tensor.shape == wanted:
        return tensor, ""
    squeezed = tuple(size for size in wanted if size > 1)
    if tuple(size for size in tensor.shape if size > 1) == squeezed and tensor.ndim != len(wanted):
        return tensor.reshape(wanted), ""  # a linear head stored as a 1x1 convolution, or back
    rest, wanted_rest = (shape[:1] + shape[2:] for shape in (tensor.shape, wanted))
    if is_first and tensor.ndim == 4 and rest == wanted_rest:
        if wanted[1] == 1:
            return tensor.sum(1, keepdim=True), f"{tensor.shape[1]} input channels summed to one"
        if tensor.shape[1] == 1:
            return tensor.expand(wanted) / wanted[1], f"one input channel spread over {wanted[1]}"
    return None, ""
