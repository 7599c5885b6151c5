"""A batcher without threads: it runs on the event loop, and lets other work go on."""

import asyncio
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import pytest

from model.preprocessing import Pixels
from service.inference.batcher import MAX_INLINE_S, Batcher
from service.inference.cost import CostModel
from service.inference.outputs import BatchOutputs
from tests.service.batching import answer, ask, images_of, names

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def inline(
    run: Callable[[Pixels], BatchOutputs], seconds: dict[int, float]
) -> AsyncIterator[Batcher]:
    """A batcher without threads."""
    batcher = Batcher(run, CostModel(seconds, inline=True), max_batch_size=8)
    batcher.start()
    async with asyncio.timeout(20):
        yield batcher
        await batcher.stop()


async def test_an_inline_batch_is_what_came_in_together() -> None:
    threads: list[str] = []

    def run(images: Pixels) -> BatchOutputs:
        threads.append(threading.current_thread().name)
        return answer(images)

    async with inline(run, {8: 0.001}) as batcher:
        outputs = await asyncio.gather(*(ask(batcher, name) for name in range(5)))

    assert [names(own) for own in outputs] == [[0], [1], [2], [3], [4]]
    assert {output.batch_size for own in outputs for output in own} == {5}
    assert threads == [threading.current_thread().name]


async def test_no_inline_run_lasts_longer_than_others_can_wait() -> None:
    seconds = {1: MAX_INLINE_S / 4, 2: MAX_INLINE_S / 2, 4: MAX_INLINE_S, 8: MAX_INLINE_S * 2}
    async with inline(answer, seconds) as batcher:
        outputs = await ask(batcher, *range(8))

    assert [output.batch_size for output in outputs] == [4] * 8


async def test_other_work_goes_on_between_two_inline_batches() -> None:
    turns: list[str] = []

    def run(images: Pixels) -> BatchOutputs:
        turns.append("batch")
        return answer(images)

    async with inline(run, {1: 0.001}) as batcher:
        asked = ask(batcher, *range(3))
        while not asked.done():
            turns.append("other")
            await asyncio.sleep(0)

    assert turns.count("batch") == 3
    assert "batch batch" not in " ".join(turns)


async def test_an_inline_image_never_runs_within_its_submission() -> None:
    async with inline(answer, {8: 0.001}) as batcher:
        request = batcher.submit(images_of(4), time.perf_counter() + 10)

        assert not request.future.done()
        assert names(await request.wait()) == [4]


async def test_images_for_which_no_inline_run_is_due_are_a_stall() -> None:
    async with inline(answer, {8: 0.001}) as batcher:
        loop = asyncio.get_running_loop()
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "call_soon", _raise)
            with pytest.raises(RuntimeError):
                batcher.submit(images_of(1), time.perf_counter() + 10)
        stalled_s = batcher.stalled_s()

        assert names(await ask(batcher, 2)) == [2]  # the next one takes both along
        assert (stalled_s, batcher.stalled_s()) == (math.inf, 0)


def _raise(*_: object, **__: object) -> None:
    raise RuntimeError("The loop is closed.")
