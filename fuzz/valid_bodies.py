"""Valid bodies for schemathesis, which knows the OpenAPI document alone.

A schema cannot say that bytes are an image, or that `data` has as many numbers as `shape` says. So
where schemathesis means a body to be valid, it is replaced by one that is. Nor can it say that
`per_label` needs `coverage` and an artifact with such thresholds, so it is left out. All other
parts of such a request, and those that are meant to be invalid, stay as they were generated.
"""

from base64 import b64decode
from functools import lru_cache
from math import prod
from typing import Any
from urllib.parse import quote

import requests
import schemathesis
from hypothesis import strategies as st

PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJggg=="
"""One grey pixel, in base64."""
KEYS = {"authorization", "x-api-key"}
JSON, OCTETS = "application/json", "application/octet-stream"

for name in ("image/png", "image/jpeg", "image/webp", "image/gif", "image/bmp", OCTETS):
    schemathesis.openapi.media_type(name, st.just(b64decode(PNG)))


@schemathesis.hook  # type: ignore[untyped-decorator]  # not installed where types are checked
def before_call(_context: Any, case: Any, kwargs: dict[str, Any]) -> None:
    """Replace a body, and drop a parameter, that are meant to be valid."""
    path = case.operation.path
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if path.endswith("/predict"):
        case.query.pop("per_label", None)
    if path.endswith("/predict") and case.media_type == JSON:
        case.body = {"images": [PNG]}
    elif path.endswith("/infer"):
        name = case.path_parameters["name"]
        headers = (kwargs.get("headers") or {}) | dict(case.headers)
        key = tuple(each for each in headers.items() if each[0].lower() in KEYS)
        shape, datatype = _input(case.operation.base_url, name, key)
        if datatype == "BYTES" and case.media_type == OCTETS:
            case.headers["Inference-Header-Content-Length"] = "0"
            return
        data = [PNG] if datatype == "BYTES" else [0] * prod(shape)
        tensor = {"name": "images", "datatype": datatype, "shape": shape, "data": data}
        case.media_type, case.body = JSON, {"inputs": [tensor]}


@lru_cache(1000)
def _input(service: str, name: str, key: tuple[tuple[str, str], ...]) -> tuple[list[int], str]:
    """Ask for the shape of one image, and its type; of a model that is not there, any."""
    url = f"{service}/v2/models/{quote(name, safe='')}"
    answer = requests.get(url, headers=dict(key), timeout=10)
    if answer.status_code != requests.codes.ok:
        return [1], "BYTES"
    taken = answer.json()["inputs"][0]
    return [1, *taken["shape"][1:]], taken["datatype"]
