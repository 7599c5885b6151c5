"""What the page's tests put before it: pictures, files, other networks."""

import io
import time
from typing import TYPE_CHECKING, Any

from PIL import Image

from model.architecture import get_architecture
from model.summary import summarize

if TYPE_CHECKING:
    from playwright.sync_api import Page


def picture(
    width: int = 60, height: int = 40, *, turn: int = 1, kind: str = "JPEG", spot: bool = False
) -> bytes:
    """A grey picture; `spot` paints its top left corner white, `turn` is EXIF's Orientation."""
    image = Image.new("L", (width, height), 60)
    if spot:
        image.paste(255, (0, 0, width // 4, height // 4))
    file = io.BytesIO()
    exif = Image.Exif()
    exif[0x0112] = turn
    image.save(file, kind, **({"exif": exif} if kind == "JPEG" else {}))
    return file.getvalue()


def upload(content: bytes, name: str = "boot.png", kind: str = "image/png") -> Any:
    """A file as Playwright takes it."""
    return {"name": name, "mimeType": kind, "buffer": content}


def architecture_of(name: str, base: dict[str, Any]) -> dict[str, Any]:
    """What `GET /architecture` says of another member of the family."""
    spec = get_architecture(name)
    side = 28 if spec.stem == "small" else 224
    summary = summarize(spec, side, side).model_dump(mode="json")
    return {
        **base,
        **{key: summary[key] for key in ("parameters", "macs", "stem", "stages", "head")},
        "architecture": spec.model_dump(mode="json"),
        "input": {"size": side, "channels": spec.in_channels},
    }


def until(page: "Page", expression: str) -> None:
    """Wait for JavaScript to be true; Playwright's own way needs `eval`, which the page forbids."""
    deadline = time.monotonic() + 10
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, expression
        page.wait_for_timeout(20)
