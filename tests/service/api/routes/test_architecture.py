import httpx
import pytest

from service.api.schemas import ArchitectureResponse
from tests.service.conftest import Serve, Service

pytestmark = pytest.mark.anyio


@pytest.fixture
async def response(shipped: Service) -> httpx.Response:
    return await shipped.client.get("/architecture")


async def test_the_answer_is_what_the_schema_promises(response: httpx.Response) -> None:
    answer = ArchitectureResponse.model_validate_json(response.content)

    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert answer.architecture.name == "mini_resnet"
    assert answer.parameters == 696_042
    assert answer.model.name == "fashion-mnist"


async def test_the_parts_add_up_to_the_whole(response: httpx.Response) -> None:
    answer = response.json()

    sections = [answer["stem"], answer["head"]]
    blocks = [block for stage in answer["stages"] for block in stage["blocks"]]
    layers = [layer for part in [*sections, *blocks] for layer in part["layers"]]

    assert sum(layer["parameters"] for layer in layers) == answer["parameters"]
    assert sum(layer["macs"] for layer in layers) == answer["macs"]


async def test_it_says_what_the_network_is_worth_and_where_it_came_from(
    response: httpx.Response,
) -> None:
    answer = ArchitectureResponse.model_validate_json(response.content)

    assert answer.metrics is not None
    assert answer.metrics.top1 > 0.9
    assert answer.metrics.n == 10_000
    assert answer.provenance.recipe == "record"
    assert answer.input.size == 28
    assert len(answer.labels) == answer.architecture.num_classes == 10


async def test_it_is_of_the_model_that_is_served(serve: Serve) -> None:
    service = await serve()

    answer = (await service.client.get("/architecture")).json()

    assert answer["labels"] == ["dark", "bright"]
    assert answer["metrics"] is None
    assert answer["model"]["provider"] == "cpu"


async def test_it_shows_how_the_engine_is_run_and_was_measured(serve: Serve) -> None:
    service = await serve(max_batch_size=3)

    answer = (await service.client.get("/architecture")).json()["serving"]

    assert (answer["instances"], answer["threads"]) == (1, 1)
    assert [batch["images"] for batch in answer["batches"]] == [1, 2, 3]
    assert all(0 < batch["ms"] < 1_000 for batch in answer["batches"])


async def test_a_drawing_and_a_sample_are_rendered_once(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()
    paths = ["/architecture?format=svg", "/samples/0.png"]
    first = [(await service.client.get(path)).content for path in paths]
    for name in ("architecture.draw", "card.sample_png"):
        monkeypatch.setattr(f"service.api.routes.{name}", lambda *_: pytest.fail("rendered again"))

    again = [(await service.client.get(path)).content for path in paths]

    assert first == again
