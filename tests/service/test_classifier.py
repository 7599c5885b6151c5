import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from service import classifier, decode, prepare
from service.classifier import rank
from service.errors import (
    ClientLeftError,
    DeadlineExceededError,
    ImageTooLargeError,
    InferenceFailedError,
    InvalidImageError,
    OverloadedError,
)
from service.schemas import Prediction, Result
from service.submission import Departure
from tests.service import graphs
from tests.service.conftest import Gate, Serve, Service
from tests.service.pictures import BLACK, GREY, WHITE, encode, fashion_pictures, png_by_hand

LABELS = ("a", "b", "c", "d")


def ranked(*probabilities: float, top_k: int = 9) -> list[Prediction]:
    return rank(np.array(probabilities, np.float32), LABELS, top_k)


# rank


def test_the_likeliest_label_comes_first() -> None:
    predictions = ranked(0.25, 0.5, 0.125, 0.125)

    assert [(item["label"], item["index"], item["probability"]) for item in predictions] == [
        ("b", 1, 0.5),
        ("a", 0, 0.25),
        ("c", 2, 0.125),
        ("d", 3, 0.125),
    ]


def test_of_equals_the_first_in_the_labels_comes_first() -> None:
    assert [item["label"] for item in ranked(0.25, 0.25, 0.25, 0.25)] == list(LABELS)
    assert [item["label"] for item in ranked(0.1, 0.4, 0.1, 0.4)] == ["b", "d", "a", "c"]


@pytest.mark.parametrize(("top_k", "count"), [(1, 1), (3, 3), (4, 4), (5, 4), (1000, 4)])
def test_there_are_no_more_answers_than_labels(top_k: int, count: int) -> None:
    predictions = ranked(0.1, 0.2, 0.3, 0.4, top_k=top_k)

    assert [item["label"] for item in predictions] == ["d", "c", "b", "a"][:count]


def test_a_probability_stays_within_its_bounds_despite_rounding() -> None:
    assert [item["probability"] for item in ranked(1.0000001, -1e-9)] == [1, 0]


# answer and rank


async def classify(service: Service, payloads: list[bytes]) -> list[Result]:
    """Give the likeliest label of each picture."""
    answered = await service.classifier.answer(payloads)
    return await service.classifier.results(answered, 1)


Convert = Callable[[Image.Image], bytes]


def grey_with_alpha(image: Image.Image) -> bytes:
    return encode(Image.merge("LA", (image, Image.new("L", image.size, 255))))


def sixteen_bits(image: Image.Image) -> bytes:
    return encode(Image.fromarray(np.asarray(image).astype(np.uint16) * 257))


def lying_on_its_side(image: Image.Image) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encode(image.transpose(Image.Transpose.ROTATE_90), exif=exif)


def seen_through(image: Image.Image) -> bytes:
    """Black ink, thin where the picture is bright: on white paper it is the picture."""
    negative = image.point(lambda value: 255 - value)
    return encode(Image.merge("LA", (Image.new("L", image.size, 0), negative)))


CONVERSIONS: dict[str, Convert] = {
    "L": encode,
    "1": lambda image: encode(image.point(lambda value: 255 * (value > 40)).convert("1")),
    "LA": grey_with_alpha,
    "LA over white": seen_through,
    "P": lambda image: encode(image.convert("RGB").quantize(64)),
    "RGB": lambda image: encode(image.convert("RGB")),
    "RGBA": lambda image: encode(image.convert("RGBA")),
    "I;16": sixteen_bits,
    "BMP": lambda image: encode(image, "BMP"),
    "BMP in RGBA": lambda image: encode(image.convert("RGBA"), "BMP"),
    "GIF": lambda image: encode(image, "GIF"),
    "JPEG in L": lambda image: encode(image, "JPEG", quality=95),
    "JPEG in YCbCr": lambda image: encode(image.convert("RGB"), "JPEG", quality=95),
    "JPEG in CMYK": lambda image: encode(image.convert("CMYK"), "JPEG", quality=95),
    "WebP": lambda image: encode(image.convert("RGB"), "WEBP", lossless=True),
    "WebP in RGBA": lambda image: encode(image.convert("RGBA"), "WEBP", quality=95),
    "EXIF": lying_on_its_side,
}


@pytest.mark.anyio
@pytest.mark.parametrize("mode", CONVERSIONS)
async def test_a_picture_gets_the_same_label_in_every_mode(mode: str, shipped: Service) -> None:
    images = [Image.fromarray(pixels) for pixels in fashion_pictures()[0][:3]]
    if mode == "1":  # black and white dots are another picture; it is the same in any mode, too
        images = [image.convert("1").convert("L") for image in images]

    expected = await classify(shipped, [encode(image) for image in images])
    actual = await classify(shipped, [CONVERSIONS[mode](image) for image in images])

    assert [item["predictions"][0]["label"] for item in actual] == [
        item["predictions"][0]["label"] for item in expected
    ]


@pytest.mark.anyio
async def test_a_large_picture_is_brought_to_the_networks_size(shipped: Service) -> None:
    image = Image.fromarray(fashion_pictures()[0][0])
    large = image.resize((1_120, 1_120), Image.Resampling.NEAREST)

    small, big = await classify(shipped, [encode(image), encode(large)])

    assert big["predictions"][0]["label"] == small["predictions"][0]["label"]
    assert abs(big["predictions"][0]["probability"] - small["predictions"][0]["probability"]) < 0.02


@pytest.mark.anyio
async def test_answers_come_in_the_order_of_the_pictures(serve: Serve) -> None:
    service = await serve(max_batch_size=2)

    answered = await service.classifier.answer([WHITE, BLACK, GREY, WHITE, BLACK])
    results = await service.classifier.results(answered, 1)

    probabilities = [round(item["predictions"][0]["probability"], 3) for item in results]
    bright = 1 / (1 + np.exp(-3.2 * 128 / 255))
    assert probabilities == [0.961, 0.5, round(float(bright), 3), 0.961, 0.5]
    assert answered.batch_size <= 2


@pytest.mark.anyio
async def test_the_picture_that_cannot_be_read_is_named(serve: Serve) -> None:
    service = await serve()

    with pytest.raises(InvalidImageError) as refused:
        await classify(service, [WHITE, WHITE, b"junk", b"junk"])

    assert refused.value.index == 2
    assert service.classifier.batcher.under_way == 0


@pytest.mark.anyio
async def test_a_picture_that_is_damaged_beyond_its_header_is_named(serve: Serve) -> None:
    service = await serve()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    damaged = encode(Image.fromarray(noise))[:2_000]

    with pytest.raises(InvalidImageError) as refused:
        await classify(service, [WHITE, damaged])

    assert refused.value.index == 1


@pytest.mark.anyio
async def test_an_answer_that_is_no_number_fails_for_its_picture_alone(serve: Serve) -> None:
    service = await serve(graphs.nan_on_black())

    good, bad = await asyncio.gather(
        classify(service, [WHITE]),
        classify(service, [WHITE, BLACK]),
        return_exceptions=True,
    )

    assert not isinstance(good, BaseException)
    assert good[0]["predictions"][0]["label"] == "bright"
    assert isinstance(bad, InferenceFailedError)
    assert bad.index == 1


@pytest.mark.anyio
async def test_the_engines_failure_goes_up_untouched(serve: Serve) -> None:
    service = await serve(graphs.fails_on_grey())

    with pytest.raises(InferenceFailedError, match="failed on a batch of 1"):
        await classify(service, [GREY])

    assert len(await classify(service, [WHITE])) == 1


@pytest.mark.anyio
async def test_pictures_of_one_request_share_a_limit_of_pixels(serve: Serve) -> None:
    service = await serve(max_pixels=100)
    hundred = encode(Image.new("L", (10, 10)))

    four = await classify(service, [hundred] * 4)
    with pytest.raises(ImageTooLargeError, match="5 images have 500 pixels together; the limit"):
        await classify(service, [hundred] * 5)

    assert len(four) == 4


@pytest.mark.anyio
async def test_the_shared_limit_is_checked_before_anything_is_decoded(serve: Serve) -> None:
    service = await serve()
    large = png_by_hand(4_900, 4_900, 1, 0, bytes(4_900 // 8 + 1))

    began = time.perf_counter()
    with pytest.raises(ImageTooLargeError):
        await classify(service, [large] * 64)

    assert time.perf_counter() - began < 1  # decoded, it would be 1.5 billion pixels


@pytest.mark.anyio
async def test_a_request_past_its_deadline_is_dropped_and_leaves_its_places(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate, deadline_ms=150, max_queue=3)

    began = time.perf_counter()
    with pytest.raises(DeadlineExceededError, match=r"no answer after [0-4]\.\d+ s"):
        await classify(service, [WHITE])

    assert 0.1 < time.perf_counter() - began < 5
    assert service.classifier.batcher.under_way == 0
    gate.let_through()


@pytest.mark.anyio
async def test_what_waits_past_its_deadline_is_never_run(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate, deadline_ms=300)
    riding = asyncio.create_task(classify(service, [WHITE]))
    await gate.has_entered()
    waiting = asyncio.create_task(classify(service, [BLACK]))

    outcomes = await asyncio.gather(riding, waiting, return_exceptions=True)
    gate.let_through()
    gate.let_through()
    await asyncio.sleep(0.05)

    assert [type(outcome) for outcome in outcomes] == [DeadlineExceededError] * 2
    assert gate.batches == [[255]]


@pytest.mark.anyio
async def test_a_full_queue_refuses_before_it_decodes(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate, max_queue=1)
    riding = asyncio.create_task(classify(service, [WHITE]))
    await gate.has_entered()

    with pytest.raises(OverloadedError):
        await classify(service, [b"not even a picture"])

    gate.let_through()
    assert len(await riding) == 1


@pytest.mark.anyio
async def test_timings_are_of_the_stages(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    large = encode(Image.new("L", (900, 900)))
    task = asyncio.create_task(service.classifier.answer([large]))
    await gate.has_entered()
    await asyncio.sleep(0.1)
    gate.let_through()

    timings = (await task).timings

    assert timings.infer >= 0.1
    assert timings.decode > 0.0005
    assert 0 < timings.preprocess < 5
    assert 0 < timings.queue < 5


@pytest.mark.anyio
async def test_a_run_that_does_not_end_is_stuck(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(classifier, "STUCK_S", 0.05)
    gate = Gate()
    service = await serve(run=gate)
    task = asyncio.create_task(classify(service, [WHITE]))
    await gate.has_entered()

    before = service.classifier.is_stuck
    await asyncio.sleep(0.1)
    during = service.classifier.is_stuck
    gate.let_through()
    await task

    assert (before, during, service.classifier.is_stuck) == (False, True, False)


# The network's input as it is; departures


@pytest.mark.anyio
async def test_pictures_that_are_the_networks_input_already_are_answered_alike(
    serve: Serve,
) -> None:
    service = await serve()
    white, black = np.full((4, 4, 1), 255, np.uint8), np.zeros((4, 4, 1), np.uint8)

    answered = await service.classifier.answer_tensors([white, black])

    expected = await service.classifier.answer([WHITE, BLACK])
    for one, other in zip(answered.rides, expected.rides, strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)
    assert (answered.timings.decode, answered.timings.preprocess) == (0, 0)
    assert service.classifier.batcher.under_way == 0


@pytest.mark.anyio
async def test_a_client_that_left_while_its_picture_was_decoded_is_never_run(serve: Serve) -> None:
    service = await serve()
    departure = Departure()
    departure()

    with pytest.raises(ClientLeftError):
        await service.classifier.answer([WHITE], departure=departure)

    assert service.classifier.batcher.executed == 0
    assert service.classifier.batcher.under_way == 0


@pytest.mark.anyio
async def test_a_deadline_that_passes_while_pictures_are_decoded_runs_nothing(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()

    def slowly(*given: Any) -> Image.Image:
        time.sleep(0.1)
        return decode.read_image(*given)

    monkeypatch.setattr(prepare, "read_image", slowly)

    with pytest.raises(DeadlineExceededError, match="while the images were decoded"):
        await service.classifier.answer([WHITE], patience_s=0.05)

    assert service.classifier.batcher.executed == 0
    assert service.classifier.batcher.under_way == 0
