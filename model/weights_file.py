"""Files of weights: checkpoints of torchvision, timm and others, read without running them.

Errors:
    WeightsError    a file cannot be read as weights
"""

import hashlib
import warnings
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

Weights = Mapping[str, Tensor]

WRAPPERS = ("state_dict_ema", "model_ema", "state_dict", "model", "net")
"""Keys under which training scripts put the weights; averaged ones before the last ones."""

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
    text = str(error)
    if "Unsupported global" in text:
        return "it holds a whole network or other objects, and what is in a file is not run."
    if not text or "weights_only" in text:
        return "it is empty, damaged, or of another kind."
    return f"{text.splitlines()[0].rstrip('.')}."


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
