"""Classify an image with the artifact alone: onnxruntime, NumPy and Pillow.

python plain_onnxruntime.py artifacts/fashion-mnist/1 boot.png
"""

import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps

folder, path = Path(sys.argv[1]), sys.argv[2]
manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
spec = manifest["preprocessing"]

# Cut the centre square and bring it to the network's size in one step.
mode = "RGB" if spec["channels"] == 3 else "L"
image = ImageOps.exif_transpose(Image.open(path)).convert(mode)
side = min(image.size) * spec["crop"] / spec["resize"]
left, top = (image.width - side) / 2, (image.height - side) / 2
image = image.resize(
    (spec["crop"], spec["crop"]),
    Image.Resampling[spec["interpolation"].upper()],
    box=(left, top, left + side, top + side),
)

# The file holds everything else: scaling, mean and std, the network, the calibration.
pixels = np.asarray(image).reshape(1, spec["crop"], spec["crop"], spec["channels"])  # uint8
session = onnxruntime.InferenceSession(
    folder / manifest["files"]["float32"]["path"], providers=["CPUExecutionProvider"]
)
(probabilities,) = session.run(["probabilities"], {"images": pixels})  # (1, K)
for index in probabilities[0].argsort()[::-1][:3]:
    print(f"{manifest['labels'][index]}, {probabilities[0, index]:.1%}")
