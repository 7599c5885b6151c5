"""What the system refuses reaches the user of a command in one line."""

import errno
import os
from pathlib import Path

import pytest

pytest.importorskip("torch")

from model.cli import CommandError
from training.cli.errors import user_errors


@pytest.mark.parametrize(
    ("name", "cause"),
    [("n" * 300, os.strerror(errno.ENAMETOOLONG)), ("file/inside", os.strerror(errno.ENOTDIR))],
)
def test_a_file_that_the_system_refuses_is_named_with_its_cause(
    tmp_path: Path, name: str, cause: str
) -> None:
    (tmp_path / "file").write_text("no folder")

    with pytest.raises(CommandError) as told, user_errors():
        (tmp_path / name).read_bytes()

    assert str(told.value) == f"{tmp_path / name}: {cause}."


def test_an_error_without_a_file_is_reported_in_one_line_too() -> None:
    with pytest.raises(CommandError) as told, user_errors():
        raise OSError("the first line\nand another")

    assert str(told.value) == "the first line and another."


def test_a_reader_that_has_gone_is_no_failure_to_tell() -> None:
    with pytest.raises(BrokenPipeError), user_errors():
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")
