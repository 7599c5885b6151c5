"""The methods of `inference.GRPCInferenceService`: the same answers as the routes under `/v2`."""

import asyncio
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, TypeVar

from service.api.budget import Upload
from service.api.grpc.calls import Call
from service.api.grpc.codec import parse, parse_infer, read_call, write_response
from service.api.grpc.messages import MESSAGES
from service.api.routes.predict import INLINE_BODY_BYTES, server_timing
from service.api.state import ServiceState
from service.api.v2.codec import InferCall
from service.api.v2.infer import INLINE_NUMBERS, NAME, classify, ran_by, rows_of, with_reading
from service.api.v2.names import ModelAlias, find_alias, versions
from service.api.v2.outputs import encode_outputs
from service.api.v2.schemas import ModelMetadata
from service.api.v2.tensors import Tensor
from service.errors import ModelNotFoundError
from service.registry.outcome import Outcome

EXTENSIONS = ("classification",)
"""Of those that Triton names; the others are about REST, or have methods that are not served."""
PLATFORM = ModelMetadata.model_fields["platform"].default
Result = TypeVar("Result")


class Methods:
    """Answers the calls that `service.api.grpc.calls` has admitted.

    Args:
        service: Of the application.
    """

    def __init__(self, service: ServiceState) -> None:
        self._service = service

    async def server_live(self, _: Call, message: bytes) -> bytes:
        """Alive unless an engine is stalled."""
        parse("ServerLiveRequest", message)
        return _write("ServerLiveResponse", live=not self._service.is_stalled)

    async def server_ready(self, _: Call, message: bytes) -> bytes:
        """Ready until SIGTERM, unless an engine is stalled."""
        parse("ServerReadyRequest", message)
        return _write("ServerReadyResponse", ready=self._service.is_ready)

    async def model_ready(self, _: Call, message: bytes) -> bytes:
        """Ready if the model is served and the service is ready; never an error, as in Triton."""
        request = parse("ModelReadyRequest", message)
        try:
            self._find(request.name, request.version)
        except ModelNotFoundError:
            return _write("ModelReadyResponse", ready=False)
        return _write("ModelReadyResponse", ready=self._service.is_ready)

    async def server_metadata(self, _: Call, message: bytes) -> bytes:
        """Give the server's name, version and extensions."""
        parse("ServerMetadataRequest", message)
        return _write(
            "ServerMetadataResponse", name=NAME, version=version(NAME), extensions=EXTENSIONS
        )

    async def model_metadata(self, _: Call, message: bytes) -> bytes:
        """Give inputs and outputs with their shapes."""
        request = parse("ModelMetadataRequest", message)
        alias = self._find(request.name, request.version)
        return _write(
            "ModelMetadataResponse",
            name=alias.name,
            versions=versions(self._service.models, alias.name),
            platform=PLATFORM,
            inputs=[_describe(alias.signature.input)],
            outputs=[_describe(output) for output in alias.signature.outputs],
        )

    async def model_infer(self, call: Call, message: bytes) -> bytes:
        """Classify the images of a request. Any other outcome is counted as a failure."""
        began = time.perf_counter()
        with Upload(self._service.budget, call.scope["client"]) as upload:
            upload.charge(len(message))
            is_small, limits = len(message) <= INLINE_BODY_BYTES, self._service.settings
            request = await _run(is_small, partial(parse_infer, message, limits.max_images))
            del message  # what was read of it is in `request`
            alias = self._find(request.model_name, request.model_version)
            try:
                return await self._infer(call, request, alias, began, is_small=is_small)
            except BaseException:  # also if it is cancelled
                statistics = self._service.telemetry.statistics[alias.classifier]
                statistics.record_failure(time.perf_counter() - began)
                raise

    async def _infer(
        self, call: Call, request: Any, alias: ModelAlias, received: float, *, is_small: bool
    ) -> bytes:
        """Read, classify, write: the same limits and counters as over REST."""
        read_by = None
        while read_by != alias.signature:  # replaced meanwhile?
            read_by = alias.signature
            asked = await _run(is_small, partial(read_call, request, read_by))
            alias = self._find(request.model_name, request.model_version)
        del request
        now = time.perf_counter()
        own_s = asked.timeout_s or self._service.settings.deadline_s
        deadline = min(
            received + min(own_s, self._service.settings.deadline_s), now + call.timeout_s
        )
        call.record.begin_images(len(asked.images))
        outcome = await classify(alias, asked, deadline, call.disconnect)
        return await self._respond(call, alias, asked, with_reading(outcome, now - received))

    async def _respond(
        self, call: Call, alias: ModelAlias, asked: InferCall, outcome: Outcome
    ) -> bytes:
        """Write the response, and count the request."""
        began, labels = time.perf_counter(), alias.classifier.manifest.labels

        def write() -> bytes:
            outputs = encode_outputs(asked.outputs, rows_of(outcome), labels)
            return write_response(asked, (alias.name, alias.version), ran_by(alias), outputs)

        response = await _run(len(outcome.outputs) * len(labels) <= INLINE_NUMBERS, write)
        outcome.check_deadline("the answer was written. Allow more time, or ask for fewer outputs.")
        write_s = time.perf_counter() - began
        self._service.telemetry.record_request(outcome, alias.classifier, write_s)
        call.record.answered(alias.classifier.info, outcome)
        call.trailers += (("server-timing", server_timing(outcome)),)
        return response

    def _find(self, name: str, wanted: str) -> ModelAlias:
        return find_alias(self._service.models, name, wanted or None)


async def _run(is_small: bool, work: Callable[[], Result]) -> Result:
    """Do work on the event loop if it is small, else in a thread."""
    return work() if is_small else await asyncio.to_thread(work)


def _describe(tensor: Tensor) -> dict[str, Any]:
    return {"name": tensor.name, "datatype": tensor.datatype, "shape": tensor.shape}


def _write(kind: str, /, **fields: Any) -> bytes:
    message: bytes = MESSAGES[kind](**fields).SerializeToString()
    return message
