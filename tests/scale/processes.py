"""Processes below another one, by Linux's /proc."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path


def below(pid: int) -> Iterator[tuple[int, str]]:
    """Yield number and command line of all processes below one; those that end are left out."""
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in map(int, (task / "children").read_text().split()):
                with suppress(OSError):
                    line = Path(f"/proc/{child}/cmdline").read_bytes()
                    yield child, line.replace(b"\0", b" ").decode(errors="replace")
                yield from below(child)
