"""The OpenAPI document: what `make fuzz` has a validator and schemathesis check at length."""

import re
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from service.errors import STATUS, HttpVersionError, LoadRefusedError, MethodNotAllowedError
from tests.service.conftest import Service

pytestmark = pytest.mark.anyio


def operations(document: dict[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """List path, method and description of all operations."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield path, method, operation


async def test_each_operation_has_an_id_and_declares_the_parameters_of_its_path(
    shipped: Service,
) -> None:
    listed = list(operations(shipped.app.openapi()))

    for path, _, operation in listed:
        given = operation.get("parameters", [])
        declared = [each["name"] for each in given if each["in"] == "path" and each["required"]]
        assert sorted(declared) == sorted(re.findall(r"{(\w+)}", path)), path
    assert set(Counter(operation["operationId"] for *_, operation in listed).values()) == {1}


async def test_every_problem_is_declared_with_its_status(shipped: Service) -> None:
    document = shipped.app.openapi()

    problem = document["components"]["schemas"]["Problem"]
    assert set(problem["properties"]["code"]["enum"]) == {kind.code for kind in STATUS}
    declared = {
        (int(status), code)
        for *_, operation in operations(document)
        for status, response in operation["responses"].items()
        for code in response["description"].partition(": ")[2].split(", ")
    }
    wanted = {(status.value, kind.code) for kind, status in STATUS.items()}
    assert wanted - declared == {
        (405, MethodNotAllowedError.code),  # of no method that is declared
        (409, LoadRefusedError.code),  # of routes that need a key and a repository
        (505, HttpVersionError.code),  # of no version that its clients send
    }


async def test_every_operation_declares_what_any_may_answer(shipped: Service) -> None:
    for path, method, operation in operations(shipped.app.openapi()):
        responses = operation["responses"]
        assert {"200", "400", "431", "500", "503"} <= set(responses), (path, method)
        for response in responses.values():
            assert "X-Request-Id" in response["headers"]
        form = "application/json" if path.startswith("/v2") else "application/problem+json"
        assert set(responses["503"]["content"]) == {form, "text/plain"}, path
    assert "HTTPValidationError" not in str(shipped.app.openapi())


async def test_the_example_of_a_body_is_answered(shipped: Service) -> None:
    body = shipped.app.openapi()["paths"]["/predict"]["post"]["requestBody"]["content"]
    images = body["application/json"]["schema"]["properties"]["images"]["examples"][0]

    response = await shipped.client.post("/predict", json={"images": images})

    assert response.status_code == 200
