"""The OpenAPI document: FastAPI's, with what holds for every route.

A route declares its own problems. Here are those that any route may have: of the host, of keys and
limits (`service.api.access`), of the server before a route is chosen, and of the service's state.
"""

from typing import Any

from fastapi import FastAPI

from service.api.access.control import HEALTH, METRICS, needed_scopes
from service.api.access.gate import UNLIMITED
from service.api.problems import V2, problems
from service.api.schemas import Problem
from service.errors import STATUS
from service.settings import Settings

Node = dict[str, Any]

SCHEMES: Node = {
    "bearer": {"type": "http", "scheme": "bearer", "description": "An API key."},
    "header": {"type": "apiKey", "in": "header", "name": "X-API-Key", "description": "An API key."},
}
HEADERS: Node = {
    "X-Request-Id": {
        "description": "As in the log: the client's own, if it sent one.",
        "schema": {"type": "string"},
    },
    "Retry-After": {"description": "In seconds.", "schema": {"type": "integer"}},
    "WWW-Authenticate": {"description": "RFC 6750.", "schema": {"type": "string"}},
    "Server-Timing": {
        "description": "Time of each stage in milliseconds, and the size of the batch.",
        "schema": {"type": "string"},
    },
}
OF_STATUS = {
    "401": ("WWW-Authenticate",),
    "403": ("WWW-Authenticate",),
    "429": ("Retry-After",),
    "503": ("Retry-After",),
}
ANY, OF_KEYS, OF_LIMITS = (400, 431, 500, 503), (401, 403), (429,)
PLAIN: Node = {"text/plain": {"schema": {"type": "string"}}}
BY_THE_SERVER = frozenset({"400", "431", "503"})
"""Also answered in plain text, by the server: a body whose frames break the rules of HTTP or are
too large, and a lack of memory."""


def complete_document(app: FastAPI, settings: Settings) -> None:
    """Have the application's document declare what holds for every route.

    Args:
        app: Its routes are complete.
        settings: Whether a key is needed, and for what.
    """
    describe = app.openapi

    def openapi() -> Node:
        if app.openapi_schema is None:
            _complete(describe(), settings)
        return describe()

    app.openapi = openapi  # type: ignore[method-assign]  # as FastAPI's documentation has it


def _complete(document: Node, settings: Settings) -> None:
    has_keys = settings.api_keys_file is not None
    public = HEALTH | ({METRICS} if "metrics" in settings.public_routes else set())
    components = document["components"]
    components["headers"] = HEADERS
    components["schemas"]["Problem"] = _problem_schema()
    for unused in ("HTTPValidationError", "ValidationError"):  # FastAPI's own form, never sent
        components["schemas"].pop(unused, None)
    if has_keys:
        components["securitySchemes"] = SCHEMES
    for path, operations in list(document["paths"].items()):
        for method, operation in operations.items():
            scopes = needed_scopes(method.upper(), path)
            if scopes == ("admin",) and not (has_keys and settings.model_repository):
                document["paths"].pop(path)  # not supported
                break
            if has_keys and path not in public:
                operation["security"] = [{name: [scope]} for scope in scopes for name in SCHEMES]
            responses = operation["responses"] = _responses(path, operation["responses"])
            if "predict" in scopes:
                responses["200"]["headers"] |= _headers("Server-Timing")


def _problem_schema() -> Node:
    schema = Problem.model_json_schema()
    schema["properties"]["code"]["enum"] = sorted(kind.code for kind in STATUS)
    return schema


def _responses(path: str, own: Node) -> Node:
    """Add to a route's own responses those that any route may give."""
    limits = () if path in UNLIMITED else OF_LIMITS
    keys = () if path in HEALTH else OF_KEYS
    common: Node = {str(status): each for status, each in problems(*ANY, *keys, *limits).items()}
    if path == V2 or path.startswith(V2 + "/"):
        content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorV2"}}}
        common = {status: each | {"content": content} for status, each in common.items()}
    own = {status: each for status, each in own.items() if "HTTPValidationError" not in str(each)}
    return {status: _in_full(status, each) for status, each in sorted((common | own).items())}


def _in_full(status: str, response: Node) -> Node:
    """Add the headers of a response, and its other form."""
    content = response.get("content", {}) | (PLAIN if status in BY_THE_SERVER else {})
    headers = _headers("X-Request-Id", *OF_STATUS.get(status, ()))
    return response | {"headers": headers} | ({"content": content} if content else {})


def _headers(*names: str) -> Node:
    return {name: {"$ref": f"#/components/headers/{name}"} for name in names}
