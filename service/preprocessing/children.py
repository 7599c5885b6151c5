"""A child process that decodes images, as its parent sees it: started, asked, and ended.

`service.preprocessing.child` is what it runs. It has limits of memory and of processor time, and
none of the service's settings, sockets and files. What it answers is not trusted: lengths are
checked, and nothing is unpickled.
"""

import json
import os
import socket
import struct
import subprocess
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, TypeVar

from service.errors import ImageTooLargeError, InvalidImageError, OutOfMemoryError, ServiceError
from service.log import log

REQUEST, REPLY = struct.Struct("<cIQ"), struct.Struct("<II")
"""Job, index of the image, bytes of the file; bytes of the JSON and of the pixels that follow."""
COUNT, DECODE, READY = b"c", b"d", b"r"
START_TIMEOUT_S, GRACE_S = 60.0, 1.0
MAX_REPLY_BYTES = 2**26
"""A little more than the input of a network of 4,096 pixels."""
MAX_MESSAGE = 1000
ENVIRONMENT = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH", "LANG")
"""All that a child gets to know of the service's environment."""
REFUSALS: dict[str, type[ServiceError]] = {
    kind.code: kind for kind in (InvalidImageError, ImageTooLargeError)
}

Result = TypeVar("Result")
ReadReply = Callable[[Mapping[str, Any], bytes], Result]


class ChildDiedError(Exception):
    """A child has ended, or was ended, within a job.

    Attributes:
        signal: That ended it; 0 if none did.
    """

    def __init__(self, signal_number: int) -> None:
        super().__init__(signal_number)
        self.signal = signal_number


class Child:
    """A process that decodes one file after another.

    Args:
        command: What it runs; the number of its socket is added.
        timeout_s: For a reply.

    Raises:
        OutOfMemoryError: If it does not start.
    """

    def __init__(self, command: list[str], timeout_s: float) -> None:
        self._socket, theirs = socket.socketpair()
        try:
            self._process = subprocess.Popen(  # noqa: S603  # our own module
                [*command, str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        except OSError as error:
            self._socket.close()
            raise OutOfMemoryError from error
        finally:
            theirs.close()
        self._is_ready = False
        self._timeout_s = timeout_s

    @property
    def pid(self) -> int:
        """Of the process."""
        return self._process.pid

    def wait_until_ready(self) -> None:
        """Wait until it takes jobs.

        Raises:
            OutOfMemoryError: If it does not.
        """
        if self._is_ready:
            return
        self._set_timeout(START_TIMEOUT_S)
        try:
            self._is_ready = self._receive(1) == READY
        except ChildDiedError as error:
            fields = {"pid": self.pid, "exit_code": self._process.returncode}
            log.error("decoder did not start", extra={"fields": fields})
            raise OutOfMemoryError from error
        self._set_timeout(self._timeout_s)

    def ask(self, job: bytes, payload: bytes, index: int, read: ReadReply[Result]) -> Result:
        """Have it do a job, and read its reply.

        Args:
            job: `COUNT` or `DECODE`.
            payload: A whole file.
            index: Of the image in the request.
            read: Makes the result of a reply's fields and pixels.

        Raises:
            ServiceError: If it refuses the file.
            ChildDiedError: If it ends meanwhile, does not reply in time, or replies nonsense.
        """
        try:
            self._socket.sendall(REQUEST.pack(job, index, len(payload)))
            self._socket.sendall(payload)
        except OSError as error:
            raise self._died() from error
        lengths = REPLY.unpack(self._receive(REPLY.size))
        if max(lengths) > MAX_REPLY_BYTES:
            raise self._died()
        text, pixels = (self._receive(length) for length in lengths)
        try:
            reply = json.loads(text)
            if "code" not in reply:
                return read(reply, pixels)
            refusal = REFUSALS[reply["code"]](str(reply["message"])[:MAX_MESSAGE], index=index)
        except (KeyError, TypeError, ValueError) as error:
            raise self._died() from error
        raise refusal

    def _receive(self, count: int) -> bytes:
        """Receive so many bytes."""
        if not count:
            return b""
        try:
            received = self._socket.recv(count, socket.MSG_WAITALL)
        except OSError as error:  # a timeout, too
            raise self._died() from error
        if len(received) < count:
            raise self._died()
        return received

    def _died(self) -> ChildDiedError:
        """End it, unless it has ended, and say how it ended."""
        self._socket.close()  # which ends it, if it waits for jobs
        try:
            return ChildDiedError(max(0, -self._process.wait(GRACE_S)))
        except subprocess.TimeoutExpired:
            self.end()
            return ChildDiedError(0)

    def _set_timeout(self, seconds: float) -> None:
        """Have the system wait for so long; Python's own timeout asks it before each piece."""
        value = struct.pack("@ll", int(seconds), int(seconds % 1 * 1_000_000))
        for option in (socket.SO_SNDTIMEO, socket.SO_RCVTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, option, value)

    def end(self, wait_s: float = 0.0) -> None:
        """Close the connection, which it ends by; kill it after so many seconds."""
        self._socket.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(wait_s)
            return
        self._process.kill()
        self._process.wait()
