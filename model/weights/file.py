"""Files of weights: checkpoints of torchvision, timm and others, read without running them.

Errors:
    WeightsError    a file cannot be read as weights
"""

import hashlib
import re
import struct
import warnings
import zipfile
import zlib
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from model.architecture.family import ARCHITECTURES
from model.architecture.spec import Architecture
from model.weights.kinds import (
    AGAIN,
    SAVE,
    check_place,
    foreign_kind,
    is_safetensors,
    missing_bytes,
)
from model.weights.names import is_preferred, name_keys, shapes_of, shown

Weights = Mapping[str, Tensor]

OWN_RECORD, OWN_PREFIX = "run", "network."
"""In checkpoints of `train-model`: the record of the run, and what stands before its network."""

MAX_DEPTH = 6
"""Nested wrappers that are searched."""

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
    ArithmeticError,
    AssertionError,
    ImportError,
    MemoryError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
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


def read_weights(
    path: Path,
    architecture: Architecture = ARCHITECTURES["resnet18"],
    tell: Callable[[str], None] = lambda _: None,
) -> dict[str, Tensor]:
    """Read the tensors of a .pth or .safetensors file, under the file's names.

    A .pth file is a pickle, and is read with `weights_only=True`: what is in it is not run.

    Args:
        path: The file; its content decides how it is read, not its name.
        architecture: Of several networks in a file the one that fits it best is taken.
        tell: Called with the place in the file where the weights were found.

    Raises:
        WeightsError: If it cannot be read, or holds no tensors.
    """
    content = _read(path)
    if isinstance(content, Mapping) and isinstance(content.get(OWN_RECORD), str):
        content = _own(content)
    found = dict(_networks(content))
    if not found:
        raise WeightsError(
            f"{path} holds no weights under the names of a network's state: {_described(content)}. "
            f"{SAVE}"
        )
    place = _choose(found, architecture)
    if place:
        beside = [f"`{other or 'the file itself'}`" for other in found if other != place]
        besides = f"; not taken: {shown(beside)}" if beside else ""
        tell(f"weights found under `{shown([place])}`{besides}")
    return found[place]


def _read(path: Path) -> Any:
    """Read a file of tensors, or say what it is instead."""
    cut = ""
    try:
        kind = check_place(path) or foreign_kind(path)
        if kind is None:
            with path.open("rb") as file:
                is_safe = is_safetensors(file.read(16))
            if is_safe and (lacking := missing_bytes(path)):
                cut = f"it is cut short: {lacking:,} bytes are missing at its end. {AGAIN}"
            return load_file(path) if is_safe else _read_pickle(path)
    except FileNotFoundError:
        raise WeightsError(f"There are no weights at {path}.") from None
    except UNREADABLE as error:
        cause = cut or _cause(error)
        raise WeightsError(f"{path} cannot be read as weights: {cause}") from error
    raise WeightsError(f"{path} cannot be read as weights: it is {kind.what}. {kind.way}")


def _cause(error: Exception) -> str:
    """Say in a line why a file is none; torch's own advice is to run what is in it."""
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}."
    text = str(error)
    if "Unsupported global" in text or "not an allowed global" in text:
        named = re.search(r"GLOBAL ([\w.]{1,80}) was not", text)
        what = f" (`{named[1]}`)" if named else ""
        return (
            f"it holds a whole network or other objects{what}, and what is in a file is not run. "
            f"{SAVE}"
        )
    if not text or "weights_only" in text or not text.isascii():
        return f"it is damaged, or of another kind. {SAVE}"
    return f"{text.splitlines()[0][:200].rstrip('.')}. {SAVE}"


def _read_pickle(path: Path) -> Any:
    with warnings.catch_warnings(), torch.serialization.safe_globals(HARMLESS):
        warnings.simplefilter("ignore")  # about old forms of pickle
        with path.open("rb") as file:  # torch would go by the name's ending
            return torch.load(file, map_location="cpu", weights_only=True)


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


def _own(content: Mapping[str, Any]) -> Any:
    """Take the network out of a checkpoint of `train-model`."""
    state = content.get("state_dict")
    network = {
        key.removeprefix(OWN_PREFIX): value
        for key, value in (state.items() if isinstance(state, Mapping) else ())
        if isinstance(key, str) and key.startswith(OWN_PREFIX)
    }
    return network or content


def _networks(
    content: Any, place: str = "", depth: int = 0
) -> Iterator[tuple[str, dict[str, Tensor]]]:
    """Find each dict of tensors by name, however deep a training script has put it."""
    if not isinstance(content, Mapping) or depth > MAX_DEPTH:
        return
    tensors = {
        key: value
        for key, value in content.items()
        if isinstance(key, str) and isinstance(value, Tensor) and not value.is_nested
    }
    if any(tensor.ndim for tensor in tensors.values()):
        yield place, tensors
    for key, value in content.items():
        if isinstance(key, str) and "optim" not in key.lower():
            yield from _networks(value, f"{place}.{key}" if place else key, depth + 1)


def _choose(found: Mapping[str, Weights], architecture: Architecture) -> str:
    """Take what fits an architecture best; of equals averaged weights, then the first."""
    if len(found) == 1:
        return next(iter(found))
    shapes = shapes_of(architecture)
    score = {place: name_keys(weights, shapes).score for place, weights in found.items()}
    return max(found, key=lambda place: (*score[place], is_preferred(place), len(found[place])))


def _described(content: Any) -> str:
    """Say what is in a file instead of tensors by name."""
    if not isinstance(content, Mapping):
        return f"it holds a {type(content).__name__}"
    return f"it has the keys {shown(map(str, content))}" if content else "it is an empty dict"
