"""Decoding in child processes: the same images, and files that end a child end nothing else."""

import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from service.cancellation import Disconnect
from service.errors import InvalidImageError, ServiceError
from service.preprocessing import prepare
from service.preprocessing.isolation import Decoders
from service.preprocessing.prepare import Preprocessor
from tests.service.conftest import Serve
from tests.service.decoding import LIMIT, SPEC, within
from tests.service.images import WHITE, encode, png_by_hand, striped

pytestmark = pytest.mark.anyio
GOOD = encode(striped(60, 40), "JPEG")


@pytest.fixture(scope="module")
def decoders() -> Iterator[Decoders]:
    """One child, which obeys its files."""
    decoders = Decoders(SPEC, LIMIT, 1, 1.5, "tests.service.preprocessing.odd_child")
    yield decoders
    decoders.stop()


def pid_of(decoders: Decoders) -> int:
    child = decoders._idle.get()
    decoders._idle.put(child)
    assert child is not None
    return child.pid


async def test_children_decode_and_refuse_as_the_service_itself_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(prepare, "usable_cores", lambda **_: 1)
    ours, theirs = Preprocessor(SPEC, LIMIT), Preprocessor(SPEC, LIMIT, child_timeout_s=10)
    bomb = png_by_hand(30_000, 30_000, 1, 0, bytes(30_000 // 8))
    whole = [GOOD, WHITE, encode(striped(150, 200))]

    async def answers(preprocessor: Preprocessor) -> list[object]:
        found: list[object] = []
        for payloads in (whole, [GOOD], [b"%PDF-1.7"], [bomb], [WHITE, GOOD[:300]], [bomb, WHITE]):
            try:
                ready = await preprocessor.prepare(payloads, within(10), Disconnect())
            except ServiceError as error:
                found.append((error.code, str(error), error.index))
            else:
                found += [(each.size, each.pixels.tobytes()) for each in ready]
        return found

    assert await answers(theirs) == await answers(ours)
    theirs.stop()
    ours.stop()


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (b"much memory", "needs too much memory"),
        (b"much time", "takes too long to decode"),
        (b"crash", r"makes the decoder crash \(SIGSEGV\)"),
    ],
)
def test_a_file_that_breaks_its_child_is_refused_and_the_next_is_decoded(
    payload: bytes, why: str, decoders: Decoders
) -> None:
    began, before = time.perf_counter(), pid_of(decoders)

    with pytest.raises(InvalidImageError, match=f"^The image {why}.*Save it again.*") as caught:
        decoders.decode(payload, 3)

    assert caught.value.index == 3
    assert time.perf_counter() - began < 10
    assert decoders.decode(GOOD, 0).pixels.shape == (28, 28, 1)
    assert (pid_of(decoders) == before) == (payload == b"much memory")


def test_a_child_has_limits_of_memory_and_of_processor_time(decoders: Decoders) -> None:
    with pytest.raises(InvalidImageError) as caught:
        decoders.decode(b"limits", 0)

    used, processor, _, memory, _ = map(float, re.findall(r"-?[\d.]+", str(caught.value)))
    assert 0 < processor - used <= 2  # whole seconds, of which half of 1.5 is the limit
    assert 0 < memory < 2**30


def test_a_child_that_was_killed_is_replaced_and_its_image_answered(decoders: Decoders) -> None:
    before = pid_of(decoders)
    os.kill(before, signal.SIGKILL)

    decoded = decoders.decode(GOOD, 0)

    assert (decoded.width, decoded.height) == (60, 40)
    assert pid_of(decoders) != before
    with pytest.raises(InvalidImageError, match="SIGKILL"):  # by every file of this kind
        decoders.decode(b"killed", 0)


async def test_a_service_with_children_answers_the_same_and_ends_them(serve: Serve) -> None:
    service = await serve(decode_isolation="process")
    decoders = service.classifier._preprocessor._decoders
    assert decoders is not None
    pid = pid_of(decoders)

    answer = await service.client.post("/predict", content=WHITE)
    environment = Path(f"/proc/{pid}/environ").read_bytes()  # noqa: ASYNC240
    await service.classifier.stop()

    assert answer.status_code == 200
    assert b"RESNET_" not in environment
    assert not Path(f"/proc/{pid}").exists()  # noqa: ASYNC240
