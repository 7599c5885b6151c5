"""Fuzz all targets, each in a process of its own: `python -m fuzz [NAME...] --seconds 60`.

A finding is kept in runs/fuzz; `python -m fuzz.target NAME CORPUS FILE` shows it again.
"""

import re
import subprocess
import sys
import tempfile
from typing import Annotated

import typer

from fuzz.targets import TARGETS
from model.cli import script
from tests.service.process import ROOT

KEPT = ROOT / "runs/fuzz"
MEMORY_MB, BLOCK_MB, INPUT_S, MAX_BYTES = 1024, 512, 10, 65_536
"""Of the process, of one allocation, for one input, and of one input."""
DONE = re.compile(r"Done (\d+) (?:runs )?in (\d+) second")


def fuzz(name: str, seconds: int) -> bool:
    """Fuzz a target; print a line, and return whether nothing was found."""
    KEPT.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="corpus-") as corpus:
        options = {
            "max_total_time": seconds,
            "rss_limit_mb": MEMORY_MB,
            "malloc_limit_mb": BLOCK_MB,
            "timeout": INPUT_S,
            "max_len": MAX_BYTES,
            "artifact_prefix": f"{KEPT}/{name}-",
            "verbosity": 1,
        }
        command = [sys.executable, "-m", "fuzz.target", name, corpus]
        command += [f"-{option}={value}" for option, value in options.items()]
        ran = subprocess.run(command, cwd=ROOT, capture_output=True, check=False)
    told = ran.stderr.decode(errors="replace") + ran.stdout.decode(errors="replace")
    done = DONE.search(told)
    if ran.returncode or done is None:
        print(f"{name}: found\n{told[-4000:]}", flush=True)
        return False
    print(f"{name}: {int(done[1]):,} inputs in {done[2]} s, nothing found", flush=True)
    return True


def main(
    names: Annotated[list[str] | None, typer.Argument(help="Of targets; all by default.")] = None,
    seconds: Annotated[int, typer.Option(help="For each target.")] = 60,
) -> None:
    """Fuzz targets one after another; end with 1 if anything was found."""
    found = [name for name in names or TARGETS if not fuzz(name, seconds)]
    raise typer.Exit(int(bool(found)))


if __name__ == "__main__":
    script(main)()
