"""Requests of the V2 protocol for made-up models: tensors of 2 x 2 pixels, and image files."""

import json
import struct
from typing import Any

from service.api.v2.codec import InferCall, read_request
from service.api.v2.tensors import DYNAMIC, ModelSignature, Tensor

OUTPUTS = (Tensor("logits", "FP32", (DYNAMIC, 3)), Tensor("probabilities", "FP32", (DYNAMIC, 3)))
TENSORS = ModelSignature(
    "m", Tensor("images", "UINT8", (DYNAMIC, 2, 2, 1)), OUTPUTS, 4, "For image files use 'm-image'."
)
FILES = ModelSignature(
    "m-image", Tensor("images", "BYTES", (DYNAMIC, 1)), OUTPUTS, 4, "For tensors use 'm'."
)
LABELS = ("cat", "dog", "cow")
NUMBERS = list(range(8))


def asking(shape: list[int], datatype: str = "UINT8", **more: Any) -> dict[str, Any]:
    """Write a request for one input, named as it should be."""
    return {"inputs": [{"name": "images", "datatype": datatype, "shape": shape, **more}]}


def read(
    content: dict[str, Any], payload: bytes | None = None, signature: ModelSignature = TENSORS
) -> InferCall:
    """Read a request, with its numbers in the JSON or behind it."""
    text = json.dumps(content).encode()
    return read_request(text + (payload or b""), None if payload is None else len(text), signature)


def binary(shape: list[int], payload: bytes, datatype: str = "UINT8") -> dict[str, Any]:
    return asking(shape, datatype, parameters={"binary_data_size": len(payload)})


def elements(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)
