"""From image files to the network's input: decode, orient, crop, resize.

Large files, and those with metadata that Pillow decompresses, are decoded in a pool. A file of a
few kilobytes is decoded on the event loop: passing it to another thread and back costs more.
"""

import asyncio
import re
import time
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

from PIL import Image

from model.images.plain_png import PlainPng
from model.preprocessing import Pixels, Preprocessing, lies_down, preprocess
from service.cancellation import Disconnect
from service.cpus import usable_cores
from service.errors import ClientDisconnectedError, DeadlineExceededError, ImageTooLargeError
from service.preprocessing.decode import counted_pixels, open_image, read_image
from service.preprocessing.isolation import Decoders
from service.threads import started_pool


class ImageSize(NamedTuple):
    """Size of an image as sent, upright, in pixels."""

    width: int
    height: int


REQUEST_PIXELS = 4
"""A request's images together may have this many times the pixels allowed for one."""
INLINE_DECODE_BYTES, INLINE_DECODE_PIXELS = 32_768, 16_384
"""A file and image up to this size is decoded on the event loop: about 0.03 ms at 28 x 28,
at most 0.5 ms at 128 x 128, where a pool's two thread switches cost 0.1 ms of the interpreter.
A file of thousands of tiny chunks, which no encoder writes, takes 3 ms."""
POOLED_BYTES = 2 * INLINE_DECODE_BYTES
"""A longer body certainly has an image for the pool: base64 makes a small file a third longer, and
a form adds a few hundred bytes."""
METADATA = re.compile(
    rb"iCCP|zTXt|iTXt|eXIf|Raw profile type exif"  # PNG
    rb"|Exif|ICC_PROFILE|MPF\0"  # JPEG
    rb"|EXIF"  # WebP
)
"""Metadata that Pillow decompresses or parses: in 32 KB, profiles took 34 ms, a directory 4 to 8.
To search for all takes 0.1 ms in 32 KB, 2 us in a file of 28 x 28 pixels."""

DecodeSlot = Callable[[int, float], AbstractContextManager[None]]
"""Called with a number of images and the seconds until their deadline."""


class PreparedImage(NamedTuple):
    """The network's input, and where it came from; times in seconds."""

    pixels: Pixels  # uint8 (S, S, C)
    decode_s: float
    preprocess_s: float
    size: ImageSize
    began: float  # decoding, on `time.perf_counter`'s clock


class Preprocessor:
    """Prepares the images of requests.

    Args:
        spec: The network's preprocessing.
        max_pixels: Of one image.
        processes: Number of processes that share the cores.
        on_decoded: Called in the pool with an image's seconds there and the number of threads.
        child_timeout_s: Decode in child processes, which have so long for an image; None: in this
            process.
        max_cores: To use at most; 0: all.

    Raises:
        StartError: If no child starts.
    """

    def __init__(  # noqa: PLR0913, PLR0917  # each is a setting of its own
        self,
        spec: Preprocessing,
        max_pixels: int,
        processes: int = 1,
        on_decoded: Callable[[float, int], None] = lambda _seconds, _threads: None,
        child_timeout_s: float | None = None,
        max_cores: int = 0,
    ) -> None:
        self.spec = spec
        self.max_pixels = max_pixels
        self.threads = max(1, usable_cores(at_most=max_cores) // processes)
        self.pool = started_pool(self.threads, "decode")
        self._on_decoded = on_decoded
        self._plain_png: PlainPng | None = None
        if spec.resize == spec.crop and spec.crop**2 <= min(max_pixels, INLINE_DECODE_PIXELS):
            self._plain_png = PlainPng(spec.crop, spec.channels)
        self._decoders: Decoders | None = None
        if child_timeout_s is not None:
            self._decoders = Decoders(spec, max_pixels, self.threads, child_timeout_s)

    def stop(self) -> None:
        """End threads and children, when they have done what they do."""
        self.pool.shutdown()
        if self._decoders is not None:
            self._decoders.stop()

    async def prepare(
        self,
        payloads: Sequence[bytes],
        deadline: float,
        disconnect: Disconnect,
        decode_slot: DecodeSlot = lambda _count, _timeout_s: nullcontext(),
    ) -> list[PreparedImage]:
        """Prepare one small image without metadata at once, others in the pool, in parallel.

        Images leave the pool's queue at the deadline, when the client disconnects, or when another
        image of the request is broken.

        Args:
            payloads: Whole files.
            deadline: On `time.perf_counter`'s clock.
            disconnect: Of the request.
            decode_slot: Counts images while they are in the pool, or rejects them.

        Raises:
            OverloadedError: If the pool is too busy.
            InvalidImageError: If one is not a readable image.
            ImageTooLargeError: If one is too large, or all together.
            DeadlineExceededError: If the deadline comes first.
            ClientDisconnectedError: If the client disconnects.
        """
        if disconnect.disconnected:
            raise ClientDisconnectedError("The client disconnected before its images were decoded.")
        if (
            self._decoders is None
            and len(payloads) == 1
            and len(payload := payloads[0]) <= INLINE_DECODE_BYTES
        ):
            began = time.perf_counter()
            if (
                self._plain_png is not None
                and (pixels := self._plain_png.read(payload)) is not None
            ):
                side = self.spec.crop
                decode_s = time.perf_counter() - began
                return [PreparedImage(pixels, decode_s, 0.0, ImageSize(side, side), began)]
            if METADATA.search(payload) is None:
                image = open_image(payload, self.max_pixels, spec=self.spec)
                if image.width * image.height <= INLINE_DECODE_PIXELS:
                    return [read_prepared(image, self.spec, 0)]
                del image
        timeout_s = deadline - time.perf_counter()
        with decode_slot(len(payloads), timeout_s):
            return await self._in_time(payloads, timeout_s, disconnect)

    async def _in_time(
        self, payloads: Sequence[bytes], timeout_s: float, disconnect: Disconnect
    ) -> list[PreparedImage]:
        """Prepare in the pool, until the deadline or until the client disconnects."""
        try:
            async with asyncio.timeout(timeout_s) as disconnect.decode_timeout:
                return await self._in_pool(payloads)
        except TimeoutError:
            if disconnect.disconnected:
                raise ClientDisconnectedError(
                    "The client disconnected while its images were decoded."
                ) from None
            raise DeadlineExceededError(
                "The deadline passed while the images were decoded; they were not run. "
                "Try again, or allow more time."
            ) from None
        finally:
            disconnect.decode_timeout = None

    async def _in_pool(self, payloads: Sequence[bytes]) -> list[PreparedImage]:
        loop = asyncio.get_running_loop()
        if self._decoders is not None:
            decode: Callable[[Any, int], PreparedImage] = partial(self._decode, self._decoders)
            if len(payloads) > 1:
                await asyncio.to_thread(self._count_all, self._decoders, payloads)
            opened: list[Any] = list(payloads)
        elif len(payloads) == 1:
            return [await loop.run_in_executor(self.pool, self._open_and_read, payloads[0])]
        else:
            decode = self._read_timed
            # not in the pool, or the images would wait in its queue twice
            opened = await asyncio.to_thread(self._open_all, payloads)
        opened.reverse()
        jobs = [  # each job owns its image, so that it is freed when the job is done
            loop.run_in_executor(self.pool, decode, opened.pop(), index)
            for index in range(len(opened))
        ]
        try:
            return await asyncio.gather(*jobs)
        finally:
            while jobs:  # a failed job refers to its error, whose traceback refers to this frame
                jobs.pop().cancel()

    def _open_and_read(self, payload: bytes) -> PreparedImage:
        return self._read_timed(open_image(payload, self.max_pixels, spec=self.spec), 0)

    def _open_all(self, payloads: Sequence[bytes]) -> list[Image.Image]:
        """Read all headers, and reject a request that is too large as a whole."""
        images = [
            open_image(payload, self.max_pixels, index, self.spec)
            for index, payload in enumerate(payloads)
        ]
        self._check_sum([counted_pixels(image, self.spec) for image in images])
        return images

    def _count_all(self, decoders: Decoders, payloads: Sequence[bytes]) -> None:
        """Do the same in a child."""
        counts = [decoders.count_pixels(payload, index) for index, payload in enumerate(payloads)]
        self._check_sum(counts)

    def _check_sum(self, counts: Sequence[int]) -> None:
        pixels, limit = sum(counts), REQUEST_PIXELS * self.max_pixels
        if pixels > limit:
            raise ImageTooLargeError(
                f"The request's {len(counts)} images have {pixels:,} pixels together; the limit "
                f"is {limit:,}. Send fewer at once, or raise RESNET_MAX_PIXELS."
            )

    def _decode(self, decoders: Decoders, payload: bytes, index: int) -> PreparedImage:
        """Decode in a child, and report the time that it took here."""
        began = time.perf_counter()
        try:
            pixels, decode_s, preprocess_s, *size = decoders.decode(payload, index)
        finally:
            self._on_decoded(time.perf_counter() - began, self.threads)
        return PreparedImage(pixels, decode_s, preprocess_s, ImageSize(*size), began)

    def _read_timed(self, image: Image.Image, index: int) -> PreparedImage:
        """Decode in the pool, and report the time, whether or not it succeeded."""
        began = time.perf_counter()
        try:
            return read_prepared(image, self.spec, index)
        finally:
            self._on_decoded(time.perf_counter() - began, self.threads)


def read_prepared(image: Image.Image, spec: Preprocessing, index: int) -> PreparedImage:
    """Decode and preprocess an image that was opened.

    Raises:
        InvalidImageError: If the file is truncated or corrupt.
    """
    began = time.perf_counter()
    width, height = image.size  # of the file: the decoder may shrink it
    decoded = read_image(image, spec, index)
    between = time.perf_counter()
    pixels = preprocess(decoded, spec)
    preprocess_s = time.perf_counter() - between
    is_turned = width != height and lies_down(image)
    size = ImageSize(height, width) if is_turned else ImageSize(width, height)
    return PreparedImage(pixels, between - began, preprocess_s, size, began)
