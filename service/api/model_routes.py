"""Routes that ask for one model: the default one, one by its name, or a version of it."""

import re
from collections.abc import Callable, Collection
from typing import Any, TypeVar

from fastapi import APIRouter

from service.api.problems import problems

Endpoint = TypeVar("Endpoint", bound=Callable[..., Any])
PATHS = {
    "": None,
    "/models/{name}": "The same for a model of your choice",
    "/models/{name}/versions/{version}": "The same for a version of that model, or an alias of one",
}
"""Before the end of a path, and the route's summary if it is another than the first one's."""


def model_route(
    router: APIRouter,
    method: str,
    end: str,
    *,
    summary: str,
    statuses: Collection[int] = (),
    **more: Any,
) -> Callable[[Endpoint], Endpoint]:
    """Register an endpoint for each of `PATHS`; it finds the model with `classifier_of`.

    Args:
        router: Gets the routes.
        method: Of HTTP.
        end: Of the path, such as `/card`.
        summary: For OpenAPI.
        statuses: Of problems, besides 404 where a name is asked for.
        more: For OpenAPI, as FastAPI takes it.
    """
    extra = more.pop("openapi_extra", {})
    responses = more.pop("responses", {})

    def register(endpoint: Endpoint) -> Endpoint:
        for start, other_summary in PATHS.items():
            named = (404,) if start else ()
            parameters = [*path_parameters(start), *extra.get("parameters", [])]
            router.add_api_route(
                start + end,
                endpoint,
                methods=[method],
                summary=other_summary or summary,
                responses={**responses, **problems(*sorted({*statuses, *named}))},
                openapi_extra={**extra, "parameters": parameters} if parameters else extra,
                **more,
            )
        return endpoint

    return register


def path_parameters(path: str) -> list[dict[str, Any]]:
    """Describe the parameters of a path for OpenAPI, where the endpoint's signature does not."""
    return [
        {"in": "path", "name": name, "required": True, "schema": {"type": "string"}}
        for name in re.findall(r"{(\w+)}", path)
    ]
