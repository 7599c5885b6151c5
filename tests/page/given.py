"""What the page's tests put before it: images, files, other networks."""

import io
import time
from typing import TYPE_CHECKING, Any

from PIL import ExifTags, Image

from model.architecture.family import get_architecture
from model.architecture.summary import summarize

if TYPE_CHECKING:
    from playwright.sync_api import Page


def phone_image(turn: int) -> bytes:
    """A JPEG that stands 40 x 60 when EXIF's `turn` is applied, white from (0, 10) to (10, 20)."""
    upright = Image.new("L", (40, 60), 60)
    upright.paste(255, (0, 10, 10, 20))
    lying = {1: None, 6: Image.Transpose.ROTATE_90, 8: Image.Transpose.ROTATE_270}[turn]
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = turn
    file = io.BytesIO()
    stored = upright if lying is None else upright.transpose(lying)
    stored.save(file, "JPEG", quality=95, exif=exif)
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
