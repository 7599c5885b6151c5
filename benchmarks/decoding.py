"""What one image takes from its file to the network's input: processor time and memory.

`python -m benchmarks.decoding FILE...`: each in a process of its own, for a network that reads
224 x 224 pixels; `docs/settings.md` has the results.
"""

import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from model.cli import script
from model.preprocessing import Preprocessing, preprocess
from service.preprocessing.decode import MAX_SIDE, counted_pixels, open_image, read_image

SPEC = Preprocessing(resize=256, crop=224, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def measure(path: Path) -> str:
    """Decode a file, and say what it took."""
    payload = path.read_bytes()
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.process_time()
    image = open_image(payload, MAX_SIDE * MAX_SIDE, spec=SPEC)
    size, counted = image.size, counted_pixels(image, SPEC)
    preprocess(read_image(image, SPEC), SPEC)
    seconds = time.process_time() - began
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return (
        f"{path.name}: {size[0]} x {size[1]}, {len(payload) / 1e6:.1f} MB, counts as "
        f"{counted / 1e6:.1f} million, {seconds:.2f} s, {kibibytes / 1024:.0f} MB"
    )


def main(files: Annotated[list[Path], typer.Argument(help="Image files.")]) -> None:
    """Measure each file in a process of its own, and print."""
    if len(files) == 1:
        print(measure(files[0]))
        return
    for path in files:
        subprocess.run([sys.executable, "-m", "benchmarks.decoding", str(path)], check=True)


if __name__ == "__main__":
    script(main)()
