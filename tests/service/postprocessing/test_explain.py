"""What answers say about themselves: maps, layers, features, sets, scores; over HTTP."""

import base64
import io
import time
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from model.preprocessing import Preprocessing
from service.postprocessing.explain import explain, overlay
from service.postprocessing.schemas import Box
from service.preprocessing.prepare import ImageSize
from tests.service.conftest import Service
from tests.service.images import encode, fashion_images

SPEC = Preprocessing(resize=4, crop=4, channels=1, mean=(0.0,), std=(1.0,))
MAP = np.array([[1.0, -1.0], [0.5, 4.0]], np.float32)
Ask = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def ask(shipped: Service) -> Ask:
    """Send images of Fashion-MNIST to the shipped model, which must say how far to trust it."""
    if shipped.classifier.manifest.reference is None:
        pytest.skip("the shipped artifact records nothing of this")

    async def post(images: list[bytes], **query: object) -> dict[str, Any]:
        body = {"images": [base64.b64encode(image).decode() for image in images]}
        answer = await shipped.client.post("/predict", json=body, params=query)  # type: ignore[arg-type]
        assert answer.status_code == 200, answer.text
        content: dict[str, Any] = answer.json()
        return content

    return post


def _png(pixels: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return encode(Image.fromarray(pixels))


def test_the_layer_has_the_images_size_and_is_clear_outside_the_crop() -> None:
    box = Box(left=10, top=0, right=30, bottom=20)

    layer = Image.open(io.BytesIO(overlay(MAP, ImageSize(40, 20), box))).convert("RGBA")

    alpha = np.asarray(layer)[..., 3]
    assert layer.size == (40, 20)
    assert not alpha[:, :10].any()
    assert not alpha[:, 30:].any()
    row, column = divmod(int(alpha.argmax()), 40)  # the strongest corner
    assert row >= 10
    assert column >= 20
    assert alpha.max() == 200


def test_a_large_layer_is_as_large_and_shows_the_same() -> None:
    box = Box(left=200, top=0, right=2200, bottom=2000)

    layer = Image.open(io.BytesIO(overlay(MAP, ImageSize(2400, 2000), box))).convert("RGBA")

    alpha = np.asarray(layer)[..., 3]
    assert alpha.shape == (2000, 2400)
    assert not alpha[:, :200].any()
    assert not alpha[:, 2200:].any()
    small = overlay(MAP, ImageSize(240, 200), Box(left=20, top=0, right=220, bottom=200))
    coarse = np.asarray(Image.open(io.BytesIO(small)).convert("RGBA"))[..., 3]
    assert np.abs(alpha[5::10, 5::10].astype(int) - coarse).max() <= 2 * 200 / 63 + 1


@pytest.mark.anyio
async def test_what_is_not_drawn_by_the_deadline_never_is(
    shipped: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(*_: object) -> bytes:
        time.sleep(0.3)
        return b""

    monkeypatch.setattr("service.postprocessing.explain.overlay", slow)
    image = base64.b64encode(_png(fashion_images()[0][0])).decode()

    answer = await shipped.client.post(
        "/predict?explain=png",
        json={"images": [image] * 20},
        headers={"X-Request-Timeout-Ms": "1000"},
    )

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    assert "while the maps were drawn" in answer.json()["detail"]


@pytest.mark.parametrize("value", [0.0, -2.0])
def test_a_map_that_speaks_for_nothing_is_all_clear(value: float) -> None:
    box = Box(left=0, top=0, right=4, bottom=4)

    drawn = overlay(np.full((2, 2), value, np.float32), ImageSize(4, 4), box)

    assert not np.asarray(Image.open(io.BytesIO(drawn)).convert("RGBA"))[..., 3].any()


def test_an_explanation_names_the_crop_in_pixels_of_the_image() -> None:
    found = explain(MAP[None], 3.0, None, ImageSize(40, 20), SPEC, draw=False)

    assert found.box == Box(left=10, top=0, right=30, bottom=20)
    assert found.map == MAP.tolist()
    assert found.maps == [MAP.tolist()]
    assert found.png is None


@pytest.mark.anyio
async def test_a_plain_answer_holds_labels_and_whether_to_trust_them(ask: Ask) -> None:
    answer = await ask([_png(fashion_images()[0][0])])

    (result,) = answer["results"]
    assert set(result) == {"predictions", "in_distribution", "score"}


@pytest.mark.anyio
async def test_the_maps_mean_and_the_bias_are_the_logit(ask: Ask) -> None:
    images = fashion_images()[0][:16]

    answer = await ask([_png(image) for image in images], explain="true")

    for result in answer["results"]:
        found = result["explanation"]
        assert np.mean(found["map"]) + found["bias"] == pytest.approx(found["logit"], abs=1e-4)
        assert found["box"] == {"left": 0, "top": 0, "right": 28, "bottom": 28}


@pytest.mark.anyio
async def test_a_turned_jpeg_is_explained_upright(ask: Ask) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn
    turned = encode(Image.new("L", (60, 30), 90), "JPEG", exif=exif)

    (result,) = (await ask([turned], explain="png"))["results"]

    drawn = Image.open(io.BytesIO(base64.b64decode(result["explanation"]["png"])))
    assert drawn.size == (30, 60)
    assert result["explanation"]["box"] == {"left": 0, "top": 15, "right": 30, "bottom": 45}


@pytest.mark.anyio
async def test_features_are_what_the_head_reads(ask: Ask, shipped: Service) -> None:
    (result,) = (await ask([_png(fashion_images()[0][0])], features="true"))["results"]

    width = shipped.classifier.manifest.architecture.feature_channels
    assert len(result["features"]) == width


@pytest.mark.anyio
async def test_sets_grow_with_the_coverage_and_contain_the_true_label_that_often(ask: Ask) -> None:
    images, targets = fashion_images()
    covered: dict[float, list[bool]] = {0.5: [], 0.95: [], 0.999: []}
    sizes = dict.fromkeys(covered, 0)

    for start in range(0, len(images), 60):
        files = [_png(pixels) for pixels in images[start : start + 60]]
        for coverage, hits in covered.items():
            answer = await ask(files, coverage=coverage)
            for result, target in zip(answer["results"], targets[start:], strict=False):
                chosen = [label["index"] for label in result["prediction_set"]]
                hits.append(int(target) in chosen)
                sizes[coverage] += len(chosen)

                assert chosen[0] == result["predictions"][0]["index"]  # no set is empty

    assert len(images) == sizes[0.5] <= sizes[0.95] < sizes[0.999]
    assert np.mean(covered[0.95]) == pytest.approx(0.95, abs=0.04)  # three deviations of 300 images


@pytest.mark.anyio
async def test_noise_is_out_of_distribution_and_clothes_are_not(ask: Ask) -> None:
    images = fashion_images()[0][:50]
    noise = np.random.default_rng(0).integers(0, 256, images.shape, dtype=np.uint8)

    clothes, unlike = [
        [result["in_distribution"] for result in (await ask(list(map(_png, lot))))["results"]]
        for lot in (images, noise)
    ]

    assert np.mean(clothes) > 0.85
    assert not any(unlike)


@pytest.mark.anyio
@pytest.mark.parametrize(
    "query", ["coverage=0.4", "coverage=1", "explain=yes", "features=2", "top_k=1&top_k=2"]
)
async def test_wishes_out_of_bounds_are_refused(shipped: Service, query: str) -> None:
    answer = await shipped.client.post(f"/predict?{query}", content=b"x")

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")


@pytest.mark.anyio
@pytest.mark.parametrize("query", ["coverage=0.9", "explain=true", "features=true"])
async def test_what_an_artifact_does_not_hold_is_refused(
    serve: Callable[..., Awaitable[Service]], query: str
) -> None:
    service = await serve()

    answer = await service.client.post(f"/predict?{query}", content=encode(Image.new("L", (4, 4))))

    assert (answer.status_code, answer.json()["code"]) == (400, "invalid_parameter")
    assert "artifact" in answer.json()["detail"]
