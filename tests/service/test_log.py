import asyncio
import io
import json
import logging
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Literal

import pytest

from service import log as log_module
from service.log import JsonFormatter, LogThrottle, TextFormatter, log_request, set_up_logging
from service.server.server import configure
from service.settings import Settings
from tests.service.listening import wait_until
from tests.service.process import ROOT

FORGED = "real\r\nerror forged\x1b[31m\u2028line\0"


def record(message: str = "request", **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("service", logging.INFO, "path", 1, message, None, None)
    made.fields = fields
    return made


def failed() -> logging.LogRecord:
    made = record("failed")
    try:
        raise ValueError("a\nb")
    except ValueError:
        made.exc_info = sys.exc_info()
    return made


def test_a_json_line_has_time_level_message_and_fields() -> None:
    line = json.loads(JsonFormatter().format(record(status=200, path="/x")))

    assert line["level"] == "info"
    assert line["message"] == "request"
    assert (line["status"], line["path"]) == (200, "/x")
    assert line["time"].endswith("+00:00")


def test_a_text_line_reads_message_first() -> None:
    line = TextFormatter().format(record(status=200, path="/x"))

    assert line == 'info    request status=200 path="/x"'


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_what_a_client_sent_cannot_forge_a_line(formatter: logging.Formatter) -> None:
    line = formatter.format(record(path=FORGED))

    assert len(line.splitlines()) == 1
    assert line.isprintable()
    assert "forged" in line


def test_an_exception_stays_on_its_json_line() -> None:
    line = JsonFormatter().format(failed())

    assert "\n" not in line
    assert "ValueError: a\nb" in json.loads(line)["exception"]


def test_an_exception_follows_its_text_line() -> None:
    lines = TextFormatter().format(failed()).splitlines()

    assert lines[0] == "info    failed"
    assert lines[-2:] == ["ValueError: a", "b"]


def test_a_record_without_fields_is_a_line() -> None:
    plain = logging.LogRecord("uvicorn", logging.WARNING, "path", 1, "%d left", (2,), None)

    assert TextFormatter().format(plain) == "warning 2 left"
    assert json.loads(JsonFormatter().format(plain))["message"] == "2 left"


@pytest.mark.parametrize(
    "name",
    ["service", "uvicorn.error", "python_multipart.multipart", "asyncio", "PIL.PngImagePlugin"],
)
def test_every_log_goes_to_stderr_in_one_style(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("info", "json")

    logging.getLogger(name).warning("once")

    assert [json.loads(line)["message"] for line in capsys.readouterr().err.splitlines()] == [
        "once"
    ]


def test_the_level_is_what_was_said(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("warning", "text")

    logging.getLogger("service").info("hidden")
    logging.getLogger("service").warning("shown")

    assert capsys.readouterr().err == "warning shown\n"


def test_uvicorns_own_lines_about_requests_are_off(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug", "text")
    configure(Settings(), "app")

    logging.getLogger("uvicorn.access").info("GET /")
    logging.getLogger("uvicorn.error").warning("heard")

    assert capsys.readouterr().err == "warning heard\n"


def test_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug", "text")

    logging.getLogger("PIL.PngImagePlugin").debug("a chunk")
    logging.getLogger("PIL.PngImagePlugin").warning("a warning")

    assert capsys.readouterr().err == "warning a warning\n"


def test_what_python_warns_of_is_a_line_as_any_other() -> None:
    code = (
        "import service.log as log, warnings; log.set_up_logging('info', 'json'); "
        "warnings.warn('odd\\nand %s', stacklevel=1)"
    )

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    (line,) = map(json.loads, run.stderr.splitlines())
    assert line["level"] == "warning"
    assert line["message"].endswith("UserWarning: odd and %s")


# Bunches


@pytest.mark.parametrize("style", ["json", "text"])
def test_a_request_is_a_line_as_any_other(
    style: Literal["json", "text"], capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("info", style)

    log_request(logging.INFO, {"path": FORGED, "status": 200})
    logging.getLogger("service").warning("now")

    first, second = capsys.readouterr().err.splitlines()
    assert "request" in first
    assert "forged" in first
    assert "200" in first
    assert "now" in second


def test_lines_of_info_wait_for_company_but_not_for_long(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_module, "FLUSH_S", 0.5)
    set_up_logging("info", "text")

    for _ in range(3):
        log_request(logging.INFO, {})
    at_once = capsys.readouterr().err
    time.sleep(1.2)

    assert at_once == ""
    assert capsys.readouterr().err == "info    request\n" * 3


@pytest.mark.parametrize("level", [logging.WARNING, logging.ERROR])
def test_an_urgent_line_waits_for_nobody_and_brings_the_others(
    level: int, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging("info", "text")
    log_request(logging.INFO, {})

    logging.getLogger("service").log(level, "urgent")

    assert [line.split()[-1] for line in capsys.readouterr().err.splitlines()] == [
        "request",
        "urgent",
    ]


def test_many_lines_are_written_without_a_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    written: list[str] = []
    monkeypatch.setattr(log_module, "write_to_stderr", written.append)
    monkeypatch.setattr(log_module, "FLUSH_S", 60)
    set_up_logging("info", "text")

    for _ in range(log_module.BATCH_LINES):
        log_request(logging.INFO, {})

    wait_until(lambda: "".join(written).count("\n") == log_module.BATCH_LINES)
    log_request(logging.INFO, {})
    assert "".join(written).count("\n") == log_module.BATCH_LINES
    logging.getLogger("service").warning("the rest")
    assert "".join(written).count("\n") == log_module.BATCH_LINES + 2


def test_no_line_is_lost_between_threads(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(log_module, "FLUSH_S", 0.001)
    set_up_logging("info", "text")

    def write() -> None:
        for _ in range(2_000):
            log_request(logging.INFO, {})

    with ThreadPoolExecutor(4) as threads:
        for _ in range(4):
            threads.submit(write)
    logging.getLogger("service").warning("the rest")

    assert capsys.readouterr().err.count("request\n") == 8_000


def test_what_is_left_is_written_at_the_end_of_the_process() -> None:
    code = (
        "import service.log as log; log.set_up_logging('info', 'text'); "
        "log.log.info('last'); log.log_request(20, {'status': 200})"
    )

    run = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )

    assert run.stderr == "info    last\ninfo    request status=200\n"


def test_a_log_that_cannot_be_written_costs_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    set_up_logging("info", "text")
    monkeypatch.setattr(sys, "stderr", Full())

    logging.getLogger("service").warning("something")  # would raise into the request


# What takes nothing, and threads that cannot be started


@pytest.fixture
def blocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """Nothing is written until the event is set; then it is, to `sys.stderr`."""
    released = threading.Event()

    def write(text: str) -> None:
        assert released.wait(20)
        sys.stderr.write(text)

    monkeypatch.setattr(log_module, "write_to_stderr", write)
    yield released
    released.set()


@pytest.mark.anyio
async def test_a_stderr_that_takes_nothing_delays_nothing(
    blocked: threading.Event,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(log_module, "MAX_BUFFERED_BYTES", 10_000)
    set_up_logging("info", "text")
    began = time.perf_counter()

    for number in range(2_000):
        log_request(logging.INFO, {"number": number})
        logging.getLogger("service").warning("urgent")
    waited_s = time.perf_counter() - began
    blocked.set()
    await asyncio.to_thread(logging.getLogger("service").handlers[0].flush)

    lines = capsys.readouterr().err.splitlines()
    assert waited_s < 5
    assert len(lines) < 1_500
    lost = [int(line.partition("=")[2]) for line in lines if "log lines dropped" in line]
    assert len(lines) - len(lost) + sum(lost) == 4_000


def test_a_flush_waits_only_once_for_a_stderr_that_takes_nothing(
    blocked: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log_module, "FLUSH_WAIT_S", 0.2)
    set_up_logging("info", "text")
    began = time.perf_counter()

    for _ in range(50):
        logging.getLogger("service").warning("urgent")

    assert time.perf_counter() - began < 5
    assert not blocked.is_set()


def test_lines_lost_on_a_full_disk_are_counted(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Full(io.StringIO):
        def write(self, _: str) -> int:
            raise OSError(28, "No space left on device")

    set_up_logging("info", "text")
    with monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", Full())
        logging.getLogger("service").warning("one")
        logging.getLogger("service").warning("two")
    logging.getLogger("service").warning("three")

    assert capsys.readouterr().err == "warning three\nwarning log lines dropped lines=2\n"


def test_lines_are_written_where_no_thread_can_be_started(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    set_up_logging("info", "text")

    log_request(logging.INFO, {})
    logging.getLogger("service").warning("urgent")

    assert capsys.readouterr().err == "info    request\nwarning urgent\n"


def test_a_line_starts_no_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    set_up_logging("info", "text")
    before = threading.active_count()
    monkeypatch.setattr(threading.Thread, "start", None)

    log_request(logging.INFO, {})
    logging.getLogger("service").warning("urgent")

    assert threading.active_count() == before


@pytest.mark.parametrize("formatter", [JsonFormatter(), TextFormatter()])
def test_a_long_exception_keeps_its_beginning_and_its_end(formatter: logging.Formatter) -> None:
    made = record("m" * 100_000)
    try:
        raise ValueError("e" * 300_000 + "end")
    except ValueError:
        made.exc_info = sys.exc_info()

    text = formatter.format(made)

    assert len(text) < 20_000
    assert "Traceback" in text
    assert "eeend" in text


def test_what_happens_very_often_is_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    often = LogThrottle()

    counts = [often.count() for _ in range(1_000)]
    monkeypatch.setattr(often, "_next", 0.0)

    assert counts == [1] + 999 * [None]
    assert often.count() == 1_000
