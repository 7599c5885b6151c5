"""The log on stderr, as text or JSON: one line for each request, written in batches.

A write for each request costs as much as its response's JSON, so these lines are buffered for a
fraction of a second. Warnings and errors are written at once. A thread writes: neither a stderr
that takes nothing nor a full disk may delay requests or the end of the process.
"""

import atexit
import json
import logging
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from queue import Empty, SimpleQueue
from types import MappingProxyType
from typing import Any, Literal

from service.stderr import is_on_event_loop, write_to_stderr

FLUSH_S = 0.2
BATCH_LINES = 200
MAX_BUFFERED_BYTES = 2_000_000
"""Some 15,000 requests."""
FLUSH_WAIT_S = 1.0
"""For stderr to take what is written."""
THROTTLE_S = 10.0
"""Between two lines about what may happen thousands of times a second."""
MAX_CHARACTERS = 8_000
"""Of one message or exception; the rest of its middle is left out."""
WARNINGS = "py.warnings"
"""Where `logging.captureWarnings` sends what Python would write to stderr in a form of its own."""
LIBRARIES = ("asyncio", "PIL", WARNINGS, "python_multipart")
"""Only their warnings are logged; Pillow logs each chunk of a file at debug level."""

_ENCODERS: Mapping[type, Callable[[Any], str]] = MappingProxyType(
    {str: encode_basestring_ascii, int: repr, float: repr}
)
"""Faster than `json.dumps`, and the same."""

log = logging.getLogger("service")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: escaped, so that nothing a client sent can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what `extra={"fields": {...}}` adds."""
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = _cut(self.formatException(record.exc_info))
        return self.line(record.created, record.levelname, _cut(record.getMessage()), fields)

    def line(self, created: float, level: str, message: str, fields: Mapping[str, Any]) -> str:
        """Write one line."""
        moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": moment, "level": level.lower(), "message": message, **fields})


class TextFormatter(logging.Formatter):
    """The same for people: message first, then name=value, with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Level, message, fields."""
        fields = getattr(record, "fields", {})
        text = self.line(record.created, record.levelname, _cut(record.getMessage()), fields)
        if record.exc_info:
            text += "\n" + _cut(self.formatException(record.exc_info))
        return text

    def line(self, created: float, level: str, message: str, fields: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Write one line."""
        pairs = "".join(
            [
                f" {name}={_ENCODERS.get(type(value), json.dumps)(value)}"
                for name, value in fields.items()
            ]
        )
        return f"{level.lower():7} {message}{pairs}"


def _cut(text: str) -> str:
    """Leave out the middle of a text that is very long."""
    half = MAX_CHARACTERS // 2
    return text if len(text) <= MAX_CHARACTERS else f"{text[:half]}\n...\n{text[-half:]}"


class BufferedHandler(logging.Handler):
    """Buffers lines for a moment; a thread of its own writes many at once.

    stderr may be an unread pipe or a full disk, so nothing waits for it: beyond
    `MAX_BUFFERED_BYTES` lines are dropped and counted. A warning that is not logged on an event
    loop waits for a moment until it is written, so that it comes before whatever follows it.
    What is left is written at exit.
    """

    def __init__(self) -> None:
        super().__init__()
        self._lines: list[str] = []
        self._bytes = 0
        self._dropped = 0
        self._buffer_lock = threading.RLock()  # a warning of Python is logged within it
        self._tasks: SimpleQueue[bool | threading.Event | None] = SimpleQueue()
        self._writing_since: float | None = None
        self._writer: threading.Thread | None = threading.Thread(
            target=self._serve, name="log", daemon=True
        )
        try:
            self._writer.start()
        except (RuntimeError, MemoryError):  # then every line is written at once
            self._writer = None
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Buffer a line; have all written soon if it is urgent."""
        with suppress(Exception):  # logging must not fail a request
            is_urgent = record.levelno > logging.INFO
            self.buffer(self.format(record), is_urgent=is_urgent)
            if is_urgent and not is_on_event_loop():
                self.flush()

    def buffer(self, line: str, *, is_urgent: bool = False) -> None:
        """Buffer a line for a moment, unless it is urgent or there are many."""
        with self._buffer_lock:
            if self._bytes > MAX_BUFFERED_BYTES:
                self._dropped += 1
                return
            self._lines.append(line)
            self._bytes += len(line)
            count = len(self._lines)
        if self._writer is None:
            self._write()
        elif is_urgent or count == BATCH_LINES:
            self._tasks.put(True)
        elif count == 1:
            self._tasks.put(False)

    def flush(self) -> None:
        """Have the buffer written; wait for that a moment, but not if stderr takes nothing."""
        if self._writer is None or not self._writer.is_alive():
            self._write()
            return
        since = self._writing_since
        if since is None or time.monotonic() - since < FLUSH_WAIT_S:
            done = threading.Event()
            self._tasks.put(done)
            done.wait(FLUSH_WAIT_S)

    def close(self) -> None:
        """End the thread when all is written."""
        self._tasks.put(None)
        super().close()

    def _serve(self) -> None:
        """Write whenever it is due; the whole life of the thread."""
        task: bool | threading.Event | None = False
        while task is not None:
            task = self._tasks.get()
            if task is False:
                with suppress(Empty):
                    task = self._tasks.get(timeout=FLUSH_S)
            with suppress(Exception):
                self._write()
            if isinstance(task, threading.Event):
                task.set()

    def _write(self) -> None:
        with self._buffer_lock:
            lines, self._lines, self._bytes = self._lines, [], 0
            dropped, self._dropped = self._dropped, 0
        lost = dropped + len(lines)  # if this fails
        if dropped and isinstance(self.formatter, JsonFormatter | TextFormatter):
            fields = {"lines": dropped}
            lines.append(self.formatter.line(time.time(), "WARNING", "log lines dropped", fields))
        if not lines:
            return
        self._writing_since = time.monotonic()
        try:
            write_to_stderr("\n".join(lines) + "\n")
        except (OSError, ValueError, AttributeError):  # a full disk; closed; there is none
            with self._buffer_lock:
                self._dropped += lost
        self._writing_since = None


class LogThrottle:
    """Limits how often something that may happen very often is logged."""

    def __init__(self) -> None:
        self._times = 0
        self._next = 0.0

    def count(self) -> int | None:
        """Count one time; return how many there were since the last line if another is due."""
        self._times += 1
        if time.monotonic() < self._next:
            return None
        times, self._times = self._times, 0
        self._next = time.monotonic() + THROTTLE_S
        return times


def log_request(level: int, fields: Mapping[str, Any]) -> None:
    """Log a request without the records of `logging`, which cost more than the line itself."""
    for handler in log.handlers:
        formatter = handler.formatter
        if isinstance(handler, BufferedHandler) and isinstance(
            formatter, JsonFormatter | TextFormatter
        ):
            name = logging.getLevelName(level)
            handler.buffer(formatter.line(time.time(), name, "request", fields))


def set_up_logging(level: str, style: Literal["json", "text"]) -> None:
    """Send the log of the service and of its libraries to stderr in one style."""
    handler = BufferedHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    least = logging.getLevelNamesMapping()[level.upper()]
    for name in ("service", "uvicorn", *LIBRARIES):
        logger = logging.getLogger(name)
        for earlier in logger.handlers:
            earlier.flush()  # its buffered lines would appear late
        logger.handlers = [handler]
        logger.setLevel(max(least, logging.WARNING) if name in LIBRARIES else least)
        logger.propagate = False
    logging.getLogger(WARNINGS).filters = [_one_line]
    logging.captureWarnings(True)


def _one_line(record: logging.LogRecord) -> bool:
    """Put a warning of Python, which comes with its line of code, on one line."""
    record.msg, record.args = " ".join(record.getMessage().split()), None
    return True
