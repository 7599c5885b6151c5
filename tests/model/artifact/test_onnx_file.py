"""The walk through an ONNX file, on messages put together byte by byte."""

from collections.abc import Callable
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.artifact.onnx_file import OnnxFormatError, inspect


def _varint(number: int) -> bytes:
    if number < 0x80:
        return bytes([number])
    return bytes([number & 0x7F | 0x80]) + _varint(number >> 7)


def _message(field: int, *parts: bytes) -> bytes:
    content = b"".join(parts)
    return _varint(field << 3 | 2) + _varint(len(content)) + content


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


# Field numbers of onnx.proto.
TENSOR = _message(8, b"inside") + _number(2, 1) + _message(9, b"\0\0\0\0")
LOCATED = _message(8, b"away") + _number(14, 1)
ENTRY = _message(13, _message(1, b"location"), _message(2, b"../../etc/passwd"))
LISTED = _message(8, b"away") + ENTRY


def _in_graph(tensor: bytes) -> bytes:
    return _message(7, _message(5, tensor))


def _in_attribute(attribute: bytes) -> bytes:
    return _message(7, _message(1, _message(5, attribute)))


def test_a_file_without_external_tensors_names_none(tiny_onnx: bytes) -> None:
    assert inspect(tiny_onnx).external == []


def test_a_tensor_with_its_numbers_inside_is_not_named() -> None:
    assert inspect(_in_graph(TENSOR)).external == []


def test_a_location_that_says_default_is_not_external() -> None:
    assert inspect(_in_graph(TENSOR + _number(14, 0))).external == []


@pytest.mark.parametrize("tensor", [LOCATED, LISTED], ids=["data_location", "external_data"])
@pytest.mark.parametrize(
    ("place", "wrap"),
    [
        ("initializer", _in_graph),
        ("sparse values", lambda t: _message(7, _message(15, _message(1, t)))),
        ("sparse indices", lambda t: _message(7, _message(15, _message(2, t)))),
        ("attribute t", lambda t: _in_attribute(_message(5, t))),
        ("attribute tensors", lambda t: _in_attribute(_message(10, t))),
        ("attribute sparse_tensor", lambda t: _in_attribute(_message(22, _message(1, t)))),
        ("attribute sparse_tensors", lambda t: _in_attribute(_message(23, _message(1, t)))),
        ("subgraph g", lambda t: _in_attribute(_message(6, _message(5, t)))),
        ("subgraphs graphs", lambda t: _in_attribute(_message(11, _message(5, t)))),
        ("function node", lambda t: _message(25, _message(7, _message(5, _message(5, t))))),
        ("function default", lambda t: _message(25, _message(11, _message(5, t)))),
        ("training initialization", lambda t: _message(20, _message(1, _message(5, t)))),
        ("training algorithm", lambda t: _message(20, _message(2, _message(5, t)))),
    ],
)
def test_an_external_tensor_is_found_wherever_a_file_can_hold_one(
    place: str, wrap: Callable[[bytes], bytes], tensor: bytes
) -> None:
    assert inspect(wrap(tensor)).external == ["away"], place


@pytest.mark.parametrize(
    ("wrap", "subgraphs"),
    [
        (_in_graph, 0),
        (lambda t: _in_attribute(_message(6, _message(5, t))), 1),
        (lambda t: _in_attribute(_message(11, _message(5, t)) * 2), 2),
        (lambda t: _message(25, _message(7, _message(5, _message(6, t)))), 1),
    ],
    ids=["none", "g", "graphs", "in a function"],
)
def test_graphs_in_nodes_are_counted(wrap: Callable[[bytes], bytes], subgraphs: int) -> None:
    assert inspect(wrap(TENSOR)).subgraphs == subgraphs


def test_a_graph_given_in_two_parts_is_searched_in_both(tiny_onnx: bytes) -> None:
    assert inspect(tiny_onnx + _in_graph(LOCATED)).external == ["away"]


def test_a_tensor_without_a_name_is_still_counted() -> None:
    assert inspect(_in_graph(_number(14, 1))).external == [""]


def test_a_name_that_is_not_text_does_not_stop_the_search() -> None:
    (name,) = inspect(_in_graph(_message(8, b"\xff\xfe") + _number(14, 1))).external

    assert name == "\N{REPLACEMENT CHARACTER}" * 2


def test_fields_of_fixed_width_are_stepped_over() -> None:
    fixed = _varint(100 << 3 | 1) + bytes(8) + _varint(101 << 3 | 5) + bytes(4)

    graph = fixed + _message(5, fixed + LOCATED) + fixed

    assert inspect(fixed + _message(7, graph) + fixed).external == ["away"]


def test_a_tag_beyond_32_bits_is_refused() -> None:
    """A parser that keeps the low 32 bits, as onnxruntime's does, would read field 7."""
    graph = _message(5, LOCATED)
    disguised = _varint((7 << 3 | 2) | 1 << 32) + _varint(len(graph)) + graph

    with pytest.raises(OnnxFormatError, match="32 bits"):
        inspect(disguised)


def test_subgraphs_nested_without_end_are_refused() -> None:
    graph = _message(5, LOCATED)
    for _ in range(1_000):
        graph = _message(1, _message(5, _message(6, graph)))

    with pytest.raises(OnnxFormatError, match="deep"):
        inspect(_message(7, graph))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"\x3a", "does not end"),
        (b"\x3a\x05abc", "past the end"),
        (b"\x39\0\0", "past the end"),
        (b"\x3b", "wire type 3"),
        (b"\x3e", "wire type 6"),
        (b"\x80" * 11, "does not end"),
        (bytes(100), "has no number"),
        (b"\x08\x80", "does not end"),
        (_message(7, b"\x2a\x7f"), "past the end"),
    ],
)
def test_bytes_that_are_no_protobuf_are_refused(content: bytes, cause: str) -> None:
    with pytest.raises(OnnxFormatError, match=cause):
        inspect(content)


@given(content=st.binary(max_size=400))
def test_random_bytes_give_an_answer_or_the_one_error(content: bytes) -> None:
    with suppress(OnnxFormatError):
        names = inspect(content).external

        assert len(names) <= len(content)


@given(data=st.data())
def test_a_real_file_with_bytes_changed_gives_an_answer_or_the_one_error(
    data: st.DataObject, tiny_onnx: bytes
) -> None:
    content = bytearray(tiny_onnx)
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))

    with suppress(OnnxFormatError):
        names = inspect(bytes(content)).external

        assert len(names) <= len(content)
