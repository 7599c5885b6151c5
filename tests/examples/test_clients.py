"""Every example asks the real service, as its first lines say."""

import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
from playwright.sync_api import expect, sync_playwright

from examples.resnet_client import Client, ProblemError
from tests.service.process import Running, serve_model

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "examples"
ARTIFACT = ROOT / "artifacts/fashion-mnist/1"
BOOT = ROOT / "docs/images/boot.png"
NODE, CHROMIUM = shutil.which("node"), shutil.which("chromium")


@pytest.fixture(scope="module")
def pages() -> Iterator[str]:
    """The folder of examples, served from an origin of its own."""
    handler = partial(SimpleHTTPRequestHandler, directory=str(EXAMPLES))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


@pytest.fixture(scope="module")
def service(pages: str) -> Iterator[Running]:
    with serve_model(artifact=str(ARTIFACT), precision="float32", cors_origins=pages) as running:
        yield running


def run(*command: object) -> str:
    done = subprocess.run(
        [str(each) for each in command], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_python_client_gives_labels_in_the_order_of_the_images(service: Running) -> None:
    pixels = (ROOT / "tests/examples/noise.png").read_bytes()

    with Client(service.url) as client:
        boot, noise = client.predict(BOOT, pixels, top_k=3, coverage=0.95)

    assert boot.label == "Ankle boot"
    assert boot.probability > 0.9
    assert len(boot.predictions) == 3
    assert boot.prediction_set == ("Ankle boot",)
    assert boot.in_distribution
    assert not noise.in_distribution


def test_the_python_client_raises_what_the_service_says(service: Running) -> None:
    with Client(service.url) as client, pytest.raises(ProblemError) as raised:
        client.predict(b"no image")

    assert (raised.value.status, raised.value.code) == (422, "invalid_image")


def test_the_python_client_waits_as_long_as_the_service_says() -> None:
    class Busy(BaseHTTPRequestHandler):
        answers: ClassVar[list[int]] = [503, 429, 200]

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = b'{"results": [{"predictions": [{"label": "a", "probability": 1}]}]}'
            self.send_response(self.answers.pop(0))
            self.send_header("Retry-After", "0.01")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Busy) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        with Client(f"http://127.0.0.1:{server.server_port}") as client:
            (result,) = client.predict(b"image")
        server.shutdown()

    assert result.label == "a"
    assert Busy.answers == []


def test_the_python_client_is_a_command(service: Running) -> None:
    printed = run(sys.executable, EXAMPLES / "resnet_client.py", service.url, BOOT)

    assert printed.startswith(f"{BOOT}: Ankle boot, 9")


def test_tritons_client_gives_the_label(service: Running) -> None:
    address = f"127.0.0.1:{service.port}"
    script = EXAMPLES / "triton_client.py"

    printed = run(sys.executable, script, address, "fashion-mnist-image", BOOT)

    assert printed.startswith("Ankle boot, 9")


def test_plain_onnxruntime_gives_the_services_probability(service: Running) -> None:
    with Client(service.url) as client:
        (result,) = client.predict(BOOT)

    printed = run(sys.executable, EXAMPLES / "plain_onnxruntime.py", ARTIFACT, BOOT)

    assert printed.splitlines()[0] == f"{result.label}, {result.probability:.1%}"


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")
def test_the_shell_loop_has_a_line_for_each_file(service: Running, tmp_path: Path) -> None:
    shutil.copy(BOOT, tmp_path / "1.png")
    (tmp_path / "2.txt").write_text("no image")

    first, second = run(EXAMPLES / "folder.sh", service.url, tmp_path).splitlines()

    assert first.startswith(f"{tmp_path}/1.png\t")
    assert '"Ankle boot"' in first
    assert '"invalid_image"' in second


@pytest.mark.skipif(NODE is None, reason="Node is not installed")
def test_the_javascript_client_runs_in_node(service: Running) -> None:
    printed = run(NODE, EXAMPLES / "client.mjs", service.url, BOOT)

    assert printed.startswith("Ankle boot, 9")
    assert len(printed.splitlines()) == 5


@pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed")
def test_the_javascript_client_runs_in_a_page_of_another_origin(
    service: Running, pages: str
) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = browser.new_page()
        page.goto(f"{pages}/browser.html?service={service.url}")
        page.get_by_label("Image").set_input_files(BOOT)
        expect(page.locator("output")).to_contain_text("Ankle boot", timeout=20_000)
        browser.close()
