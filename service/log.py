"""Lines for people or machines on stderr; one for each request, written in bunches.

A write for each request costs as much as the answer's JSON, so lines of requests wait up
to a fraction of a second for company. Warnings and errors do not wait.
"""

import atexit
import json
import logging
import sys
import threading
from datetime import UTC, datetime
from typing import Literal

FLUSH_S = 0.2
BUNCH = 200

log = logging.getLogger("service")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: escaped, so that nothing a client sent can forge a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Time, level, message, and what `extra={"fields": {...}}` adds."""
        moment = datetime.fromtimestamp(record.created, UTC)
        fields = {
            "time": moment.isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        return json.dumps(fields)


class TextFormatter(logging.Formatter):
    """The same for people: message first, then name=value, with control characters escaped."""

    def format(self, record: logging.LogRecord) -> str:
        """Level, message, fields."""
        fields = getattr(record, "fields", {})
        told = "".join(f" {name}={json.dumps(value)}" for name, value in fields.items())
        text = f"{record.levelname.lower():7} {record.getMessage()}{told}"
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


class BunchHandler(logging.Handler):
    """Keeps lines of info and below for a moment, and writes many at once."""

    def __init__(self) -> None:
        """Begin empty; what is left is written at exit."""
        super().__init__()
        self._lines: list[str] = []
        self._timer: threading.Timer | None = None
        atexit.register(self.flush)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a line, or write all if there are many or it is urgent."""
        self._lines.append(self.format(record))
        if record.levelno > logging.INFO or len(self._lines) >= BUNCH:
            self.flush()
        elif self._timer is None:
            self._timer = threading.Timer(FLUSH_S, self.flush)
            self._timer.daemon = True
            self._timer.start()

    def flush(self) -> None:
        """Write what is kept."""
        with self.lock or threading.RLock():
            lines, self._lines, self._timer = self._lines, [], None
        if lines:
            sys.stderr.write("\n".join(lines) + "\n")
            sys.stderr.flush()


def set_up_logging(level: str, style: Literal["json", "text"]) -> None:
    """Send our log and uvicorn's to stderr, in one style."""
    handler = BunchHandler()
    handler.setFormatter(JsonFormatter() if style == "json" else TextFormatter())
    for name in ("service", "uvicorn"):
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(level.upper())
        logger.propagate = False
