"""Problems as answers: the one place where a `ServiceError` becomes HTTP (RFC 9457)."""

from http import HTTPStatus
from typing import Any

from fastapi import Response

from service.errors import STATUS, ServiceError
from service.schemas import PROBLEM_MEDIA_TYPE, Problem


def problem_response(error: ServiceError) -> Response:
    """Turn an error into its problem document, with `Retry-After` where that helps."""
    status = STATUS[type(error)]
    problem = Problem(
        title=status.phrase,
        status=status.value,
        detail=str(error),
        code=error.code,
        index=error.index,
    )
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(error.retry_after_s)
    return Response(
        problem.model_dump_json(exclude_none=True),
        status_code=status.value,
        media_type=PROBLEM_MEDIA_TYPE,
        headers=headers,
    )


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Describe a route's problems for OpenAPI, with the codes that each status may carry."""
    return {
        status: {
            "description": f"{HTTPStatus(status).phrase}: "
            + ", ".join(kind.code for kind, value in STATUS.items() if value == status),
            "content": {PROBLEM_MEDIA_TYPE: {"schema": Problem.model_json_schema()}},
        }
        for status in statuses
    }
