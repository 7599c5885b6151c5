"""The messages of the Open Inference Protocol over gRPC, package `inference`.

Their classes are made from a table when this module is loaded, so no code is generated. They are in
a descriptor pool of their own: clients in the same process, such as tritonclient, register the same
names in the default one.

Source:
    The protocol's `open_inference_grpc.proto`: its fields are numbered from 1 in the order below.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    MessageOptions,
)
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass

PACKAGE = "inference"
SERVICE = f"{PACKAGE}.GRPCInferenceService"


class _Kind(NamedTuple):
    """The type of a field: a scalar, or a message by its name within the package."""

    number: int
    message: str = ""
    is_repeated: bool = False
    oneof: bool = False


_BOOL = _Kind(FieldDescriptorProto.TYPE_BOOL)
_BYTES = _Kind(FieldDescriptorProto.TYPE_BYTES)
_DOUBLE = _Kind(FieldDescriptorProto.TYPE_DOUBLE)
_FLOAT = _Kind(FieldDescriptorProto.TYPE_FLOAT)
_INT32 = _Kind(FieldDescriptorProto.TYPE_INT32)
_INT64 = _Kind(FieldDescriptorProto.TYPE_INT64)
_STRING = _Kind(FieldDescriptorProto.TYPE_STRING)
_UINT32 = _Kind(FieldDescriptorProto.TYPE_UINT32)
_UINT64 = _Kind(FieldDescriptorProto.TYPE_UINT64)


def _message(name: str) -> _Kind:
    return _Kind(FieldDescriptorProto.TYPE_MESSAGE, name)


def _many(kind: _Kind) -> _Kind:
    return kind._replace(is_repeated=True)


def _one_of(kind: _Kind) -> _Kind:
    return kind._replace(oneof=True)


_PARAMETERS = _many(_message("ParametersEntry"))  # of the message that has the field
_MODEL = {"name": _STRING, "version": _STRING}
_TENSOR = {
    "name": _STRING,
    "datatype": _STRING,
    "shape": _many(_INT64),
    "parameters": _PARAMETERS,
    "contents": _message("InferTensorContents"),
}
_FIELDS: Mapping[str, Mapping[str, _Kind]] = MappingProxyType(
    {
        "ServerLiveRequest": {},
        "ServerLiveResponse": {"live": _BOOL},
        "ServerReadyRequest": {},
        "ServerReadyResponse": {"ready": _BOOL},
        "ModelReadyRequest": _MODEL,
        "ModelReadyResponse": {"ready": _BOOL},
        "ServerMetadataRequest": {},
        "ServerMetadataResponse": {
            "name": _STRING,
            "version": _STRING,
            "extensions": _many(_STRING),
        },
        "ModelMetadataRequest": _MODEL,
        "ModelMetadataResponse": {
            "name": _STRING,
            "versions": _many(_STRING),
            "platform": _STRING,
            "inputs": _many(_message("ModelMetadataResponse.TensorMetadata")),
            "outputs": _many(_message("ModelMetadataResponse.TensorMetadata")),
        },
        "ModelMetadataResponse.TensorMetadata": {
            "name": _STRING,
            "datatype": _STRING,
            "shape": _many(_INT64),
        },
        "ModelInferRequest": {
            "model_name": _STRING,
            "model_version": _STRING,
            "id": _STRING,
            "parameters": _PARAMETERS,
            "inputs": _many(_message("ModelInferRequest.InferInputTensor")),
            "outputs": _many(_message("ModelInferRequest.InferRequestedOutputTensor")),
            "raw_input_contents": _many(_BYTES),
        },
        "ModelInferRequest.InferInputTensor": _TENSOR,
        "ModelInferRequest.InferRequestedOutputTensor": {
            "name": _STRING,
            "parameters": _PARAMETERS,
        },
        "ModelInferResponse": {
            "model_name": _STRING,
            "model_version": _STRING,
            "id": _STRING,
            "parameters": _PARAMETERS,
            "outputs": _many(_message("ModelInferResponse.InferOutputTensor")),
            "raw_output_contents": _many(_BYTES),
        },
        "ModelInferResponse.InferOutputTensor": _TENSOR,
        "InferParameter": {
            "bool_param": _one_of(_BOOL),
            "int64_param": _one_of(_INT64),
            "string_param": _one_of(_STRING),
            "double_param": _one_of(_DOUBLE),
            "uint64_param": _one_of(_UINT64),
        },
        "InferTensorContents": {
            "bool_contents": _many(_BOOL),
            "int_contents": _many(_INT32),
            "int64_contents": _many(_INT64),
            "uint_contents": _many(_UINT32),
            "uint64_contents": _many(_UINT64),
            "fp32_contents": _many(_FLOAT),
            "fp64_contents": _many(_DOUBLE),
            "bytes_contents": _many(_BYTES),
        },
    }
)
CHOICE = "parameter_choice"
"""Of an `InferParameter`, the field that is set."""


def _describe() -> FileDescriptorProto:
    """Describe all messages as protobuf does."""
    file = FileDescriptorProto(name="resnet/inference.proto", package=PACKAGE, syntax="proto3")
    described: dict[str, DescriptorProto] = {}
    for path, fields in _FIELDS.items():
        outer, _, name = path.rpartition(".")
        message = (described[outer].nested_type if outer else file.message_type).add(name=name)
        described[path] = message
        if any(kind.oneof for kind in fields.values()):
            message.oneof_decl.add(name=CHOICE)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _add_field(message, path, number, field, kind)
    return file


def _add_field(message: DescriptorProto, path: str, number: int, name: str, kind: _Kind) -> None:
    label = FieldDescriptorProto.LABEL_REPEATED if kind.is_repeated else None
    field = message.field.add(name=name, number=number, type=kind.number, label=label)
    if kind.oneof:
        field.oneof_index = 0
    if kind == _PARAMETERS:
        field.type_name = f".{PACKAGE}.{path}.{kind.message}"
        entry = message.nested_type.add(name=kind.message, options=MessageOptions(map_entry=True))
        entry.field.add(name="key", number=1, type=_STRING.number)
        value = entry.field.add(name="value", number=2, type=FieldDescriptorProto.TYPE_MESSAGE)
        value.type_name = f".{PACKAGE}.InferParameter"
    elif kind.message:
        field.type_name = f".{PACKAGE}.{kind.message}"


def _classes() -> dict[str, Any]:
    """Make the class of each message, by its name within the package."""
    pool = DescriptorPool()
    pool.Add(_describe())
    return {
        name: GetMessageClass(pool.FindMessageTypeByName(f"{PACKAGE}.{name}")) for name in _FIELDS
    }


MESSAGES: Mapping[str, Any] = MappingProxyType(_classes())
"""Protobuf's classes, by name."""
