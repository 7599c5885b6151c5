import json
import logging
import sys

import pytest

from service.log import JsonFormatter, TextFormatter, set_up_logging

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

    logging.getLogger("uvicorn.access").info("GET /")

    assert capsys.readouterr().err == ""


def test_libraries_are_heard_from_warnings_on(capsys: pytest.CaptureFixture[str]) -> None:
    set_up_logging("debug", "text")

    logging.getLogger("PIL.PngImagePlugin").debug("a chunk")
    logging.getLogger("PIL.PngImagePlugin").warning("a warning")

    assert capsys.readouterr().err == "warning a warning\n"
