"""Each image gets its own answer, or its request fails with the image's index and the reason."""

import asyncio
from collections.abc import Callable, Collection

import numpy as np
import pytest
from PIL import Image

from model.preprocessing import Pixels
from service.errors import InferenceFailedError, InvalidImageError
from service.inference.engine import OPTIONAL_OUTPUTS
from service.inference.outputs import BatchOutputs
from service.postprocessing.trust import PredictOptions
from tests.service import graphs
from tests.service.classifying import TOP_1, classify, predict, predict_tensors
from tests.service.conftest import Gate, Serve
from tests.service.images import BLACK, GREY, WHITE, encode


@pytest.mark.anyio
async def test_answers_come_in_the_order_of_the_images(serve: Serve) -> None:
    service = await serve(max_batch_size=2)

    outcome = await predict(service, [WHITE, BLACK, GREY, WHITE, BLACK])
    results = await service.classifier.results(outcome, TOP_1)

    probabilities = [round(item["predictions"][0]["probability"], 3) for item in results]
    bright = 1 / (1 + np.exp(-3.2 * 128 / 255))
    assert probabilities == [0.961, 0.5, round(float(bright), 3), 0.961, 0.5]
    assert outcome.batch_size <= 2


@pytest.mark.anyio
async def test_images_that_are_the_networks_input_already_are_answered_alike(
    serve: Serve,
) -> None:
    service = await serve()
    white, black = np.full((4, 4, 1), 255, np.uint8), np.zeros((4, 4, 1), np.uint8)

    outcome = await predict_tensors(service, [white, black])

    expected = await predict(service, [WHITE, BLACK])
    for one, other in zip(outcome.outputs, expected.outputs, strict=True):
        assert np.array_equal(one.probabilities, other.probabilities)
    assert (outcome.timings.decode, outcome.timings.preprocess) == (0, 0)
    assert service.classifier.admission.in_flight == 0


@pytest.mark.anyio
async def test_timings_are_of_the_stages(serve: Serve) -> None:
    gate = Gate()
    service = await serve(run=gate)
    large = encode(Image.new("L", (900, 900)))
    task = asyncio.create_task(predict(service, [large]))
    await gate.has_entered()
    await asyncio.sleep(0.1)
    gate.let_through()

    timings = (await task).timings

    assert timings.infer >= 0.1
    assert timings.decode > 0.0005
    assert 0 < timings.preprocess < 5
    assert 0 < timings.queue < 5


@pytest.mark.anyio
async def test_the_image_that_cannot_be_read_is_named(serve: Serve) -> None:
    service = await serve()

    with pytest.raises(InvalidImageError) as refused:
        await classify(service, [WHITE, WHITE, b"junk", b"junk"])

    assert refused.value.index == 2
    assert service.classifier.admission.in_flight == 0


@pytest.mark.anyio
async def test_an_image_that_is_damaged_beyond_its_header_is_named(serve: Serve) -> None:
    service = await serve()
    noise = np.random.default_rng(0).integers(0, 255, (64, 64), np.uint8)
    damaged = encode(Image.fromarray(noise))[:2_000]

    with pytest.raises(InvalidImageError) as refused:
        await classify(service, [WHITE, damaged])

    assert refused.value.index == 1


@pytest.mark.anyio
async def test_an_answer_that_is_no_number_fails_for_its_image_alone(serve: Serve) -> None:
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


SHAPES = {"logits": (2,), "probabilities": (2,), "score": (), "maps": (1, 2, 2), "features": (3,)}


def spoiled(name: str, number: float) -> Callable[..., BatchOutputs]:
    """Give a run of an engine with all outputs, one of which is no number for a black image."""

    def run(images: Pixels, extras: Collection[str] = ()) -> BatchOutputs:
        held = {"logits", "probabilities", "score", *extras, name}
        rows = {key: np.full((len(images), *SHAPES[key]), 0.5, np.float32) for key in held}
        rows[name][images[:, 0, 0, 0] == 0] = number
        return BatchOutputs(**rows)

    return run


@pytest.mark.anyio
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("name", SHAPES)
async def test_no_output_that_is_shown_may_hold_what_is_no_number(
    name: str, number: float, serve: Serve
) -> None:
    service = await serve(run=spoiled(name, number))
    service.classifier.trust.available = frozenset(OPTIONAL_OUTPUTS)
    service.classifier.trust.threshold = 0.0

    with pytest.raises(InferenceFailedError, match="not finite") as refused:
        await predict(service, [WHITE, BLACK], options=PredictOptions(explain=True, features=True))

    assert refused.value.index == 1


@pytest.mark.anyio
@pytest.mark.parametrize("name", OPTIONAL_OUTPUTS)
async def test_an_output_that_nobody_asked_for_may_hold_anything(name: str, serve: Serve) -> None:
    service = await serve(run=spoiled(name, np.nan))

    results = await classify(service, [WHITE, BLACK])

    assert [set(result) for result in results] == [{"predictions"}] * 2


@pytest.mark.anyio
async def test_the_engines_failure_goes_up_untouched(serve: Serve) -> None:
    service = await serve(graphs.fails_on_grey())

    with pytest.raises(InferenceFailedError, match="failed on a batch of 1"):
        await classify(service, [GREY])

    assert len(await classify(service, [WHITE])) == 1
