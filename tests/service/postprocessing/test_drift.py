"""Drift: the index by hand, bounded memory, and real traffic that changes or does not."""

import base64
import math

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from service.app import create_app
from service.postprocessing.drift import MIN_SAMPLES, UNKNOWN, Drift, compare
from service.settings import Settings
from tests.service.conftest import SHIPPED, serving
from tests.service.images import encode, fashion_images
from tests.service.observations import REFERENCE, observations, observe


def test_the_index_is_the_textbooks_less_chance() -> None:
    usual, present = np.array([0.5, 0.5]), np.array([0.8, 0.2])

    found = compare(usual, present, 100_000, 100_000)

    by_hand = 0.3 * math.log(0.8 / 0.5) - 0.3 * math.log(0.2 / 0.5)
    assert found.psi == pytest.approx(by_hand, rel=1e-3)
    assert found.status == "changed"


def test_the_index_of_equal_samples_is_chance_alone() -> None:
    rng, usual = np.random.default_rng(0), np.full(10, 0.1)
    found = [
        compare(rng.multinomial(1000, usual) / 1000, rng.multinomial(500, usual) / 500, 1000, 500)
        for _ in range(200)
    ]

    assert found[0].by_chance == pytest.approx(9 * (1 / 1000 + 1 / 500))
    assert {quantity.status for quantity in found} == {"steady"}
    assert np.mean([quantity.psi for quantity in found]) < 0.01


def test_traffic_like_the_reference_is_steady() -> None:
    drift = Drift(("a", "b"), REFERENCE, 1000)
    observe(drift, observations(800))

    quantities = drift.report().quantities
    assert len(quantities) == 5
    assert {quantity.status for quantity in quantities.values()} == {"steady"}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("labels", {"label": 0}),
        ("confidence", {"confidence": 0.5}),
        ("out_of_distribution", {"in_distribution": 0}),
        ("brightness", {"brightness": 0.9}),
        ("side", {"side": 500}),
    ],
)
def test_only_the_quantity_that_changed_says_so(name: str, change: dict[str, float]) -> None:
    drift = Drift(("a", "b"), REFERENCE, 1000)
    observe(drift, observations(800, lambda _: change))

    statuses = {key: quantity.status for key, quantity in drift.report().quantities.items()}
    assert statuses.pop(name) == "changed"
    assert set(statuses.values()) == {"steady"}


def test_memory_is_bounded_and_old_images_are_forgotten() -> None:
    drift = Drift(("a", "b"), REFERENCE, 300)
    observe(drift, observations(1000, lambda _: {"label": 0}))
    observe(drift, observations(300))

    report = drift.report()
    assert (report.window, report.pictures) == (300, 300)
    assert report.quantities["labels"].status == "steady"


def test_few_images_say_nothing_and_no_reference_gives_no_quantities() -> None:
    few, blind = Drift(("a", "b"), REFERENCE, 300), Drift(("a", "b"), None, 300)
    observe(few, observations(20, lambda _: {"label": 0, "in_distribution": UNKNOWN}))
    observe(blind, observations(300))

    assert few.report().quantities["labels"].status == "unknown"
    assert blind.report().quantities == {}
    assert blind.report().pictures == 300
    assert Drift(("a", "b"), REFERENCE, 5).report().quantities == {}


def test_a_thousand_labels_that_become_one_are_noticed() -> None:
    names = tuple(map(str, range(1000)))
    usual = REFERENCE.model_copy(update={"n": 5000, "labels": (0.001,) * 1000})
    same, one = Drift(names, usual, 1000), Drift(names, usual, 1000)

    observe(same, observations(1000, lambda index: {"label": index}))
    observe(one, observations(1000, lambda _: {"label": 7}))

    assert same.report().quantities["labels"].status == "steady"
    assert one.report().quantities["labels"].status == "changed"


def test_the_smallest_window_is_large_enough_to_say_something() -> None:
    assert Settings(drift_window=MIN_SAMPLES).drift_window == MIN_SAMPLES

    with pytest.raises(ValidationError, match="drift_window"):
        Settings(drift_window=MIN_SAMPLES - 1)


def test_what_chance_alone_may_do_is_not_called_steady() -> None:
    usual = REFERENCE.model_copy(update={"n": 8})
    drift = Drift(("a", "b"), usual, 1000)
    observe(drift, observations(800))

    assert drift.report().quantities["labels"].status == "unknown"


def test_tensors_have_no_side() -> None:
    drift = Drift(("a", "b"), REFERENCE, 1000)
    observe(drift, observations(300, lambda _: {"side": UNKNOWN}))

    assert drift.means().keys() == {"confidence", "brightness"}
    assert drift.report().quantities.keys() == {
        "labels", "confidence", "brightness", "out_of_distribution",
    }  # fmt: skip
    observe(drift, observations(300))
    assert drift.report().quantities["side"].status == "steady"


@pytest.mark.anyio
async def test_tensors_count_and_each_model_has_its_own_window() -> None:
    async with serving(create_app(Settings(artifact=SHIPPED, intra_op_threads=1))) as service:
        name = service.classifier.manifest.name
        images = fashion_images()[0][:3, ..., None]
        tensor = {
            "name": "images",
            "datatype": "UINT8",
            "shape": list(images.shape),
            "data": images.flatten().tolist(),
        }
        answer = await service.client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]})
        own = (await service.client.get(f"/models/{name}/drift")).json()
        nobodys = await service.client.get("/models/nobody/drift")

    assert answer.status_code == 200
    assert own["pictures"] == 3
    assert (nobodys.status_code, nobodys.json()["code"]) == (404, "model_not_found")


@pytest.mark.anyio
async def test_inverted_traffic_is_noticed_and_a_second_sample_is_not() -> None:
    images = fashion_images()[0]
    found = []
    for lot in (images, 255 - images):
        async with serving(create_app(Settings(artifact=SHIPPED, intra_op_threads=1))) as service:
            if service.classifier.manifest.reference is None:
                pytest.skip("the shipped artifact has no reference")
            for start in range(0, len(lot), 60):
                files = [encode(Image.fromarray(image)) for image in lot[start : start + 60]]
                body = {"images": [base64.b64encode(file).decode() for file in files]}
                assert (await service.client.post("/predict", json=body)).status_code == 200
            quantities = (await service.client.get("/drift")).json()["quantities"]
            found.append({name: of["status"] for name, of in quantities.items()})

    same, inverted = found
    assert set(same.values()) == {"steady"}
    assert inverted["brightness"] == inverted["out_of_distribution"] == "changed"
