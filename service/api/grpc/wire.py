"""Count the fields of an inference request before protobuf parses it.

An empty field takes two bytes of a message and up to a hundred of memory: 10 MB of them took 0.8 s,
in which nothing else could run, and 500 MB. An honest request has few.

Source:
    Protocol Buffers' encoding: a tag of field number and wire type, then the value.
"""

from service.errors import MalformedRequestError

LENGTH_DELIMITED = 2
MAX_VARINT_BYTES = 10
INPUTS, CONTENTS = 5, 5
"""Numbers of the fields whose own fields are counted, too: of the request, and of an input."""
SPARE_FIELDS = 1000
"""Fields that a request may have besides one for each image."""


class _BrokenError(Exception):
    """The message ends within a field, or has a wire type that is not used any more."""


def check_field_count(message: bytes, max_images: int) -> None:
    """Reject a message with many more fields than the largest request needs.

    Raises:
        MalformedRequestError: If it has, or if its fields cannot be told apart.
    """
    try:
        left = _count(message, 0, len(message), (INPUTS, CONTENTS), max_images + SPARE_FIELDS)
    except _BrokenError:
        raise not_a_message() from None
    if left < 0:
        raise MalformedRequestError(
            f"The message has more than {max_images + SPARE_FIELDS:,} fields. Send tensors in "
            "`raw_input_contents`, or packed."
        )


def not_a_message() -> MalformedRequestError:
    """Say that bytes are no message of the protocol."""
    return MalformedRequestError(
        "The message is malformed: it must be one of the Open Inference Protocol, package "
        "`inference`."
    )


def _count(message: bytes, begin: int, end: int, descend: tuple[int, ...], left: int) -> int:
    """Subtract the fields between two positions from `left`; negative if there are too many.

    Args:
        message: All of it.
        begin: Of the fields.
        end: Of the fields.
        descend: Number of the field that is a message to be counted, then of such a field in it.
        left: Fields that are allowed.
    """
    while begin < end and left >= 0:
        left -= 1
        tag, begin = _varint(message, begin)
        after = _after(message, begin, tag & 7)
        if after > end:
            raise _BrokenError
        if descend and tag == descend[0] << 3 | LENGTH_DELIMITED:
            _, begin = _varint(message, begin)
            left = _count(message, begin, after, descend[1:], left)
        begin = after
    return left


def _after(message: bytes, position: int, wire_type: int) -> int:
    """Return where the value at a position ends."""
    match wire_type:
        case 0:
            return _varint(message, position)[1]
        case 1:
            return position + 8
        case 2:
            length, position = _varint(message, position)
            return position + length
        case 5:
            return position + 4
        case _:
            raise _BrokenError


def _varint(message: bytes, position: int) -> tuple[int, int]:
    """Read a number of seven bits a byte, the lowest first; return where it ends, too."""
    value = 0
    for shift in range(MAX_VARINT_BYTES):
        if position >= len(message):
            break
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return value, position
    raise _BrokenError
