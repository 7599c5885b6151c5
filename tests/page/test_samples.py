"""A sample is seen by the network as the golden image that it was made of."""

import io

import numpy as np
import pytest
from PIL import Image

from model.artifact.golden import pack
from model.preprocessing import Preprocessing, preprocess
from service.api.samples import sample_png


@pytest.mark.parametrize(("resize", "crop"), [(28, 28), (32, 28), (256, 224)])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_sample_comes_out_of_preprocessing_as_the_golden_image(
    resize: int, crop: int, channels: int
) -> None:
    golden = np.random.default_rng(0).integers(0, 256, (crop, crop, channels), np.uint8)
    spec = Preprocessing.model_validate(
        {
            "resize": resize,
            "crop": crop,
            "channels": channels,
            "mean": (0.5,) * channels,
            "std": (0.5,) * channels,
        }
    )

    with Image.open(io.BytesIO(sample_png(pack(golden), spec))) as image:
        seen = preprocess(image, spec)

    assert image.size == (resize, resize)
    assert np.array_equal(seen, golden)
