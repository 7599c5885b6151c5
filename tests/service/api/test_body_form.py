"""Images in a form, multipart/form-data: read in order, or refused as malformed."""

import contextlib
import time

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.api.media_types import MULTIPART
from service.api.multipart import read_form
from service.api.payloads import read_payloads
from service.errors import (
    InvalidParameterError,
    MalformedRequestError,
    ServiceError,
    TooManyImagesError,
)

FORM = "multipart/form-data; boundary=line"
LATIN = st.text(st.characters(codec="latin-1"), max_size=20)  # what a header can hold


def payloads(body: bytes, content_type: str, max_images: int) -> list[bytes]:
    return read_payloads(body, content_type, max_images).images


def form(*files: tuple[str, tuple[str | None, bytes, str]]) -> tuple[bytes, str]:
    """A form as httpx builds it: body and content type."""
    request = httpx.Request("POST", "http://service", files=list(files))
    return request.read(), request.headers["content-type"]


def part(content: bytes = b"payload", headers: str = 'form-data; name="file"') -> bytes:
    """One part between two lines, written by hand."""
    return b"--line\r\nContent-Disposition: " + headers.encode() + b"\r\n\r\n" + content + b"\r\n"


FILE = part()
END = b"--line--\r\n"
OPTIONS = ("top_k", "explain")


def field(name: str, value: bytes = b"", more: str = "") -> bytes:
    """A text field between two lines."""
    return part(value, f'form-data; name="{name}"{more}')


def test_a_form_gives_its_one_file() -> None:
    body, content_type = form(("file", ("a.png", b"\x89PNG\r\n\r\n--\0", "image/png")))

    assert payloads(body, content_type, 1) == [b"\x89PNG\r\n\r\n--\0"]


def test_a_form_gives_many_files_in_the_order_sent() -> None:
    sent = [bytes([index]) * index for index in range(20)]
    body, content_type = form(*[("file", ("same.png", content, "image/png")) for content in sent])

    assert payloads(body, content_type, 20) == sent


def test_a_part_without_a_file_name_is_a_file_all_the_same() -> None:
    body, content_type = form(("file", (None, b"payload", "image/png")))

    assert b"filename" not in body
    assert payloads(body, content_type, 1) == [b"payload"]


def test_a_part_may_say_of_itself_what_it_likes() -> None:
    body, content_type = form(("file", ("../../etc/passwd", b"payload", "text/html")))

    assert payloads(body, content_type, 1) == [b"payload"]


def test_a_form_with_too_many_files_is_refused() -> None:
    body, content_type = form(*[("file", ("a.png", b"x", "image/png"))] * 3)

    with pytest.raises(TooManyImagesError, match="more than 2 images"):
        payloads(body, content_type, 2)


@pytest.mark.parametrize("name", ["image", "File", "file[]", "", "x" * 3_000, "fil\u00e9"])
def test_a_part_of_another_name_is_refused(name: str) -> None:
    body, content_type = form((name, ("a.png", b"x", "image/png")))

    with pytest.raises(MalformedRequestError, match="must be named 'file'") as refused:
        payloads(body, content_type, 2)

    assert len(str(refused.value)) < 300


@pytest.mark.parametrize(
    "content_type",
    [
        "multipart/form-data",
        "multipart/form-data; boundary",
        "multipart/form-data; boundary=",
        'multipart/form-data; boundary=""',
        "multipart/form-data; charset=utf-8",
    ],
)
def test_a_form_without_a_boundary_is_malformed(content_type: str) -> None:
    with pytest.raises(MalformedRequestError, match="has no boundary"):
        payloads(part() + b"--line--\r\n", content_type, 1)


def test_a_boundary_that_is_too_long_is_malformed() -> None:
    with pytest.raises(MalformedRequestError):
        payloads(part(), f"multipart/form-data; boundary={'x' * 300}", 1)


@pytest.mark.parametrize("ending", [b"--line--\r\n", b"--line--", b"--line--\r\nepilogue"])
def test_a_form_may_end_with_or_without_a_last_line(ending: bytes) -> None:
    assert payloads(part(b"one") + part(b"two") + ending, FORM, 2) == [b"one", b"two"]


def test_a_form_that_is_cut_off_anywhere_is_malformed() -> None:
    whole = part(b"one") + part(b"two") + b"--line--"

    for length in range(1, len(whole)):
        with pytest.raises(MalformedRequestError):
            payloads(whole[:length], FORM, 2)


@pytest.mark.parametrize("body", [b"--line--\r\n", b"\r\n\r\n--line--\r\n"])
def test_a_form_without_parts_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="no part named 'file'"):
        payloads(body, FORM, 1)


@pytest.mark.parametrize(
    "body",
    [
        b"junk",
        b"--other\r\n\r\n",
        b"--line\r\n\r\nno headers\r\n--line--",
        b"--line\r\nno colon\r\n\r\nx\r\n--line--",
        b"--line\r\nContent-Disposition: form-data\r\n\r\nx\r\n--line--",
        b"--line\r\n: form-data; name=file\r\n\r\nx\r\n--line--",
        part() + b"--line\rX",
        b"\x89PNG\r\n\x1a\n",
    ],
)
def test_a_form_that_is_junk_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError):
        payloads(body, FORM, 9)


def test_a_form_in_a_form_is_taken_for_an_image() -> None:
    inner = part(b"inner").replace(b"line", b"fold") + b"--fold--"

    assert payloads(part(inner) + b"--line--", FORM, 9) == [inner]


@pytest.mark.parametrize("lines", [1, 7, 100_000])
def test_a_part_with_huge_headers_is_malformed(lines: int) -> None:
    header = 'form-data; name="file"' + f"\r\nX-Filler: {'x' * (20_000 // lines)}" * lines

    with pytest.raises(MalformedRequestError):
        payloads(part(headers=header) + b"--line--", FORM, 1)


def test_a_part_with_modest_headers_is_read() -> None:
    header = 'form-data; name="file"' + f"\r\nX-Filler: {'x' * 2_000}" * 5

    assert payloads(part(headers=header) + b"--line--", FORM, 1) == [b"payload"]


def test_headers_are_counted_for_each_part_alone() -> None:
    header = 'form-data; name="file"' + f"\r\nX-Filler: {'x' * 2_000}" * 5

    body = part(headers=header) * 8 + b"--line--"

    assert len(payloads(body, FORM, 8)) == 8


@given(body=st.binary(max_size=300), boundary=LATIN, has_start=st.booleans())
@settings(max_examples=300, deadline=None)
def test_random_forms_are_refused_or_read(body: bytes, boundary: str, has_start: bool) -> None:
    start = b"--line\r\nContent-Disposition: form-data; name=file\r\n" if has_start else b""
    content_type = FORM if has_start else f"{MULTIPART}; boundary={boundary}"

    with contextlib.suppress(ServiceError):
        assert payloads(start + body, content_type, 3)


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_forms_with_changed_bytes_are_refused_or_read(data: st.DataObject) -> None:
    body = bytearray(part(b"one") + part(b"\r\n--li") + b"--line--\r\n")
    for _ in range(data.draw(st.integers(1, 5))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))

    with contextlib.suppress(ServiceError):
        assert 1 <= len(payloads(bytes(body), FORM, 3)) <= 3


@pytest.mark.parametrize(
    "beside",
    [
        field("submit", b"Upload"),
        field("csrf_token", b"x" * 1_000_000),
        field("note", b"text", "\r\nContent-Type: text/plain; charset=utf-8"),
        field("meta", b"{}", "\r\nContent-Type: application/json"),
        field("image", b"", '; filename=""\r\nContent-Type: application/octet-stream'),
        field("file", b"", '; filename=""\r\nContent-Type: application/octet-stream'),
        field("", b"no name"),
        b"--line\r\nContent-Type: text/plain\r\n\r\nno disposition\r\n",
        field("x", b"y") * 150,
    ],
)
def test_what_is_no_file_is_passed_over_before_and_after_it(beside: bytes) -> None:
    for body in (beside + FILE + END, FILE + beside + END):
        assert payloads(body, FORM, 1) == [b"payload"]


@pytest.mark.parametrize(
    "headers",
    [
        'form-data; name="upload"; filename="a.png"',
        'form-data; name="upload"; filename=""',
        'form-data; name="upload"\r\nContent-Type: image/png',
    ],
)
def test_a_file_under_another_name_is_refused_beside_one_of_the_right_name(headers: str) -> None:
    with pytest.raises(MalformedRequestError, match=r"named 'upload'.*must be named 'file'"):
        payloads(FILE + part(b"x", headers) + END, FORM, 9)


@pytest.mark.parametrize(
    "body", [field("image", b"boot.png"), field("file", b"", '; filename=""'), field("top_k", b"3")]
)
def test_a_form_of_fields_alone_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="no part named 'file'"):
        payloads(body + END, FORM, 1)


def test_fields_that_are_options_are_given_and_no_others() -> None:
    body = field("top_k", b" 3\r\n") + FILE + field("explain", b"") + field("other", b"1") + END

    assert read_form(body, FORM, 1, OPTIONS) == ([b"payload"], {"top_k": "3"})


@pytest.mark.parametrize(
    ("beside", "rule"),
    [(field("top_k", b"3") * 2, "more than once"), (field("top_k", b"3" * 101), "100 bytes")],
)
def test_an_option_that_is_doubled_or_huge_is_refused_by_its_name(beside: bytes, rule: str) -> None:
    with pytest.raises(InvalidParameterError, match=rf"form\.top_k: .*{rule}"):
        read_form(beside + FILE + END, FORM, 1, OPTIONS)


@pytest.mark.parametrize("beside", [field("x"), field("file", b"", '; filename=""')])
def test_a_flood_of_fields_is_refused(beside: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="more than 200 fields"):
        payloads(beside * 201 + FILE + END, FORM, 1)


def test_a_flood_of_lines_that_begin_with_the_boundary_is_refused_at_once() -> None:
    near = b"\r\n--lines"
    began = time.process_time()

    assert payloads(part(near * 900) + END, FORM, 1) == [near * 900]
    with pytest.raises(MalformedRequestError, match="1,000,000 lines start with the boundary"):
        payloads(part(near * 1_000_000) + END, FORM, 1)

    assert time.process_time() - began < 0.5


@pytest.mark.parametrize("before", [b"\r\n", b"A preamble.\r\n", b"--lin\r\n--other\r\n"])
def test_what_stands_before_the_first_boundary_is_passed_over(before: bytes) -> None:
    assert payloads(before + FILE + END, FORM, 1) == [b"payload"]


def test_the_boundary_may_be_quoted() -> None:
    assert payloads(FILE + END, 'multipart/form-data; charset=utf-8; Boundary="line"', 1)


@pytest.mark.parametrize("body", [FILE + END, b"\x89PNG\r\n\x1a\n", b"", b"\n" + FILE + END])
def test_a_body_with_another_boundary_is_malformed_and_says_so(body: bytes) -> None:
    with pytest.raises(MalformedRequestError, match="Let your client set the header"):
        payloads(body.replace(b"line", b"other"), FORM, 1)


def test_lines_without_cr_are_malformed_and_named() -> None:
    with pytest.raises(MalformedRequestError, match="with CR and LF"):
        payloads((FILE + END).replace(b"\r", b""), FORM, 1)


@pytest.mark.parametrize(
    ("encoding", "content"),
    [("binary", b"payload"), ("8BIT", b"payload"), ("Base64", b"cGF5\r\nbG9hZA==")],
)
def test_a_part_may_have_a_transfer_encoding(encoding: str, content: bytes) -> None:
    headers = f'form-data; name="file"\r\nContent-Transfer-Encoding: {encoding}'

    assert payloads(part(content, headers) + END, FORM, 1) == [b"payload"]


@pytest.mark.parametrize(("encoding", "content"), [("base64", b"cGl"), ("quoted-printable", b"x")])
def test_a_transfer_encoding_that_cannot_be_undone_is_malformed(
    encoding: str, content: bytes
) -> None:
    headers = f'form-data; name="file"\r\nContent-Transfer-Encoding: {encoding}'

    with pytest.raises(MalformedRequestError) as refused:
        payloads(FILE + part(content, headers) + END, FORM, 2)

    assert refused.value.index == 1
