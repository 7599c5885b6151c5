"""What the routes of the V2 protocol share: model paths, JSON responses and OpenAPI entries."""

from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel

from service.api.model_routes import path_parameters
from service.api.problems import errors_v2
from service.api.state import service_of
from service.api.v2.names import ModelAlias, find_alias
from service.postprocessing.schemas import Schema

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]
TAG = "Open Inference Protocol V2"
BINARY = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
"""With the header Inference-Header-Content-Length: JSON, and binary data after it."""


def model_route(  # noqa: PLR0913  # what OpenAPI wants to know
    router: APIRouter,
    method: str,
    leaf: str,
    *,
    summary: str,
    answer: type[Schema],
    statuses: tuple[int, ...] = (404,),
    body: type[BaseModel] | None = None,
) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint at `/models/{name}<leaf>`, and the same of one version."""

    def register(endpoint: Endpoint) -> Endpoint:
        for path in ("/models/{name}", "/models/{name}/versions/{version}"):
            more: dict[str, Any] = {"parameters": path_parameters(path)}
            responses = errors_v2(*statuses)
            if body is not None:
                more["requestBody"] = json_body(body)
                more["requestBody"]["content"] |= BINARY
                responses[200] = {"content": BINARY}
            router.add_api_route(
                path + leaf,
                endpoint,
                methods=[method],
                summary=summary,
                response_model=answer,
                responses=responses,
                openapi_extra=more,
            )
        return endpoint

    return register


def requested_alias(request: Request) -> ModelAlias:
    """Find the model that the path names.

    Raises:
        ModelNotFoundError: If there is none.
    """
    wanted = request.path_params
    return find_alias(service_of(request).models, wanted["name"], wanted.get("version"))


def json_response(content: Schema) -> Response:
    """Answer with a schema's JSON."""
    return Response(content.model_dump_json(exclude_none=True), media_type="application/json")


def json_body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body for OpenAPI. `$ref`s are resolved, since their targets would be missing."""
    schema = model.model_json_schema()
    parts = schema.pop("$defs", {})

    def whole(node: Any) -> Any:
        if isinstance(node, list):
            return [whole(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return whole(parts[node["$ref"].rpartition("/")[2]])
        return {key: whole(value) for key, value in node.items()}

    return {"content": {"application/json": {"schema": whole(schema)}}}
