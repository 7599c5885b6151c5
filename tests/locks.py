"""Read the locks in `requirements`."""

import re
from collections.abc import Iterator
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "requirements"
HASH = r" \\\n    --hash=sha256:[0-9a-f]{64}"
PIN = re.compile(
    rf"^(?P<name>[a-z0-9-]+)==(?P<version>[^ ]+)(?P<marker> ; [^\\\n]+)?(?:{HASH})+\n", re.MULTILINE
)


def pins(*locks: str) -> Iterator[tuple[str, str, str]]:
    """Yield name, version and marker of every line that has a hash."""
    for lock in locks:
        for pin in PIN.finditer((FOLDER / f"{lock}.txt").read_text()):
            yield pin["name"], pin["version"], pin["marker"] or ""
