"""multipart/form-data: image files in parts named `file`, and options in text fields."""

import binascii
from collections.abc import Collection
from typing import Any, Literal, NamedTuple

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from service.errors import InvalidParameterError, MalformedRequestError, TooManyImagesError

FILE_FIELD = "file"
MAX_HEADER_BYTES = 16_384
"""Of one part."""
MAX_OTHER_PARTS = 200
"""Besides the files; each takes time, however short it is."""
MAX_OPTION_BYTES = 100
MAX_NEAR_BOUNDARIES = 1000
_AS_CURL = "as curl -F file=@image.png sends it"
_FILE_TYPES = (b"image/", b"application/octet-stream")
_KEPT_HEADERS = (b"content-disposition", b"content-type", b"content-transfer-encoding")

Purpose = Literal["file", "option", "unfilled", "text"]


class Form(NamedTuple):
    """The content of a form: files in the order sent, and the fields that are options."""

    files: list[bytes]
    fields: dict[str, str]


class _Parts:
    """Callbacks of the parser: collect files and options, ignore other text."""

    def __init__(self, max_images: int, options: Collection[str]) -> None:
        self.form = Form([], {})
        self.is_whole = False
        self._max_images = max_images
        self._options = options
        self._others = 0
        self._header = bytearray()
        self._value = bytearray()
        self._header_bytes = 0
        self._headers: dict[bytes, bytes] = {}
        self._name = ""
        self._is_unfilled = False
        self._purpose: Purpose = "text"
        self._part = bytearray()

    def callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._on_header,
            "on_header_value": self._on_value,
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._on_data,
            "on_part_end": self._end,
            "on_end": self._end_form,
        }

    def _begin(self) -> None:
        self._headers, self._part, self._header_bytes = {}, bytearray(), 0

    def _on_header(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._header += data[start:end]

    def _on_value(self, data: bytes, start: int, end: int) -> None:
        self._count(end - start)
        self._value += data[start:end]

    def _count(self, length: int) -> None:
        self._header_bytes += length
        if self._header_bytes > MAX_HEADER_BYTES:
            raise MalformedRequestError(
                f"The headers of a part have more than {MAX_HEADER_BYTES:,} bytes."
            )

    def _end_header(self) -> None:
        name = bytes(self._header).lower()
        if name in _KEPT_HEADERS:
            self._headers[name] = bytes(self._value)
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        """Decide what the part is: a file, an option, or other text."""
        _, given = parse_options_header(self._headers.get(b"content-disposition", b""))
        self._name = given.get(b"name", b"").decode(errors="replace")
        content_type = self._headers.get(b"content-type", b"").lower()
        is_file = b"filename" in given or content_type.startswith(_FILE_TYPES)
        self._is_unfilled = given.get(b"filename") == b""  # as browsers send an empty file input
        if self._name == FILE_FIELD:
            self._purpose = "file"
        elif is_file and not self._is_unfilled:
            self._reject_name()
        elif is_file:
            self._purpose = "unfilled"
        else:
            self._purpose = "option" if self._name in self._options else "text"

    def _reject_name(self) -> None:
        raise MalformedRequestError(
            f"A part with a file is named {self._name[:100]!r}; each must be named "
            f"'file' and have one image, {_AS_CURL}."
        )

    def _on_data(self, data: bytes, start: int, end: int) -> None:
        if self._purpose == "file":
            self._part += data[start:end]
        elif self._purpose == "unfilled":
            self._reject_name()
        elif self._purpose == "option":
            self._part += data[start : min(end, start + MAX_OPTION_BYTES + 1)]
            if len(self._part) > MAX_OPTION_BYTES:
                raise InvalidParameterError(
                    f"form.{self._name}: the field has more than {MAX_OPTION_BYTES} bytes. "
                    "See /docs for the bounds."
                )

    def _end(self) -> None:
        if self._purpose == "file" and (self._part or not self._is_unfilled):
            if len(self.form.files) >= self._max_images:
                raise TooManyImagesError(self._max_images)
            self.form.files.append(self._decoded())
            return
        self._others += 1
        if self._others > MAX_OTHER_PARTS:
            raise MalformedRequestError(
                f"The form has more than {MAX_OTHER_PARTS} fields beside its files. "
                "Leave out those that are not needed."
            )
        if self._purpose == "option" and (value := self._part.decode(errors="replace").strip()):
            if self._name in self.form.fields:
                raise InvalidParameterError(
                    f"form.{self._name}: the field appears more than once. Send it once."
                )
            self.form.fields[self._name] = value

    def _decoded(self) -> bytes:
        """Undo a part's transfer encoding, which few clients still use."""
        name = self._headers.get(b"content-transfer-encoding", b"binary").strip().lower()
        if name in {b"binary", b"8bit", b"7bit"}:
            return bytes(self._part)
        index = len(self.form.files)
        if name != b"base64":
            shown = name[:100].decode(errors="replace")
            raise MalformedRequestError(
                f"The transfer encoding of a part is {shown!r}; send binary or base64.",
                index=index,
            )
        try:
            return binascii.a2b_base64(self._part)
        except binascii.Error as error:
            raise MalformedRequestError(
                f"Image {index} is not base64 ({error}), but its part says so.", index=index
            ) from error

    def _end_form(self) -> None:
        self.is_whole = True


def read_form(
    body: bytes, content_type: str, max_images: int, options: Collection[str] = ()
) -> Form:
    """Read a form.

    Args:
        body: All of it.
        content_type: The header, which names the boundary.
        max_images: In one request.
        options: Names of the text fields to return; others are ignored.

    Raises:
        ServiceError: If the form is incomplete, or has no files or too many.
    """
    _, parameters = parse_options_header(content_type)
    boundary = parameters.get(b"boundary")
    if not boundary:
        raise MalformedRequestError(
            "The content type multipart/form-data has no boundary. Let your client "
            "set the header; it knows the form's boundary."
        )
    _check_boundaries(body, boundary)
    parts = _Parts(max_images, options)
    try:
        parser = MultipartParser(boundary, parts.callbacks())  # type: ignore[arg-type]
        parser.write(_without_preamble(body, boundary))
        parser.finalize()
    except FormParserError as error:
        raise MalformedRequestError(
            f"The body is not valid multipart/form-data: {error}. Send it completely, "
            "with the boundary at the end of each part, and with CR and LF at the end "
            "of boundary and header lines."
        ) from error
    if not parts.is_whole:  # the parser would drop an incomplete part
        raise MalformedRequestError("The form ends before its last boundary. Send it completely.")
    if not parts.form.files:
        raise MalformedRequestError(
            f"The form has no part named 'file' with a file in it. Send at least one, {_AS_CURL}."
        )
    return parts.form


def _without_preamble(body: bytes, boundary: bytes) -> bytes:
    """Skip the preamble that RFC 2046 (section 5.1.1) allows before the first boundary."""
    line = b"--" + boundary
    if body.startswith(line):
        return body
    begin = body.find(b"\r\n" + line)
    if begin < 0:
        raise MalformedRequestError(
            "No line of the body is the boundary in the content type. Let your client "
            "set the header; lines end in CR and LF."
        )
    return body[begin + 2 :]


def _check_boundaries(body: bytes, boundary: bytes) -> None:
    """Reject a body with many lines that only begin with the boundary: each is slow to parse.

    Nested forms, whose boundary may begin with the outer one, have a few of them.
    """
    line = b"\r\n--" + boundary
    near = body.count(line) - body.count(line + b"\r\n") - body.count(line + b"--")
    if near > MAX_NEAR_BOUNDARIES:
        raise MalformedRequestError(
            f"In the form {near:,} lines start with the boundary and continue after "
            "it. Choose another boundary."
        )
