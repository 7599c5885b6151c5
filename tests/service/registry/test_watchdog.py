"""A start that never ends."""

import subprocess
import sys

from service.registry.watchdog import ready_within
from tests.service.process import ROOT


def test_a_block_that_takes_too_long_ends_the_process_in_one_line() -> None:
    code = (
        "import time; from service.registry.watchdog import ready_within\n"
        "with ready_within(0.05, 'tiny/1'): time.sleep(60)"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (run.returncode, run.stderr) == (1, "error: tiny/1 did not load within 0.05 s.\n")


def test_a_block_that_is_through_in_time_ends_nothing() -> None:
    with ready_within(60, "tiny/1"):
        pass
