"""Published weights by name: fetched once, checked, and told in one line where that fails."""

import hashlib
import io
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Event, Thread

import pytest

pytest.importorskip("torch")

import torch

from model.weights import published
from model.weights.file import WeightsError, read_weights
from model.weights.published import PUBLISHED, Published, find_weights


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str]]:
    """Serve a tiny file as `tiny`, and something else as `other`; gives the paths asked for."""
    buffer = io.BytesIO()
    torch.save({"fc.weight": torch.ones(2, 3)}, buffer)
    digits = hashlib.sha256(buffer.getvalue()).hexdigest()[:8]
    asked: list[str] = []
    released = Event()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404 if "absent" in self.path else 200)
            self.send_header("Content-Length", str(len(buffer.getvalue())))
            self.end_headers()
            if "slow" in self.path:
                released.wait()
            self.wfile.write(buffer.getvalue())

        def log_message(self, *_: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    files = {"tiny": digits, "other": "00000000", "absent": "00000001", "slow": digits}
    for name, begin in files.items():
        monkeypatch.setitem(PUBLISHED, name, Published("resnet18", f"{name}-{begin}.pth", 256))
    monkeypatch.setattr(published, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setattr(published, "TIMEOUT_S", 0.2)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.chdir(tmp_path)
    yield asked
    released.set()
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_name_is_fetched_once(requests: list[str]) -> None:
    path = find_weights("tiny")

    assert find_weights("tiny") == path
    assert len(requests) == 1
    assert read_weights(path).keys() == {"fc.weight"}


@pytest.mark.usefixtures("requests")
def test_a_damaged_file_in_the_cache_is_refused() -> None:
    path = find_weights("tiny")
    path.write_bytes(path.read_bytes()[:-1])

    with pytest.raises(WeightsError, match=r"is damaged: its SHA-256 .* Delete it"):
        find_weights("tiny")


@pytest.mark.usefixtures("requests")
@pytest.mark.parametrize(
    ("name", "cause"), [("other", "invalid hash value"), ("absent", "404"), ("slow", "timed out")]
)
def test_what_cannot_be_fetched_names_the_file_and_its_place(
    name: str, cause: str, tmp_path: Path
) -> None:
    with pytest.raises(WeightsError, match=cause) as caught:
        find_weights(name)

    place = tmp_path / "torch" / "hub" / "checkpoints" / PUBLISHED[name].file
    assert str(place) in str(caught.value)
    assert not place.exists()


def test_a_file_comes_before_a_name_and_a_path_is_no_name(
    requests: list[str], tmp_path: Path
) -> None:
    (tmp_path / "tiny").touch()

    assert find_weights("tiny") == Path("tiny")
    assert find_weights("absent.pth") == Path("absent.pth")
    assert not requests


def test_an_unknown_name_is_told_with_the_nearest() -> None:
    with pytest.raises(WeightsError, match=r"Did you mean resnet50\? Known: resnet18, "):
        find_weights("resnet5")


def test_the_docs_list_every_name_of_published_weights_and_no_other() -> None:
    page = (Path(__file__).parents[3] / "docs/family.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (.*) \| (\d+), 224 \|$", page, re.M)

    listed = {name: int(resize) for row, resize in rows for name in re.findall(r"`(\w.*?)`", row)}
    listed |= {f"{name}-v1": resize for name, resize in listed.items() if "-" not in name}
    assert listed == {name: each.resize for name, each in PUBLISHED.items()}
