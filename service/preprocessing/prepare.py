"""From picture files to the network's input: decode, stand up, cut, shrink.

Large files, and those that tell of themselves, are opened and decoded in a pool; a picture of a
few kilobytes is decoded at once, since passing it to another thread and back costs more than that.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

from PIL import Image

from model.artifact.histograms import brightness
from model.preprocessing import Pixels, Preprocessing, lies_down, preprocess
from service.cancellation import Disconnect
from service.cpus import usable_cores
from service.errors import ClientDisconnectedError, DeadlineExceededError, ImageTooLargeError
from service.preprocessing.decode import counted_pixels, open_image, read_image
from service.threads import started_pool


class Sent(NamedTuple):
    """Size of the picture that was sent, upright, in pixels."""

    width: int
    height: int


REQUEST_PIXELS = 4
"""A request's pictures together may have this many times the pixels allowed for one."""
SMALL_BYTES, SMALL_PIXELS = 32_768, 16_384
"""A file and picture up to this size is decoded on the event loop: about 0.03 ms at 28 x 28,
at most 0.5 ms at 128 x 128, where a pool's two thread switches cost 0.1 ms of the interpreter.
One in thousands of tiny pieces, which no encoder makes, takes 3 ms."""
METADATA = re.compile(
    rb"iCCP|zTXt|iTXt|eXIf|Raw profile type exif"  # PNG
    rb"|Exif|ICC_PROFILE|MPF\0"  # JPEG
    rb"|EXIF"  # WebP
)
"""What stands in a file that Pillow unpacks or parses beside its pixels: of 32 KB, profiles took
34 ms, a directory 4 to 8 ms. To look for all costs 0.1 ms in 32 KB, 2 us in a file of 28 x 28."""

Decoding = Callable[[int, float], AbstractContextManager[None]]
"""Is entered with a number of pictures and the seconds until their deadline."""


class Ready(NamedTuple):
    """A picture that the network can read, and what it was before."""

    pixels: Pixels  # uint8 (S, S, C)
    decode_s: float
    preprocess_s: float
    sent: Sent
    brightness: float
    began: float  # decoding, on `time.perf_counter`'s clock


class Preparer:
    """Prepares the pictures of requests.

    Args:
        spec: What the network reads.
        max_pixels: Of one picture.
        processes: That share the cores.
        follow: Is told in the pool what a picture took there, in seconds, and the pool's threads.
    """

    def __init__(
        self,
        spec: Preprocessing,
        max_pixels: int,
        processes: int = 1,
        follow: Callable[[float, int], None] = lambda _seconds, _threads: None,
    ) -> None:
        """Start the pool."""
        self.spec = spec
        self.max_pixels = max_pixels
        self.threads = max(1, usable_cores() // processes)
        self.pool = started_pool(self.threads, "decode")
        self._follow = follow

    async def prepare(
        self,
        payloads: Sequence[bytes],
        patience_s: float,
        disconnect: Disconnect,
        decoding: Decoding = lambda _count, _patience_s: nullcontext(),
    ) -> list[Ready]:
        """Prepare a small plain picture at once, others in the pool, side by side.

        What nobody waits for any more, since the deadline came, the client left or another
        picture of the request is broken, leaves the pool's queue.

        Args:
            payloads: Whole files.
            patience_s: Seconds until the deadline.
            disconnect: Is called if the client leaves.
            decoding: Counts pictures for as long as they are the pool's, or refuses them.

        Raises:
            OverloadedError: If the pool is too busy.
            InvalidImageError: If one is no readable picture.
            ImageTooLargeError: If one is too large, or all together are.
            DeadlineExceededError: If the deadline comes first.
            ClientDisconnectedError: If the client leaves.
        """
        if disconnect.disconnected:
            raise ClientDisconnectedError("The client left before its images were decoded.")
        if len(payloads) == 1 and _is_small_and_plain(payloads[0]):
            image = open_image(payloads[0], self.max_pixels, spec=self.spec)
            if image.width * image.height <= SMALL_PIXELS:
                return [self._read(image, 0)]
            del image
        with decoding(len(payloads), patience_s):
            return await self._in_time(payloads, patience_s, disconnect)

    async def _in_time(
        self, payloads: Sequence[bytes], patience_s: float, disconnect: Disconnect
    ) -> list[Ready]:
        """Prepare in the pool, until nobody waits for it any more."""
        try:
            async with asyncio.timeout(patience_s) as disconnect.decode_timeout:
                return await self._in_pool(payloads)
        except TimeoutError:
            if disconnect.disconnected:
                raise ClientDisconnectedError(
                    "The client left while its images were decoded."
                ) from None
            raise DeadlineExceededError(
                "The deadline passed while the images were decoded; they were not run. "
                "Try again, or allow more time."
            ) from None
        finally:
            disconnect.decode_timeout = None

    async def _in_pool(self, payloads: Sequence[bytes]) -> list[Ready]:
        loop = asyncio.get_running_loop()
        if len(payloads) == 1:
            return [await loop.run_in_executor(self.pool, self._open_and_read, payloads[0])]
        # beside the pool: to wait for it once more would take twice what was promised
        opened = await asyncio.to_thread(self._open_all, payloads)
        opened.reverse()
        jobs = [  # each has its picture to itself: what it decodes is gone when it is done
            loop.run_in_executor(self.pool, self._read_timed, opened.pop(), index)
            for index in range(len(opened))
        ]
        try:
            return await asyncio.gather(*jobs)
        finally:
            while jobs:  # emptied: a failed job holds its error, and that this frame
                jobs.pop().cancel()

    def _open_and_read(self, payload: bytes) -> Ready:
        return self._read_timed(open_image(payload, self.max_pixels, spec=self.spec), 0)

    def _open_all(self, payloads: Sequence[bytes]) -> list[Image.Image]:
        """Read all headers, and refuse a request that is too large as a whole."""
        limit = self.max_pixels
        images = [
            open_image(payload, limit, index, self.spec) for index, payload in enumerate(payloads)
        ]
        pixels = sum(counted_pixels(image, self.spec) for image in images)
        if pixels > REQUEST_PIXELS * limit:
            raise ImageTooLargeError(
                f"The request's {len(images)} images have {pixels:,} pixels together; the limit "
                f"is {REQUEST_PIXELS * limit:,}. Send fewer at once, or raise RESNET_MAX_PIXELS."
            )
        return images

    def _read_timed(self, image: Image.Image, index: int) -> Ready:
        """Read in the pool, and tell how long it took: in vain or too late it took as long."""
        began = time.perf_counter()
        try:
            return self._read(image, index)
        finally:
            self._follow(time.perf_counter() - began, self.threads)

    def _read(self, image: Image.Image, index: int) -> Ready:
        began = time.perf_counter()
        width, height = image.size  # of the file: the decoder may shrink it
        decoded = read_image(image, self.spec, index)
        between = time.perf_counter()
        pixels = preprocess(decoded, self.spec)
        light = brightness(pixels)
        sent = Sent(height, width) if lies_down(image) else Sent(width, height)
        return Ready(pixels, between - began, time.perf_counter() - between, sent, light, began)


def surely_for_pool(declared_length: str | None) -> int:
    """Count the pictures of a body, 0 or 1, that are for the pool by its length alone.

    A small file is a third longer in base64, and a form puts a few hundred bytes around it.

    Args:
        declared_length: The Content-Length header.
    """
    if declared_length is None or not declared_length.isdecimal():
        return 0
    return int(int(declared_length) > 2 * SMALL_BYTES)


def _is_small_and_plain(payload: bytes) -> bool:
    """Tell whether a file has but a few kilobytes, and nothing beside its pixels to be unpacked."""
    return len(payload) <= SMALL_BYTES and METADATA.search(payload) is None
