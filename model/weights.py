"""Weights from elsewhere: checkpoints of torchvision, timm and others, into our networks.

`read_weights` opens a file without running what is in it; `fit_to_weights` finds out which
variant of an architecture it was made for; `load_weights` copies what fits and reports every
key that does not. Nothing is left out in silence.

Errors:
    WeightsError    a file cannot be read as weights, or none of them fits
"""

import hashlib
import warnings
from argparse import Namespace
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.architecture import Architecture
from model.network import ResNet

Weights = Mapping[str, Tensor]

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net")
"""Keys under which training scripts put the weights; averaged ones before the last ones."""

PREFIXES = ("module.", "_orig_mod.", "network.", "model.")
"""Left by DataParallel, by torch.compile, by our own run folders, by Lightning modules."""

HEADS = ("fc", "linear", "classifier", "head.fc", "head")

UNREADABLE = (
    OSError,
    RuntimeError,
    UnpicklingError,
    EOFError,
    SafetensorError,
    LookupError,
    ValueError,
    TypeError,
    AttributeError,
)
"""What torch's and safetensors' readers raise on files that are broken or something else."""

_SCALAR = np.float64(0).__reduce__()[0]
HARMLESS: list[Any] = [
    Namespace,  # timm's options
    np.dtype,
    *(type(np.dtype(name)) for name in ("float64", "float32", "int64")),
    (_SCALAR, "numpy.core.multiarray.scalar"),  # of NumPy 1; an accuracy, often
    (_SCALAR, "numpy._core.multiarray.scalar"),
]
"""What training scripts leave beside the weights, and may be read: it runs nothing."""


class WeightsError(Exception):
    """A file cannot be read as weights, or does not fit; the message says why."""


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
    """

    loaded: int
    total: int
    adapted: tuple[str, ...]
    mismatched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

    def lines(self) -> Iterator[str]:
        """Say it, a line a key."""
        yield f"{self.loaded} of {self.total} tensors loaded"
        yield from (f"adapted: {note}" for note in self.adapted)
        yield from (f"left at its initial value: {note}" for note in self.mismatched)
        yield from (f"left at its initial value: {key}: not in the file" for key in self.missing)
        yield from (f"not used: {key}" for key in self.unused)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a .pth or .safetensors file, under the file's names.

    A .pth file is a pickle, and is read with `weights_only=True`: what is in it is not run.

    Raises:
        WeightsError: If it cannot be read, or holds no tensors.
    """
    try:
        if path.suffix == ".safetensors":
            content: Any = load_file(path)
        else:
            content = _read_pickle(path)
    except FileNotFoundError:
        raise WeightsError(f"There are no weights at {path}.") from None
    except UNREADABLE as error:
        raise WeightsError(
            f"{path} cannot be read as weights: {_cause(error)} Save `network.state_dict()` as "
            ".pth or .safetensors."
        ) from error
    tensors = _unwrap(content)
    if not tensors:
        raise WeightsError(f"{path} holds no weights under the names of a network's state.")
    return tensors


def _cause(error: Exception) -> str:
    """Say in a line why a file is none; torch's own advice is to run what is in it."""
    if "Unsupported global" in str(error):
        return "it holds a whole network or other objects, and what is in a file is not run."
    return str(error).splitlines()[0] if str(error) else type(error).__name__


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
        warnings.simplefilter("ignore", UserWarning)  # about old forms of pickle
        return torch.load(path, map_location="cpu", weights_only=True)


def describe_file(path: Path) -> str:
    """Name a file and its SHA-256, for records.

    Raises:
        WeightsError: If it cannot be read.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    return f"{path.name} sha256:{digest}"


def _unwrap(content: Any) -> dict[str, Tensor]:
    """Find the tensors, however deep a training script has put them."""
    if not isinstance(content, Mapping):
        return {}
    for wrapper in WRAPPERS:
        if isinstance(content.get(wrapper), Mapping):
            return _unwrap(content[wrapper])
    return {str(key): value for key, value in content.items() if isinstance(value, Tensor)}


def _our_name(key: str) -> str:
    """Take prefixes off; call a head `fc` and a shortcut `downsample`."""
    while key.startswith(PREFIXES):
        key = key.split(".", 1)[1]
    for head in HEADS:
        if key in (f"{head}.weight", f"{head}.bias"):
            return f"fc.{key.rpartition('.')[2]}"
    return key.replace(".shortcut.", ".downsample.")


def fit_to_weights(architecture: Architecture, weights: Weights) -> Architecture:
    """Take labels, input channels, stem and kind of shortcut from the file.

    Raises:
        ValueError: If the file asks for what the architecture cannot be.
    """
    weights = {_our_name(key): tensor for key, tensor in weights.items()}
    changes: dict[str, Any] = {}
    head = weights.get("fc.weight")
    if head is not None:
        changes["num_classes"] = head.shape[0]
    first = weights.get("stem.conv.weight" if architecture.is_preactivated else "conv1.weight")
    if first is not None and first.ndim == 4:
        changes["in_channels"] = first.shape[1]
        if first.shape[2] == 3 and architecture.stem == "standard":
            changes |= {"stem": "small", "size": 32}
    if architecture.shortcuts == "padding" and any(".downsample." in key for key in weights):
        changes["shortcuts"] = "projection"
    return Architecture.model_validate(architecture.model_dump() | changes)


def load_weights(network: ResNet, weights: Weights) -> LoadReport:
    """Copy every tensor that fits into the network.

    Three input channels become one by summing the first convolution over them: the answer to
    a grey picture is what three equal channels would give. One becomes three by a third each.

    Raises:
        WeightsError: If no tensor fits.
    """
    own = network.state_dict()
    names = {_our_name(key): key for key in own}
    first = next(iter(own))
    adapted, mismatched, unused = [], [], []
    loaded: dict[str, Tensor] = {}
    for key, tensor in weights.items():
        name = names.get(_our_name(key))
        if name is None:
            unused.append(key)
            continue
        wanted = own[name].shape
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
    known = {names.get(_our_name(key)) for key in weights}
    return LoadReport(
        loaded=len(loaded),
        total=len(own),
        adapted=tuple(adapted),
        mismatched=tuple(mismatched),
        missing=tuple(key for key in own if key not in known),
        unused=tuple(unused),
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
