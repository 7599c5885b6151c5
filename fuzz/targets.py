"""What is fuzzed: functions that take untrusted bytes, and what each may raise.

Anything else that comes out is a finding, and so are too much memory and too much time, which
libFuzzer watches.
"""

import os
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from fuzz import seeds
from fuzz.service import SHIPPED, Service
from model.artifact.folder import ArtifactError, read_manifest
from model.preprocessing import Preprocessing, preprocess
from service.api.access.keys import read_keys
from service.api.access.proxies import PREFIX, ProxyHeaders
from service.api.media_types import JSON, MULTIPART
from service.api.payloads import read_payloads
from service.api.v2.codec import read_request
from service.api.v2.tensors import DYNAMIC, ModelSignature, Tensor
from service.errors import STATUS, ServiceError, StartError
from service.preprocessing.decode import open_image, read_image

SPEC = Preprocessing(resize=32, crop=28, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)
MAX_PIXELS = 1_000_000
MAX_IMAGES = 4
FORM = f"{MULTIPART}; boundary=x"
OPTIONS = ("top_k", "coverage", "explain", "features")
OUTPUTS = (Tensor("logits", "FP32", (DYNAMIC, 10)),)
TENSORS = ModelSignature("m", Tensor("images", "UINT8", (DYNAMIC, 2, 2, 1)), OUTPUTS, MAX_IMAGES)
FILES = ModelSignature("m-image", Tensor("images", "BYTES", (DYNAMIC, 1)), OUTPUTS, MAX_IMAGES)
Fuzzed = Callable[[bytes], None]


class Target(NamedTuple):
    """What is called, and inputs to start from."""

    make: Callable[[], Fuzzed]
    seeds: Callable[[], Sequence[bytes]]


def _allow_refusals(function: Fuzzed) -> Fuzzed:
    """Take refusals of the client's faults; others, as of the service's own, are findings."""

    def call(data: bytes) -> None:
        try:
            function(data)
        except ServiceError as error:
            if STATUS[type(error)] >= 500 and error.code != "unsupported":
                raise
            if len(str(error)) > 2000 or "\n" in str(error):
                raise AssertionError(f"no single short line: {error}") from error

    return call


# One image file.
def _decode(data: bytes) -> None:
    pixels = preprocess(read_image(open_image(data, MAX_PIXELS, spec=SPEC), SPEC), SPEC)
    if pixels.shape != (28, 28, 3) or pixels.dtype != np.uint8:
        raise AssertionError(f"{pixels.shape} {pixels.dtype}")


# A form, and base64 in JSON.
def _form(data: bytes) -> None:
    read_payloads(data, FORM, MAX_IMAGES, OPTIONS)


def _json(data: bytes) -> None:
    read_payloads(data, JSON, MAX_IMAGES)


# A body of the V2 protocol: the first byte chooses the model, the second how long its JSON is.
def _v2(data: bytes) -> None:
    if len(data) < 2:
        return
    signature = FILES if data[0] & 1 else TENSORS
    json_bytes = None if data[0] & 2 else data[1] * (256 if data[0] & 4 else 1)
    read_request(data[2:], json_bytes, signature)


# Files that the operator writes.
def _manifest() -> Fuzzed:
    folder = Path(tempfile.mkdtemp(prefix="fuzz-"))

    def call(data: bytes) -> None:
        (folder / "manifest.json").write_bytes(data)
        try:
            read_manifest(folder)
        except ArtifactError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error

    return call


def _keys() -> Fuzzed:
    descriptor, name = tempfile.mkstemp(prefix="fuzz-")
    os.close(descriptor)
    path = Path(name)

    def call(data: bytes) -> None:
        path.write_bytes(data)
        try:
            keys = read_keys(path)
        except StartError as error:
            if "\n" in str(error):
                raise AssertionError(f"more than one line: {error}") from error
        else:
            if any(len(key.digest) != 32 or not key.scopes for key in keys):
                raise AssertionError(str(keys))

    return call


# Headers of proxies: lines of a name and a value.
NAMES = (b"forwarded", b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-prefix")


def _forwarded() -> Fuzzed:
    async def nothing(_scope: Any, _receive: Any, _send: Any) -> None:
        pass

    proxies = ProxyHeaders(nothing, ("10.0.0.0/8", "fd00::/8"))

    def call(data: bytes) -> None:
        lines = [line for line in data.split(b"\n") if line]
        headers = [(NAMES[line[0] % len(NAMES)], line[1:]) for line in lines]
        scope = {"type": "http", "path": "/", "headers": headers, "client": ("10.0.0.1", 1)}
        coroutine = proxies(scope, nothing, nothing)  # type: ignore[arg-type]
        with suppress(StopIteration):
            coroutine.send(None)
        ip_address(scope["client"][0])  # type: ignore[arg-type]
        prefix = scope.get("root_path", "")
        if prefix and not PREFIX.fullmatch(str(prefix).encode()):
            raise AssertionError(f"prefix {prefix!r}")
        if scope.get("scheme", "http") not in {"http", "https"}:
            raise AssertionError(f"scheme {scope['scheme']!r}")

    return call


TARGETS = {
    "image": Target(lambda: _allow_refusals(_decode), seeds.images),
    "form": Target(lambda: _allow_refusals(_form), seeds.forms),
    "json": Target(lambda: _allow_refusals(_json), seeds.jsons),
    "v2": Target(lambda: _allow_refusals(_v2), seeds.v2s),
    "manifest": Target(_manifest, lambda: [(SHIPPED / "manifest.json").read_bytes()]),
    "keys": Target(_keys, lambda: [seeds.KEYS]),
    "forwarded": Target(_forwarded, seeds.headers),
    "service": Target(Service, seeds.bodies),
}
