import pytest
from fastapi import Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from service.app import create_app, refusal_of
from service.errors import (
    InternalError,
    InvalidParameterError,
    MalformedRequestError,
    ServiceError,
    StartError,
)
from service.settings import Settings
from tests.service import graphs
from tests.service.conftest import MakeArtifact

REQUEST = Request({"type": "http", "method": "GET", "path": "/", "headers": []})


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (400, MalformedRequestError),
        (413, MalformedRequestError),
        (499, MalformedRequestError),
        (500, InternalError),
        (503, InternalError),
    ],
)
def test_the_frameworks_other_errors_are_the_clients_up_to_500(
    status: int, kind: type[ServiceError]
) -> None:
    error = refusal_of(REQUEST, HTTPException(status, "What was wrong"))

    assert type(error) is kind


def test_what_the_framework_finds_wrong_with_a_parameter_is_told_by_its_name() -> None:
    found = RequestValidationError([{"loc": ("query", "x" * 900), "msg": "Too many", "type": "x"}])

    error = refusal_of(REQUEST, found)

    assert type(error) is InvalidParameterError
    assert str(error).startswith("query.xxx")
    assert len(str(error)) < 200


def test_a_service_whose_model_cannot_be_trusted_is_not_made(make_artifact: MakeArtifact) -> None:
    with pytest.raises(StartError, match="golden"):
        create_app(Settings(artifact=make_artifact(graphs.swapped())))
