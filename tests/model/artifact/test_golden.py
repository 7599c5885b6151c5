"""Golden images: packed into the manifest, and unpacked with every check."""

import base64
import io
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.artifact.folder import (
    Artifact,
    ManifestError,
    read,
)
from model.artifact.golden import pack
from tests.model.artifact.refusals import change_manifest


def _as_png(pixels: "np.ndarray[tuple[int, ...], np.dtype[Any]]") -> str:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


@pytest.mark.parametrize(
    ("png", "cause"),
    [
        (_as_png(np.zeros((5, 4), np.uint8)), r"has shape \(5, 4\), not \(4, 4, 1\)"),
        (_as_png(np.zeros((4, 4, 3), np.uint8)), r"has shape \(4, 4, 3\), not \(4, 4, 1\)"),
        ("bm8gcGljdHVyZQ==", "is no PNG file"),
        ("!", "is no PNG file"),
        (_as_png(np.zeros((4, 4), np.uint8))[:60], "is no PNG file"),
        (_as_png(np.zeros((4, 4), np.uint16)), "has mode I;16, not L"),
        (_as_png(np.zeros((4000, 4000), np.uint8))[:60], r"has shape \(4000, 4000\)"),
    ],
)
def test_a_golden_image_of_another_shape_or_kind_is_refused(
    tiny: Artifact, png: str, cause: str
) -> None:
    golden = tiny.manifest.golden[0].model_copy(update={"png": png})
    change_manifest(tiny, golden=[golden.model_dump()])
    artifact = read(tiny.folder)

    with pytest.raises(ManifestError, match=cause) as refused:
        artifact.golden_images()

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("channels", [1, 3])
def test_a_packed_image_comes_back_bit_for_bit(tiny: Artifact, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, channels), dtype=np.uint8)
    golden = tiny.manifest.golden[0].model_copy(update={"png": pack(pixels)})
    border = tiny.manifest.input.model_copy(update={"channels": channels})
    changed = tiny.manifest.model_copy(update={"golden": (golden,), "input": border})

    images = Artifact(tiny.folder, changed).golden_images()

    assert np.array_equal(images, pixels[None])
