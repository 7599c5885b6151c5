"""Weights from elsewhere: checkpoints of torchvision, timm and others, into our networks.

`model.weights.file` opens a file; `fit_to_weights` finds out which variant of an architecture
it was made for; `load_weights` copies what fits and reports every key that does not. Nothing is
left out in silence.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from model.architecture.spec import Architecture, checked_architecture
from model.network.resnet import ResNet
from model.weights.file import Weights, WeightsError
from model.weights.head import body_of, head_name, part_of
from model.weights.names import COUNTER, Named, Shapes, is_auxiliary, name_keys, shapes_of, shown
from model.weights.report import LoadReport

LEARNT = ("weight", "bias", "running_mean", "running_var")
"""Ends the names of tensors that change a network's answers."""

PLAIN = (Tensor, torch.nn.Parameter)
"""Kinds of tensors that hold their numbers themselves."""


def fit_to_weights(architecture: Architecture, weights: Weights) -> Architecture:
    """Take labels, input channels, stem and kind of shortcut from the file.

    Raises:
        ValueError: If the file asks for what the architecture cannot be.
    """
    shapes = shapes_of(architecture)
    named = name_keys(weights, shapes)
    found = {name: weights[key] for name, key in named.keys.items()}
    changes: dict[str, Any] = {}
    head = found.get(f"{head_name(shapes)}.weight")
    if head is not None and head.ndim in (2, 4):
        changes["num_classes"] = head.shape[0]
    first = found.get("stem.conv.weight" if architecture.is_preactivated else "conv1.weight")
    if first is not None and first.ndim == 4:
        changes["in_channels"] = first.shape[1]
        if first.shape[2] == 3 and architecture.stem == "standard":
            changes |= {"stem": "small", "size": 32}
    if architecture.shortcuts == "padding" and any(".downsample." in name for name in found):
        changes["shortcuts"] = "projection"
    return checked_architecture(architecture.model_dump() | changes)


def without_head(architecture: Architecture, weights: Weights) -> Weights:
    """Leave out what would be loaded as the head."""
    head = name_keys(weights, shapes_of(architecture)).head
    return {
        key: tensor for key, tensor in weights.items() if key not in {**head.keys, **head.doubled}
    }


def load_weights(network: ResNet, weights: Weights) -> LoadReport:
    """Copy every tensor that fits into the network.

    Three input channels become one by summing the first convolution over them: the answer to
    a grey image is what three equal channels would give. One becomes three by a third each.

    Raises:
        WeightsError: If no tensor fits, or one holds what no training leaves behind.
    """
    loaded, report = match_weights(network.architecture, weights)
    if not loaded:
        raise WeightsError(
            f"No tensor of the file fits {network.architecture.name}: it begins with "
            f"{shown(weights)}; the network with {shown(network.state_dict())}."
        )
    network.load_state_dict(loaded, strict=False)
    return report


def match_weights(
    architecture: Architecture, weights: Weights
) -> tuple[dict[str, Tensor], LoadReport]:
    """Find the tensors that an architecture's network would take, and what becomes of each key.

    Raises:
        WeightsError: If one of them holds what no training leaves behind.
    """
    shapes = shapes_of(architecture)
    named = name_keys(weights, shapes)
    first = next(iter(shapes))
    adapted, mismatched = [], []
    loaded: dict[str, Tensor] = {}
    for name, wanted in shapes.items():
        if name not in named.keys:
            continue
        tensor = _checked(named.keys[name], weights, counts=name.endswith(COUNTER))
        fitted, note = _fit(tensor, wanted, is_first=name == first)
        if fitted is None:
            seen = f"the file has {tuple(tensor.shape)}, the network {tuple(wanted)}"
            mismatched.append(f"{name}: {seen}")
            continue
        if note:
            adapted.append(f"{name}: {note}")
        loaded[name] = fitted
    head = head_name(shapes)
    bias, weight = f"{head}.bias", f"{head}.weight"
    if weight in loaded and bias not in named.keys:
        loaded[bias] = torch.zeros(shapes[bias])
        adapted.append(f"{bias}: not in the file, and zero, as in a layer without a bias")
    return loaded, _report(loaded, weights, named, shapes, adapted, mismatched)


def _report(  # noqa: PLR0913, PLR0917  # what was found, and what came of it
    loaded: Mapping[str, Tensor],
    weights: Weights,
    named: Named,
    shapes: Shapes,
    adapted: list[str],
    mismatched: list[str],
) -> LoadReport:
    """Sort every key of either side."""
    used = {key for name, key in named.keys.items() if name in shapes}
    spent = used | named.doubled.keys() | named.rivals
    unused = [key for key in weights if key not in spent]
    body, names = body_of(shapes), {key: name for name, key in named.keys.items()}
    learnt = [key for key in unused if key.endswith(LEARNT)]
    beyond = [key for key in learnt if part_of(names.get(key, key)) in body]
    beside = [key for key in learnt if key not in beyond and not is_auxiliary(names.get(key, key))]
    return LoadReport(
        loaded=len(loaded),
        total=len(shapes),
        adapted=tuple(adapted),
        mismatched=tuple(mismatched),
        missing=tuple(name for name in shapes if name not in named.keys and name not in loaded),
        unused=tuple(unused),
        doubled=tuple(
            f"{key}: {named.keys.get(name)} is {name} already"
            for key, name in named.doubled.items()
        ),
        beyond=tuple(beyond),
        beside=() if named.head.fault else tuple(beside),
        notes=tuple(_notes(loaded, weights, named, shapes)),
        head=named.head.fault,
    )


def _notes(
    loaded: Mapping[str, Tensor], weights: Weights, named: Named, shapes: Shapes
) -> Iterator[str]:
    """Say what is not as in a plain file of torchvision's."""
    if named.prefix:
        yield f"the network's tensors stand behind the prefix `{shown([named.prefix])}`"
    if named.head.module and not named.head.module.endswith(head_name(shapes)):
        yield f"the head is `{shown([named.head.module])}`"
    if named.rivals:
        yield f"not taken: {len(named.rivals)} tensors of another network, {shown(named.rivals, 1)}"
    kinds = Counter(weights[named.keys[name]].dtype for name in loaded if name in named.keys)
    for kind, count in kinds.items():
        if kind not in (torch.float32, torch.int64):
            yield f"{count} tensors of {kind} are read as float32"


def _checked(key: str, weights: Weights, *, counts: bool) -> Tensor:
    """Refuse what would make every answer nonsense, before it is copied."""
    tensor = weights[key]
    named = shown([key])
    if type(tensor) not in PLAIN or tensor.layout != torch.strided or tensor.is_meta:
        kind = "no numbers" if tensor.is_meta else f"a {type(tensor).__name__} ({tensor.layout})"
        raise WeightsError(
            f"{named} has {kind}; weights must be plain tensors. Save the network's state with "
            "dense tensors on one device."
        )
    if counts:
        return tensor
    if not tensor.is_floating_point() or tensor.itemsize == 1:
        kind = "numbers" if tensor.is_floating_point() or tensor.is_complex() else "integers"
        raise WeightsError(
            f"{named} has {kind} ({tensor.dtype}); weights must be floating point. Save the "
            "network as it was before it was quantized."
        )
    tensor = tensor.detach().float()
    if not tensor.isfinite().all():
        raise WeightsError(
            f"{named} holds numbers that are not finite: the training that saved it had failed. "
            "Take an earlier checkpoint."
        )
    return tensor


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
