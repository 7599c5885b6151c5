"""Decode in child processes, so that a file which breaks a decoder ends a child and nothing else.

A child that ends is replaced. If it was killed from outside, its file is tried once more; if the
file ended it, that file is refused.
"""

import signal
import sys
from collections.abc import Mapping
from queue import LifoQueue
from typing import Any, NamedTuple

import numpy as np

from model.preprocessing import Pixels, Preprocessing
from service.errors import InvalidImageError, OutOfMemoryError, StartError
from service.log import log
from service.preprocessing.children import (
    COUNT,
    DECODE,
    GRACE_S,
    Child,
    ChildDiedError,
    ReadReply,
    Result,
)


class DecodedImage(NamedTuple):
    """What a child made of a file; times in seconds, sides in pixels."""

    pixels: Pixels  # uint8 (S, S, C)
    decode_s: float
    preprocess_s: float
    width: int
    height: int


class Decoders:
    """Child processes, each of which decodes one file at a time. Any thread may ask.

    Args:
        spec: Of the network's input.
        max_pixels: Of one image.
        count: Children at most; the first is started at once, others when they are needed.
        timeout_s: For one file. Half of it in processor time: then a file is refused before its
            request expires, rather than sent again and again.
        module: What a child runs.

    Raises:
        StartError: If the first one does not start.
    """

    def __init__(
        self,
        spec: Preprocessing,
        max_pixels: int,
        count: int,
        timeout_s: float,
        module: str = "service.preprocessing.child",
    ) -> None:
        self._spec = spec
        self._timeout_s = timeout_s
        cpu_s = max(1, round(timeout_s / 2))
        limits = [str(max_pixels), str(cpu_s), spec.model_dump_json()]
        self._command = [sys.executable, "-m", module, *limits]
        self._idle: LifoQueue[Child | None] = LifoQueue()  # None: one that is not started
        for _ in range(count - 1):
            self._idle.put(None)
        try:
            first = Child(self._command, self._timeout_s)
            first.wait_until_ready()
        except OutOfMemoryError as error:
            raise StartError(
                "The processes that decode images do not start. The log has details."
            ) from error
        self._idle.put(first)

    def count_pixels(self, payload: bytes, index: int) -> int:
        """Read the header of a file, and count the pixels that are decoded.

        Raises:
            ServiceError: As `decode` does.
        """
        return self._ask(COUNT, payload, index, lambda reply, _: int(reply["pixels_counted"]))

    def decode(self, payload: bytes, index: int) -> DecodedImage:
        """Decode and preprocess a file.

        Raises:
            InvalidImageError: If it is not a readable image, or ends a child.
            ImageTooLargeError: If it is too large.
            OutOfMemoryError: If no child can be started.
        """
        return self._ask(DECODE, payload, index, self._read)

    def _read(self, reply: Mapping[str, Any], content: bytes) -> DecodedImage:
        side, channels = self._spec.crop, self._spec.channels
        pixels = np.frombuffer(content, np.uint8).reshape(side, side, channels)
        times = float(reply["decode_s"]), float(reply["preprocess_s"])
        return DecodedImage(pixels, *times, int(reply["width"]), int(reply["height"]))

    def _ask(self, job: bytes, payload: bytes, index: int, read: ReadReply[Result]) -> Result:
        deaths = 0
        for is_last in (False, False, True):
            child = self._idle.get()
            try:
                child = child or Child(self._command, self._timeout_s)
                child.wait_until_ready()
                return child.ask(job, payload, index, read)
            except ChildDiedError as died:
                fields = {"pid": child.pid if child else 0, "signal": died.signal}
                log.warning("decoder replaced", extra={"fields": fields})
                child = None
                deaths += 1
                # killed from outside, most likely: the file may be good
                if died.signal != signal.SIGKILL or deaths > 1 or is_last:
                    raise InvalidImageError(_breaks(died.signal), index=index) from died
            except OutOfMemoryError:  # not started, or killed at once
                child = None
                if is_last:
                    raise
            finally:
                self._idle.put(child)
        raise AssertionError  # pragma: no cover  # the last turn returns or raises

    def stop(self) -> None:
        """End all children; no job may be running."""
        while not self._idle.empty():
            child = self._idle.get()
            if child is not None:
                child.end(GRACE_S)


def _breaks(signal_number: int) -> str:
    """Say what a file did to its child."""
    if signal_number in {0, signal.SIGXCPU}:
        what = "takes too long to decode, or makes the decoder crash"
    else:
        what = f"makes the decoder crash ({signal.Signals(signal_number).name})"
    return f"The image {what}. Save it again, or send a smaller one."
