"""Too little memory, or no thread more: 503 with `Retry-After`, and no effect on other requests."""

import asyncio
import base64
import json
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from model import preprocessing
from model.preprocessing import Pixels
from service import memory
from service.api import compression as encodings
from service.errors import InferenceFailedError, InternalError, OutOfMemoryError
from service.inference.batch import Batch
from service.inference.outputs import BatchOutputs
from service.postprocessing import explain
from tests.service.batching import answer, ask, batcher_of, started, submit
from tests.service.conftest import LoadEngine, Serve, Service, outputs_of
from tests.service.images import BLACK, GREY, WHITE, encode, filled, striped
from tests.service.process import environ
from tests.service.v2 import HEADER

pytestmark = pytest.mark.anyio

LARGE = encode(striped(400, 300), "BMP")
JSON = json.dumps({"images": [base64.b64encode(LARGE).decode()]}).encode()
V2 = json.dumps(
    {"inputs": [{"name": "images", "datatype": "UINT8", "shape": [1, 4, 4, 1], "data": [0] * 16}]}
).encode()
INFER, INFER_IMAGE = "/v2/models/tiny/infer", "/v2/models/tiny-image/infer"


def fails(error: BaseException | type[BaseException] = MemoryError) -> Callable[..., Any]:
    def fail(*_: object, **__: object) -> Any:
        raise error

    return fail


Post = partial[Any]
RAW = partial(httpx.AsyncClient.post, url="/predict", content=LARGE)
SMALL = partial(RAW, content=encode(striped()))
IN_JSON = partial(RAW, content=JSON, headers={"content-type": "application/json"})
FORM = partial(httpx.AsyncClient.post, url="/predict", files=[("file", LARGE), ("file", LARGE)])
TENSOR = partial(RAW, url=INFER, content=V2)
FILE = partial(RAW, url=INFER_IMAGE, headers={HEADER: "0"})
PACKED = partial(
    TENSOR, content=encodings.compress(V2, "gzip"), headers={"content-encoding": "gzip"}
)
NO_THREAD = RuntimeError("can't start new thread")
FAILURES: dict[str, tuple[Post, str, Any]] = {
    "opening a file": (RAW, "service.preprocessing.decode.open_image_file", fails()),
    "opening a small file": (SMALL, "service.preprocessing.decode.open_image_file", fails()),
    "decoding": (RAW, "service.preprocessing.decode.upright", fails()),
    "decoding a small file": (SMALL, "service.preprocessing.decode.upright", fails()),
    "decoding one of several": (FORM, "service.preprocessing.decode.upright", fails()),
    "decoding a tensor's file": (FILE, "service.preprocessing.decode.upright", fails()),
    "Pillow's decoder": (
        RAW,
        "service.preprocessing.decode.upright",
        fails(OSError("-9: out of memory error")),
    ),
    "resizing": (RAW, "service.preprocessing.prepare.preprocess", fails()),
    "reading a form": (FORM, "service.api.multipart.MultipartParser.write", fails()),
    "reading JSON": (IN_JSON, "service.api.payloads.JsonImages.model_validate_json", fails()),
    "reading base64": (IN_JSON, "base64.b64decode", fails()),
    "reading a tensor": (TENSOR, "service.api.v2.tensors._numbers", fails()),
    "reading a request of V2": (
        TENSOR,
        "service.api.v2.codec.InferRequest.model_validate_json",
        fails(),
    ),
    "unpacking": (PACKED, "service.api.compression.decompress", fails()),
    "writing JSON": (RAW, "service.postprocessing.batch.to_json", fails()),
    "writing an answer of V2": (TENSOR, "service.api.v2.infer.write_response", fails()),
    "starting a thread": (IN_JSON, "asyncio.to_thread", fails(NO_THREAD)),
    "starting a decoding thread": (
        RAW,
        "concurrent.futures.ThreadPoolExecutor.submit",
        fails(NO_THREAD),
    ),
}


def assert_retry_later(response: httpx.Response) -> None:
    assert response.status_code == 503
    assert response.headers["retry-after"] == "1"
    assert "too little memory" in response.text


@pytest.mark.parametrize("failure", FAILURES)
async def test_too_little_memory_is_no_fault_of_the_image(
    failure: str, serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = await serve()
    post, *patched = FAILURES[failure]

    with monkeypatch.context() as patch:
        patch.setattr(*patched)
        response = await post(service.client)

    assert_retry_later(response)
    assert (await RAW(service.client)).status_code == 200


async def test_too_little_memory_for_a_layer_to_look_at(
    shipped: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(explain, "overlay", fails())

    response = await shipped.client.post("/predict?explain=png", content=LARGE)

    assert_retry_later(response)


async def test_the_image_that_finds_no_memory_harms_no_other(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, upright = await serve(), preprocessing.upright

    def short(image: Image.Image, grey_bits: int) -> Image.Image:
        if image.format == "BMP":
            raise MemoryError
        return upright(image, grey_bits)

    monkeypatch.setattr("service.preprocessing.decode.upright", short)
    small = [service.client.post("/predict", content=each) for each in (WHITE, GREY, BLACK)]

    late, *others = await asyncio.gather(RAW(service.client), *small)

    assert_retry_later(late)
    assert [other.status_code for other in others] == [200, 200, 200]


@pytest.mark.parametrize(
    "error",
    [
        MemoryError(),
        RuntimeError("[ONNXRuntimeError] : 1 : FAIL : std::bad_alloc"),
        RuntimeError("Failed to allocate memory for requested buffer of size 9663676416"),
    ],
)
def test_the_engine_tells_too_little_memory_from_a_failure(
    error: Exception, load_engine: LoadEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = load_engine()
    monkeypatch.setattr(engine, "_run_session", fails(error))

    with pytest.raises(OutOfMemoryError):
        engine.run(filled(1))


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (InferenceFailedError("It was odd."), InferenceFailedError),
        (OutOfMemoryError(), OutOfMemoryError),
        (MemoryError("No room."), OutOfMemoryError),
        (ZeroDivisionError("the cause"), InternalError),
    ],
)
async def test_each_request_of_a_failed_batch_gets_an_error_of_its_own(
    error: Exception, kind: type[Exception]
) -> None:
    entered, release = threading.Event(), threading.Event()

    def run(images: Pixels) -> BatchOutputs:
        if len(images) == 1:
            entered.set()
            release.wait(10)
            return outputs_of(np.zeros((1, 2), np.float32))
        raise error

    async with started(run) as batcher:
        first = ask(batcher, 0)
        assert await asyncio.to_thread(entered.wait, 10)
        batch = [ask(batcher, 1), ask(batcher, 2), ask(batcher, 3)]
        release.set()
        errors = await asyncio.gather(*batch, return_exceptions=True)
        await first

    assert errors[0] is error
    assert len(set(map(id, errors))) == 3
    assert [type(each) for each in errors[1:]] == [kind] * 2


async def test_who_still_waits_gets_the_engines_own_error() -> None:
    batcher = batcher_of(answer)
    gone, waiting = submit(batcher, 1), submit(batcher, 2)
    gone.cancel()
    error = ZeroDivisionError("the cause")
    batch = Batch()
    batch.items = [(gone, 0), (waiting, 0)]
    batch.error = error

    batch.deliver()

    assert waiting.future.exception() is error
    assert gone.future.exception() is not error
    assert batch.error is None  # its traceback may hold the batch


PARSES_NUMBERS = """
import resource
from service.api.v2.codec import _parse
from service.api.v2.tensors import ModelSignature, Tensor

limit = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize() + 40_000_000
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
text = b'{"inputs":[{"name":"images","datatype":"UINT8","shape":[1],"data":[' + b"1," * 1_000_000
signature = ModelSignature("m", Tensor("images", "UINT8", (-1, 1000, 1000, 1)), (), 64)
try:
    _parse(text + b"1]}]}", signature)
except MemoryError:
    print("too little memory")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks /proc")
def test_numbers_that_find_no_memory_do_not_end_the_process() -> None:
    run = subprocess.run(
        [sys.executable, "-c", PARSES_NUMBERS],
        env=environ(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert (run.returncode, run.stdout) == (0, "too little memory\n")


async def test_all_threads_share_one_heap(serve: Serve, monkeypatch: pytest.MonkeyPatch) -> None:
    options: list[tuple[int, int]] = []
    library = SimpleNamespace(mallopt=lambda *option: options.append(option))
    monkeypatch.setattr("service.memory.ctypes.CDLL", lambda _: library)

    await serve()

    assert options == [(memory.M_ARENA_MAX, 1)]


async def test_where_memory_is_limited_requests_need_a_little_of_it(
    serve: Serve, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("service.memory.resource.getrlimit", lambda _: (1, 1))
    options: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "service.memory.ctypes.CDLL",
        lambda _: SimpleNamespace(mallopt=lambda *given: options.append(given)),
    )
    service = await serve()

    with monkeypatch.context() as patch:
        patch.setattr("service.memory.mmap.mmap", fails(OSError("no memory")))
        refused = await SMALL(service.client)

    assert_retry_later(refused)
    assert (memory.M_ARENA_MAX, 1) in options
    assert (await SMALL(service.client)).status_code == 200
