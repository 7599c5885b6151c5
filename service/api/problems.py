"""Error responses: the only module that turns a `ServiceError` into HTTP.

A problem document (RFC 9457) on all routes except `/v2`, whose protocol has its own form.
"""

from http import HTTPStatus
from typing import Any

from fastapi import Response

from service.api.schemas import PROBLEM_MEDIA_TYPE, Problem
from service.api.v2.schemas import ErrorV2
from service.errors import STATUS, RequestTimeoutError, ServiceError

V2 = "/v2"
PROBLEM_SCHEMA = "#/components/schemas/Problem"
"""`service.api.openapi` puts it there."""


def error_response_for(path: str, error: ServiceError, request_id: str | None = None) -> Response:
    """Turn an error into a response, in the form of the path's protocol."""
    is_v2 = path == V2 or path.startswith(V2 + "/")
    return error_response_v2(error) if is_v2 else problem_response(error, request_id)


def error_response_v2(error: ServiceError) -> Response:
    """Turn an error into the V2 protocol's form; clients require exactly this content type."""
    return Response(
        ErrorV2(error=text_v2(error)).model_dump_json(),
        status_code=STATUS[type(error)].value,
        media_type="application/json",
        headers=_headers(error),
    )


def text_v2(error: ServiceError) -> str:
    """Write an error with the image that is its cause, since the V2 protocol has text alone."""
    return str(error) if error.index is None else f"{error} (image {error.index} of the request)"


def problem_response(error: ServiceError, request_id: str | None = None) -> Response:
    """Turn an error into a problem document, with `Retry-After` if that helps."""
    status = STATUS[type(error)]
    problem = Problem(
        title=status.phrase,
        status=status.value,
        detail=str(error),
        code=error.code,
        index=error.index,
        request_id=request_id,
    )
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status.value,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=_headers(error),
    )


def _headers(error: ServiceError) -> dict[str, str]:
    if isinstance(error, RequestTimeoutError):
        return {"Connection": "close"}  # the rest of the body would arrive as slowly
    retry = {} if error.retry_after_s is None else {"Retry-After": str(error.retry_after_s)}
    return {**error.headers, **retry}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route's problems for OpenAPI, with the codes that each status may carry."""
    return {
        status: {
            "description": _described(status),
            "content": {PROBLEM_MEDIA_TYPE: {"schema": {"$ref": PROBLEM_SCHEMA}}},
        }
        for status in statuses
    }


def errors_v2(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe the errors of a route under `/v2` for OpenAPI."""
    return {status: {"description": _described(status), "model": ErrorV2} for status in statuses}


def _described(status: int) -> str:
    codes = ", ".join(kind.code for kind, value in STATUS.items() if value == status)
    return f"{HTTPStatus(status).phrase}: {codes}"
