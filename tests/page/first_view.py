"""What the first view's tests do to it, read from it, and answer in the service's place."""

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from tests.page.given import upload

if TYPE_CHECKING:
    from playwright.sync_api import Page, Route

DROP = """({files, strings}) => {
  const data = new DataTransfer();
  for (const {name, type, bytes} of files)
    data.items.add(new File([new Uint8Array(bytes)], name, {type}));
  for (const [type, text] of strings) data.setData(type, text);
  return data;
}"""


def drop(page: "Page", files: list[dict[str, Any]], strings: list[list[str]] | None = None) -> None:
    """Drop on the far edge of the page, away from the frame."""
    data = page.evaluate_handle(DROP, {"files": files, "strings": strings or []})
    for kind in ("dragover", "drop"):
        page.dispatch_event("footer", kind, {"dataTransfer": data})


def paste(page: "Page", files: list[dict[str, Any]]) -> None:
    data = page.evaluate_handle(DROP, {"files": files, "strings": []})
    page.evaluate(
        "data => document.dispatchEvent(new ClipboardEvent('paste', "
        "{clipboardData: data, bubbles: true, cancelable: true}))",
        data,
    )


def file(content: bytes, name: str = "boot.png", kind: str = "image/png") -> dict[str, Any]:
    return {"name": name, "type": kind, "bytes": list(content)}


def choose(page: "Page", content: bytes, name: str = "boot.png", kind: str = "image/png") -> None:
    page.set_input_files("[data-door=choose]", upload(content, name, kind))


def heading(page: "Page") -> str:
    return page.inner_text(".answer h2")


def is_boot(page: "Page") -> None:
    page.wait_for_selector("main[data-state=answer] .answer h2:text-is('Ankle boot')")


def notice(page: "Page") -> str:
    page.wait_for_selector(".notice")
    return page.inner_text(".notice")


def stub(top: float, **more: Any) -> Callable[["Route"], None]:
    """An answer made up: one label at `top`, and whatever the result carries besides."""
    predictions = [
        {"label": "Ankle boot", "index": 9, "probability": top},
        {"label": "Sandal", "index": 5, "probability": 0.0001},
    ]
    model = {"name": "made-up", "version": "1", "precision": "float32", "provider": "cpu"}
    body = json.dumps({"model": model, "results": [{"predictions": predictions, **more}]})
    return lambda route: route.fulfill(body=body, content_type="application/json")
