import re
from http import HTTPStatus

import pytest

from service import errors
from service.errors import STATUS, ServiceError

ROW = re.compile(r"── (\w+Error) +(\d{3})  \S")


def all_kinds(kind: type[ServiceError] = ServiceError) -> set[type[ServiceError]]:
    """Every class below one, however deep."""
    return set(kind.__subclasses__()).union(*map(all_kinds, kind.__subclasses__()))


def test_every_error_has_a_status() -> None:
    assert set(STATUS) == all_kinds()


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [kind.code for kind in all_kinds()]

    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code) for code in codes)


def test_the_table_in_the_docstring_is_the_table_in_the_code() -> None:
    documented = {name: int(status) for name, status in ROW.findall(errors.__doc__ or "")}

    assert documented == {kind.__name__: status.value for kind, status in STATUS.items()}


def test_only_our_own_failures_are_server_errors() -> None:
    ours = {kind.code for kind, status in STATUS.items() if status >= 500}

    assert ours == {
        "inference_failed",
        "internal_error",
        "not_ready",
        "engine_stalled",
        "overloaded",
        "out_of_memory",
        "deadline_exceeded",
        "http_version_not_supported",  # 505, of HTTP itself
        "unsupported",  # 501, which Triton's clients expect for what a server does not have
    }


@pytest.mark.parametrize("kind", sorted(all_kinds(), key=str))
def test_a_status_is_an_error(kind: type[ServiceError]) -> None:
    assert HTTPStatus.BAD_REQUEST <= STATUS[kind] < 600


@pytest.mark.parametrize("kind", [errors.BodyTooLargeError, errors.TooManyImagesError])
def test_an_error_about_a_limit_says_the_limit_and_the_way_out(
    kind: type[errors.BodyTooLargeError],
) -> None:
    error = kind(12_345)

    assert "12,345" in str(error)
    assert "RESNET_MAX_" in str(error)
