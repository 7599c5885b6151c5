"""What RFC 9112 forbids in a head, and what it allows."""

import re
from http import HTTPStatus

import pytest

from service.server.faults import HeadError
from service.server.heads import check_head
from tests.service.conftest import MakeArtifact
from tests.service.listening import listen
from tests.service.process import read_answer

CHUNKED = b"transfer-encoding: chunked"
ONE_CHUNK = b"1\r\nx\r\n0\r\n\r\n"


def headers(*lines: bytes) -> list[tuple[bytes, bytes]]:
    return [(name, value.strip()) for name, _, value in (line.partition(b":") for line in lines)]


@pytest.mark.parametrize(
    "host",
    [
        b"",
        b"x",
        b"x:",
        b"x:8000",
        b"EXAMPLE.org.",
        b"my_pod-1.svc",
        b"127.0.0.1:80",
        b"[::1]",
        b"[fe80::1%25eth0]:80",
        b"a%20b",
    ],
)
def test_a_host_is_a_name_or_an_address(host: bytes) -> None:
    assert check_head("1.1", [(b"host", host)]) == 0


@pytest.mark.parametrize(
    "host",
    [b"a b", b"a/b", b"u@x", b"a, b", b"x:y", b"::1", b"[::1", b"\xc3\xa4", b"a\tb", b"x:80:80"],
)
def test_any_other_host_is_refused(host: bytes) -> None:
    with pytest.raises(HeadError) as refused:
        check_head("1.1", [(b"host", host)])

    assert refused.value.fault.status == HTTPStatus.BAD_REQUEST


@pytest.mark.parametrize(
    ("version", "lines", "status"),
    [
        ("1.1", (), 400),
        ("1.0", (), None),
        ("1.1", (b"host: x", b"host: x"), 400),
        ("1.0", (b"host: x", b"host: x"), 400),
        ("2.0", (b"host: x",), 505),
        ("0.9", (), 505),
        ("1.1", (b"host: x", CHUNKED), None),
        ("1.1", (b"host: x", b"transfer-encoding: CHUNKED"), None),
        ("1.1", (b"host: x", b"transfer-encoding: gzip, chunked"), 501),
        ("1.1", (b"host: x", b"transfer-encoding: gzip", CHUNKED), 501),
        ("1.1", (b"host: x", b"transfer-encoding: gzip"), 400),
        ("1.1", (b"host: x", b"transfer-encoding: identity"), 400),
        ("1.1", (b"host: x", b"transfer-encoding: chunked;q=1"), 400),
        ("1.1", (b"host: x", b"transfer-encoding: chunked, gzip"), 400),
        ("1.1", (b"host: x", CHUNKED, CHUNKED), 400),
        ("1.1", (b"host: x", b"transfer-encoding: ,"), 400),
        ("1.0", (b"host: x", CHUNKED), 400),
    ],
)
def test_a_head_that_breaks_the_rules_is_refused(
    version: str, lines: tuple[bytes, ...], status: int | None
) -> None:
    refused = None
    try:
        check_head(version, headers(*lines))
    except HeadError as error:
        refused = error.fault.status

    assert refused == status


def test_the_length_of_the_body_is_found() -> None:
    assert check_head("1.1", headers(b"host: x", b"content-length: 12")) == 12


RAW = {
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n": [b"200"],
    b"GET http://x/livez HTTP/1.1\r\nHost: x\r\n\r\n": [b"200"],
    b"GET /livez HTTP/1.0\r\n\r\n": [b"200"],
    b"GET /livez HTTP/1.1\r\n\r\n": [b"400"],
    b"GET /livez HTTP/1.1\r\nHost: x\r\nHost: x\r\n\r\n": [b"400"],
    b"GET /livez HTTP/2.0\r\nHost: x\r\n\r\n": [b"505"],
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n": [b"400"],
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\r\n b\r\n\r\n": [b"400"],
    b"GET /livez HTTP/1.1\r\nHost: x\r\nX: a\rb\r\n\r\n": [b"400"],
    b"GET /livez HTTP/1.1\r\nHost : x\r\n\r\n": [b"400"],
    b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n" + ONE_CHUNK: [
        b"501"
    ],
    b"POST /livez HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip\r\n\r\nx": [b"400"],
    b"POST /livez HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n" + ONE_CHUNK: [b"400"],
    b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n"
    + ONE_CHUNK: [b"400"],
    b"POST /livez HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab": [
        b"400"
    ],
    b"GET /livez HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: a\r\n\r\n": [b"400"],
    # in its turn, after the answers to those before
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nnonsense\r\n\r\n": [b"200", b"400"],
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\nGET /livez HTTP/1.1\r\n\r\n": [b"200", b"400"],
    b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n"
    b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n": [
        b"200",
        b"400",
    ],
}


def test_raw_requests_get_the_statuses_that_the_rfc_asks_for(make_artifact: MakeArtifact) -> None:
    with listen(make_artifact(), keep_alive_timeout_s=0.2) as listening:
        for request, statuses in RAW.items():
            with listening.connect() as connection:
                connection.sendall(request)
                answer = read_answer(connection)

            found = re.findall(rb"HTTP/1\.1 (\d+) ", answer)
            assert found == statuses, request
