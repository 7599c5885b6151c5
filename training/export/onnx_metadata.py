"""What an ONNX file says about itself, so that it is understood without its manifest.

`metadata_props` hold strings; lists are JSON. Of onnxruntime's Python API:
`session.get_modelmeta().custom_metadata_map`.
"""

import json
from pathlib import Path
from typing import Any

import onnx

from model.architecture.spec import Architecture
from model.preprocessing import Preprocessing

OUTPUTS = {
    "logits": "float32 (N, K), before calibration",
    "probabilities": "float32 (N, K), calibrated, in the order of `labels`",
    "score": "float32 (N,), higher for images like the training data",
    "features": "float32 (N, F), the input of the classifier",
    "maps": "float32 (N, M, h, w), what each place adds to the logits of the M likeliest labels",
}


def with_metadata(
    model: bytes,
    out: Path,
    architecture: Architecture,
    labels: tuple[str, ...],
    preprocessing: Preprocessing,
) -> bytes:
    """Name an exported graph, and write into it what its user needs.

    Args:
        model: The ONNX file.
        out: `<name>/<version>/`, where it will be.
        architecture: Of the network.
        labels: In the order of the outputs.
        preprocessing: Of the images.
    """
    name, version = out.absolute().parent.name, out.name
    size, channels = preprocessing.crop, preprocessing.channels
    reads = (
        f"uint8 (N, {size}, {size}, {channels}), {'RGB' if channels == 3 else 'grey'}, 0 to 255: "
        f"the shorter side resized to {preprocessing.resize}, the centre cropped to {size}; "
        "mean and std are applied in the graph"
    )
    whole: Any = onnx.load_from_string(model)  # onnx has no types
    whole.doc_string = f"{name} {version}: {architecture.name}, {len(labels)} labels"
    whole.model_version = int(version)
    whole.graph.name = architecture.name
    whole.graph.doc_string = f"Images {reads}."
    for value in (*whole.graph.input, *whole.graph.output):
        value.doc_string = reads if value.name == "images" else OUTPUTS[value.name]
    onnx.helper.set_model_props(
        whole,
        {
            "name": name,
            "version": version,
            "architecture": architecture.name,
            "labels": json.dumps(labels, ensure_ascii=False),
            "image_size": str(size),
            "channels": str(channels),
            "resize": str(preprocessing.resize),
            "crop": str(size),
            "interpolation": preprocessing.interpolation,
            "mean": json.dumps(preprocessing.mean),
            "std": json.dumps(preprocessing.std),
            "normalization": "in the graph",
        },
    )
    content: bytes = whole.SerializeToString()
    return content
