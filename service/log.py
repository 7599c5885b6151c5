"""Lines for people or machines on stderr; one for each request, written in bunches.

A write for each request costs as much as the answer's JSON, so lines of requests wait up
to a fraction of a second for company. Warnings and errors do not wait.
"""

import atexit
import json
import logging
import sys
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from json.encoder import encode_basestring_ascii
from typing import Any, Literal

FLUSH_S = 0.2
BUNCH = 200
WARNINGS = "py.warnings"
"""Where `logging.captureWarnings` sends what Python would write to stderr in a form of its own."""
LIBRARIES = ("asyncio", "PIL", WARNINGS, "python_multipart")
"""Only their warnings are worth a line; Pillow tells each chunk of a file at debug level."""

log = logging.getLogger("service")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: escaped, so that nothing a client sent can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what `extra={"fields": {...}}` adds."""
        fields = dict(getattr(record, "fields", {}))
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return self.line(record.created, record.levelname, record.getMessage(), fields)

    def line(self, created: float, level: str, message: str, fields: Mapping[str, Any]) -> str:
        """Write one line."""
        moment = datetime.fromtimestamp(created, UTC).isoformat(timespec="milliseconds")
        return json.dumps({"time": moment, "level": level.lower(), "message": message, **fields})


class TextFormatter(logging.Formatter):
    """The same for people: message first, then name=value, with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Level, message, fields."""
        fields = getattr(record, "fields", {})
        text = self.line(record.created, record.levelname, record.getMessage(), fields)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text

    def line(self, created: float, level: str, message: str, fields: Mapping[str, Any]) -> str:  # noqa: ARG002
        """Write one line."""
        told = "".join([f" {name}={_plain(value)}" for name, value in fields.items()])
        return f"{level.lower():7} {message}{told}"


def _plain(value: object) -> str:
    """Write a value as JSON; a request's line has texts and numbers, which go the quick way."""
    if type(value) is str:
        return encode_basestring_ascii(value)
    return repr(value) if type(value) in (int, float) else json.dumps(value)


class BunchHandler(logging.Handler):
    """Keeps lines of info and below for a moment, and writes many at once."""

    def __init__(self) -> None:
        """Begin empty; what is left is written at exit."""
        super().__init__()
        self._lines: list[str] = []
        self._timer: threading.Timer | None = None
        self._keeping = threading.Lock()
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, or write all if it is urgent."""
        self.keep(self.format(record))
        if record.levelno > logging.INFO:
            self.flush()

    def keep(self, line: str) -> None:
        """Keep a line for a moment, unless there are many."""
        with self._keeping:
            self._lines.append(line)
            is_full = len(self._lines) >= BUNCH
            if self._timer is None and not is_full:
                self._timer = threading.Timer(FLUSH_S, self.flush)
                self._timer.daemon = True
                self._timer.start()
        if is_full:
            self.flush()

    def flush(self) -> None:
        """Write what is kept."""
        with self._keeping:
            lines, self._lines, self._timer = self._lines, [], None
        if lines:
            with suppress(OSError, ValueError):  # a full disk must not cost an answer
                sys.stderr.write("\n".join(lines) + "\n")
                sys.stderr.flush()


def log_request(level: int, fields: Mapping[str, Any]) -> None:
    """Log a request without the records of `logging`, which cost more than the line itself."""
    for handler in log.handlers:
        formatter = handler.formatter
        if isinstance(handler, BunchHandler) and isinstance(
            formatter, JsonFormatter | TextFormatter
        ):
            name = logging.getLevelName(level)
            handler.keep(formatter.line(time.time(), name, "request", fields))


def set_up_logging(level: str, style: Literal["json", "text"]) -> None:
    """Send our log, and those of what we use, to stderr in one style."""
    handler = BunchHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    least = logging.getLevelNamesMapping()[level.upper()]
    for name in ("service", "uvicorn", *LIBRARIES):
        logger = logging.getLogger(name)
        for earlier in logger.handlers:
            earlier.flush()  # what it keeps would come late, among our lines
        logger.handlers = [handler]
        logger.setLevel(max(least, logging.WARNING) if name in LIBRARIES else least)
        logger.propagate = False
    logging.getLogger(WARNINGS).filters = [_fold]
    logging.captureWarnings(True)


def _fold(record: logging.LogRecord) -> bool:
    """Bring a warning, which comes with its line of code, to a single line."""
    record.msg, record.args = " ".join(record.getMessage().split()), None
    return True
