"""How to get started with an artifact: the service, and ten lines of plain onnxruntime."""

from model.artifact.manifest import FILE_NAMES, Manifest

LINES = """\
import json
import numpy as np
import onnxruntime
from PIL import Image, ImageOps

image = ImageOps.exif_transpose(Image.open("image.jpg")).convert("{mode}")
side = min(image.size) * {crop} / {resize}  # of the centre square
left, top = (image.width - side) / 2, (image.height - side) / 2
box = (left, top, left + side, top + side)
pixels = np.asarray(image.resize(({crop}, {crop}), Image.Resampling.{filter}, box=box))
session = onnxruntime.InferenceSession("{file}", providers=["CPUExecutionProvider"])
(probabilities,) = session.run(["probabilities"], {{"images": pixels.reshape(1, {shape})}})
labels = json.load(open("manifest.json", encoding="utf-8"))["labels"]
for index in probabilities[0].argsort()[::-1][:5]:
    print(f"{{probabilities[0, index]:.4f}}  {{labels[index]}}")"""


def start(manifest: Manifest) -> str:
    """Write the section with both ways."""
    spec = manifest.preprocessing
    first = next(name for name in FILE_NAMES if name in manifest.files)
    code = LINES.format(
        mode="RGB" if spec.channels == 3 else "L",
        crop=spec.crop,
        resize=spec.resize,
        filter=spec.interpolation.upper(),
        file=manifest.files[first].path,
        shape=f"{spec.crop}, {spec.crop}, {spec.channels}",
    )
    return (
        "## How to get started\n\n"
        "```console\n"
        f"$ serve-model artifacts/{manifest.name}/{manifest.version}\n"
        "$ curl -s --data-binary @image.png -H 'content-type: image/png' "
        "localhost:8000/predict\n"
        f"$ predict-model artifacts/{manifest.name}/{manifest.version} images --out results.csv\n"
        "```\n\n"
        "In this folder, with onnxruntime, NumPy and Pillow alone:\n\n"
        f"```python\n{code}\n```"
    )
