"""Requests of the V2 protocol for made-up models: tensors of 2 x 2 pixels, and picture files."""

import json
import struct
from typing import Any

from service.api.v2.codec import Asked, read_request
from service.api.v2.tensors import FREE, Border, Tensor

OUTPUTS = (Tensor("logits", "FP32", (FREE, 3)), Tensor("probabilities", "FP32", (FREE, 3)))
TENSORS = Border(
    "m", Tensor("images", "UINT8", (FREE, 2, 2, 1)), OUTPUTS, 4, "For image files ask 'm-image'."
)
FILES = Border("m-image", Tensor("images", "BYTES", (FREE, 1)), OUTPUTS, 4, "For tensors ask 'm'.")
LABELS = ("cat", "dog", "cow")
NUMBERS = list(range(8))


def asking(shape: list[int], datatype: str = "UINT8", **more: Any) -> dict[str, Any]:
    """Write a request for one input, named as it should be."""
    return {"inputs": [{"name": "images", "datatype": datatype, "shape": shape, **more}]}


def read(content: dict[str, Any], blob: bytes | None = None, border: Border = TENSORS) -> Asked:
    """Read a request, with its numbers in the JSON or behind it."""
    text = json.dumps(content).encode()
    return read_request(text + (blob or b""), None if blob is None else len(text), border)


def binary(shape: list[int], blob: bytes, datatype: str = "UINT8") -> dict[str, Any]:
    return asking(shape, datatype, parameters={"binary_data_size": len(blob)})


def elements(*files: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(file)) + file for file in files)
