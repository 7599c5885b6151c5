"""The OpenAPI document: FastAPI's, with the keys and limits that `service.api.access` adds."""

from typing import Any

from fastapi import FastAPI

from service.api.access.control import HEALTH
from service.api.access.gate import UNLIMITED
from service.api.problems import V2, problems
from service.api.v2.schemas import ErrorV2

SCHEMES = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}


def describe_access(app: FastAPI, *, has_keys: bool) -> None:
    """Have the application's document name the problems of keys and limits on every route.

    Args:
        app: Its routes are complete.
        has_keys: Whether a key is needed.
    """
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            document = describe()
            if has_keys:
                document.setdefault("components", {})["securitySchemes"] = SCHEMES
            for path, operations in document["paths"].items():
                for operation in operations.values():
                    _describe(path, operation, has_keys=has_keys)
        return describe()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _describe(path: str, operation: dict[str, Any], *, has_keys: bool) -> None:
    if path in HEALTH:
        return
    if has_keys:
        operation["security"] = [{name: []} for name in SCHEMES]
    statuses = (401, 403) if path in UNLIMITED else (401, 403, 429)
    described = problems(*statuses)
    if path == V2 or path.startswith(V2 + "/"):
        content = {"application/json": {"schema": ErrorV2.model_json_schema()}}
        described = {status: {**each, "content": content} for status, each in described.items()}
    operation["responses"] |= {str(status): each for status, each in described.items()}
