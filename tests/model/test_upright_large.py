"""Large images are brought to RGB or L as small ones are, and in little memory."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from model.preprocessing import STRIP_PIXELS, upright


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_a_large_image_lies_over_white_as_a_small_one_does(mode: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (9, STRIP_PIXELS // 2, 4), np.uint8)
    image = Image.merge(mode, Image.fromarray(noise).split()[-len(mode) :])

    flat = np.asarray(upright(image))

    rows = [image.crop((0, row, image.width, row + 1)) for row in range(9)]
    assert np.array_equal(flat, np.concatenate([np.asarray(upright(row)) for row in rows]))


@pytest.mark.parametrize("mode", ["RGBA", "LA", "I;16"])
def test_a_large_image_is_converted_in_little_memory(mode: str) -> None:
    code = (
        "import resource\n"
        "from PIL import Image\n"
        "from model.preprocessing import upright\n"
        f"upright(Image.new({mode!r}, (28, 28)))\n"
        f"image = Image.new({mode!r}, (4_000, 4_000), 1)\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "upright(image)\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )

    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, check=True, cwd=Path(__file__).parents[2]
    )

    assert int(run.stdout) * 1024 / 4_000**2 < 8  # bytes a pixel, the result among them
