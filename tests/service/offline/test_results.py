import csv
import io
from pathlib import Path

import pytest

from service.errors import StartError
from service.offline.results import Results

COLUMNS = ["path", "label", "error"]
ABOUT = {"model": "tiny", "top_k": 2}
ROWS = [
    ["a.jpg", "dark", ""],
    ['b,"\n\r\u00e9.jpg', "bright", ""],
    ["c.jpg", "", "The file has 0 bytes."],
]


def written() -> bytes:
    """What an undisturbed run leaves, by the csv module alone."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerows([COLUMNS, *ROWS])
    return text.getvalue().encode()


def continue_in(path: Path) -> None:
    with Results(path, COLUMNS, ABOUT) as results:
        for row in ROWS:
            if row[0] not in results.done:
                results.append([row])


def test_a_file_that_was_cut_off_anywhere_becomes_what_it_would_have_been(tmp_path: Path) -> None:
    path = tmp_path / "new/results.csv"
    continue_in(path)
    whole = path.read_bytes()
    assert whole == written()

    for length in range(len(whole) + 1):
        path.write_bytes(whole[:length])
        continue_in(path)

        assert path.read_bytes() == whole, length


def test_zeros_that_a_loss_of_power_left_at_the_end_are_removed(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    continue_in(path)
    whole = path.read_bytes()
    path.write_bytes(whole[:-5] + bytes(5))

    continue_in(path)

    assert path.read_bytes() == whole


def test_rows_and_their_errors_are_counted_when_a_file_is_continued(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    continue_in(path)

    with Results(path, COLUMNS, ABOUT) as results:
        assert results.done == {row[0] for row in ROWS}
        assert results.failed == 1


def test_a_row_that_is_broken_in_the_middle_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    continue_in(path)
    path.write_bytes(path.read_bytes().replace(b"a.jpg,dark,", b"a.jpg,dark"))

    with pytest.raises(StartError, match="broken row at byte 17"):
        Results(path, COLUMNS, ABOUT)


def test_rows_of_other_options_or_of_unknown_origin_are_refused(tmp_path: Path) -> None:
    path, foreign = tmp_path / "results.csv", tmp_path / "foreign.csv"
    continue_in(path)
    before = path.read_bytes()
    foreign.write_text("path,label\n", encoding="utf-8")

    with pytest.raises(StartError, match="started with top_k 2; this is top_k 3"):
        Results(path, COLUMNS, {**ABOUT, "top_k": 3})
    with pytest.raises(StartError, match="has the columns path, label, error"):
        Results(path, [*COLUMNS[:2], "fault"], ABOUT)
    with pytest.raises(StartError, match=r"foreign.csv.json beside it does not say"):
        Results(foreign, COLUMNS, ABOUT)
    assert path.read_bytes() == before
    assert foreign.read_text(encoding="utf-8") == "path,label\n"


def test_two_processes_cannot_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"

    with (
        Results(path, COLUMNS, ABOUT),
        pytest.raises(StartError, match="being written by another"),
    ):
        Results(path, COLUMNS, ABOUT)
    continue_in(path)  # the lock is released
