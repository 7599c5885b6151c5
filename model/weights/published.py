"""Weights by name: trained on ImageNet, published by torchvision, fetched once.

Source:
    torchvision's `models/resnet.py`; the digits in a file's name begin its SHA-256.
"""

import hashlib
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import get_close_matches
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple
from urllib.error import HTTPError

import torch

from model.weights.file import UNREADABLE, WeightsError

BASE_URL = "https://download.pytorch.org/models/"
TIMEOUT_S = 30.0
"""Without a byte from the server."""


class Published(NamedTuple):
    """A file of weights: its architecture, its name, and the shorter side that it expects."""

    architecture: str
    file: str
    resize: int


V1_RESIZE, V2_RESIZE = 256, 232
"""Pixels of the shorter side before the crop of 224."""

_V1 = {
    "resnet18": "f37072fd",
    "resnet34": "b627a593",
    "resnet50": "0676ba61",
    "resnet101": "63fe2227",
    "resnet152": "394f9c45",
    "resnext50_32x4d": "7cdf4587",
    "resnext101_32x8d": "8ba56ff5",
    "wide_resnet50_2": "95faca4d",
    "wide_resnet101_2": "32ee1156",
}
_V2 = {
    "resnet50": "11ad3fa6",
    "resnet101": "cd907fc2",
    "resnet152": "f82ba261",
    "resnext50_32x4d": "1a0047aa",
    "resnext101_32x8d": "110c445d",
    "wide_resnet50_2": "9ba9bcbe",
    "wide_resnet101_2": "d733dc28",
}


def _entries(suffix: str, hashes: dict[str, str], resize: int) -> dict[str, Published]:
    return {
        f"{name}{suffix}": Published(name, f"{name}-{digits}.pth", resize)
        for name, digits in hashes.items()
    }


PUBLISHED = (
    _entries("", _V1, V1_RESIZE) | _entries("-v1", _V1, V1_RESIZE) | _entries("-v2", _V2, V2_RESIZE)
)
"""By name; the plain name is V1, the usual start for fine-tuning."""


def find_weights(given: str) -> Path:
    """Find a file of weights by its path, or fetch it by its name in `PUBLISHED`.

    A path that exists comes first; what is written as a path is never taken for a name.

    Raises:
        WeightsError: If there is no such file or name, or it cannot be fetched.
    """
    path = Path(given)
    if path.exists() or path.suffix or len(path.parts) != 1:
        return path
    if given in PUBLISHED:
        return fetch(given)
    near = get_close_matches(given, PUBLISHED, n=1)
    hint = f" Did you mean {near[0]}?" if near else ""
    raise WeightsError(
        f"There is no file {given}, and no published weights have that name.{hint} "
        f"Known: {', '.join(PUBLISHED)}."
    )


def published_as(given: str | None) -> Published | None:
    """Get the entry of a name; None for a path that exists, as `find_weights` has it."""
    return None if given is None or Path(given).exists() else PUBLISHED.get(given)


def fetch(name: str) -> Path:
    """Fetch weights into torch's cache, if they are not there, and check their SHA-256.

    Raises:
        WeightsError: If they cannot be fetched, or the file is another one.
    """
    file = PUBLISHED[name].file
    path = Path(torch.hub.get_dir()) / "checkpoints" / file
    url = BASE_URL + file
    if path.exists():  # torch does not look at a file that is there
        _check(path, url)
        return path
    try:
        with _socket_timeout(TIMEOUT_S):  # torch waits for ever
            torch.hub.load_state_dict_from_url(
                url,
                map_location="cpu",
                progress=sys.stderr.isatty(),
                check_hash=True,
                weights_only=True,
            )
    except (HTTPException, *UNREADABLE) as error:
        if isinstance(error, HTTPError):
            error.close()
        cause = " ".join(str(error).split()) or type(error).__name__
        raise WeightsError(
            f"{url} cannot be fetched: {cause.rstrip('.')}. Put the file at {path}, or name one "
            "that you have."
        ) from error
    return path


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _check(path: Path, url: str) -> None:
    try:
        with path.open("rb") as opened:
            digest = hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    begins = path.stem.rsplit("-", maxsplit=1)[-1]
    if not digest.startswith(begins):
        raise WeightsError(
            f"{path} is damaged: its SHA-256 begins with {digest[: len(begins)]}, not {begins}. "
            f"Delete it, to fetch it again from {url}."
        )
