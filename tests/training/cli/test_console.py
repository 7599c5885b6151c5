"""What the commands share: the log on stdout, and one line where packages are missing."""

import logging
import subprocess
import sys

import pytest

from training.cli.console import console_log, console_script


@pytest.mark.parametrize(
    ("script", "option"),
    [("train_script", "--help"), ("evaluate_script", "x"), ("export_script", "x")],
)
def test_without_the_extra_for_training_a_command_says_what_to_install(
    script: str, option: str
) -> None:
    code = f"from training.cli.main import {script}; {script}()"
    without_torch = f"import sys; sys.modules['torch'] = None; {code}"

    finished = subprocess.run(
        [sys.executable, "-c", without_torch, option], capture_output=True, text=True, check=False
    )

    assert finished.returncode == 1
    assert finished.stdout == ""
    assert finished.stderr == "error: torch is not installed: pip install '.[training]'\n"


def test_where_the_commands_own_code_is_left_out_one_line_says_what_to_install() -> None:
    """The container has the scripts, and nothing else of `training`."""
    code = "from training.cli.main import train_script; train_script()"
    without = f"import sys; sys.modules['training.cli.train'] = None; {code}"

    finished = subprocess.run(
        [sys.executable, "-c", without], capture_output=True, text=True, check=False
    )

    assert (finished.returncode, finished.stdout) == (1, "")
    expected = "error: the extra `training` is not installed: pip install '.[training]'\n"
    assert finished.stderr == expected


def test_the_log_is_printed_as_it_is_while_a_command_runs_and_not_after(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = logging.getLogger("training.somewhere")
    monkeypatch.setattr("sys.argv", ["command"])

    with pytest.raises(SystemExit):
        console_script(lambda: log.info("100 % of 5"))()
    log.info("nobody reads this")

    assert capsys.readouterr().out == "100 % of 5\n"


def test_a_line_is_printed_once_where_a_library_prints_the_root_loggers_lines(
    capsys: pytest.CaptureFixture[str],
) -> None:
    handler = logging.StreamHandler(sys.stdout)
    logging.getLogger().addHandler(handler)
    try:
        with console_log():
            logging.getLogger("training.somewhere").info("once")
    finally:
        logging.getLogger().removeHandler(handler)

    assert capsys.readouterr().out == "once\n"
