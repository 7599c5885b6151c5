"""Maps point at what matters: masking where they are high costs more than masking anywhere."""

from pathlib import Path

import numpy as np
import pytest

from service.inference.engine import Engine
from tests.service.conftest import Service
from tests.service.images import CARRIED, INSTALLED, fashion_images


def _mask(images: np.ndarray, cells: np.ndarray, grid: int) -> np.ndarray:
    """Paint cells of the grid black: images (N, S, S), cells bool (N, grid * grid)."""
    scale = images.shape[1] // grid
    wide = cells.reshape(-1, grid, grid).repeat(scale, 1).repeat(scale, 2)
    return np.where(wide, 0, images).astype(np.uint8)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("folder", "count"),
    [
        pytest.param(CARRIED, 300, id="300-carried"),
        pytest.param(
            INSTALLED,
            1_000,
            id="1000-installed",
            marks=pytest.mark.skipif(
                not (INSTALLED / "t10k-images-idx3-ubyte.gz").exists(),
                reason="Debian's dataset-fashion-mnist is not installed: the maps are checked on "
                "300 real images, not on 1,000",
            ),
        ),
    ],
)
async def test_masking_the_top_tenth_lowers_the_probability_more_than_a_random_tenth(
    shipped: Service, folder: Path, count: int
) -> None:
    engine: Engine = shipped.classifier.engine
    if "maps" not in engine.optional:
        pytest.skip("the shipped artifact's graph has no maps")
    images = fashion_images(folder)[0][:count]
    assert len(images) == count
    outputs = engine.run(images[..., None], ("maps",))
    assert outputs.maps is not None
    grid = outputs.maps.shape[-1]
    flat, tenth = outputs.maps[:, 0].reshape(count, -1), grid * grid // 10
    top = outputs.probabilities.argmax(1)
    noise = np.random.default_rng(0).random(flat.shape)

    fallen = {}
    for name, order in (("top", flat), ("random", noise)):
        cells = np.argsort(np.argsort(-order, axis=1), axis=1) < tenth
        masked = engine.run(_mask(images, cells, grid)[..., None]).probabilities
        rows = np.arange(count)
        fallen[name] = (outputs.probabilities[rows, top] - masked[rows, top]).mean()

    assert fallen["top"] > 1.2 * fallen["random"]
