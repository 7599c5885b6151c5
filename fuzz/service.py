"""The whole service, without a port: never a 5xx, and a good request is answered as before.

Of an input the first byte chooses the route, the second the content type, the third the encoding.
"""

import asyncio
from pathlib import Path
from typing import Any

from fuzz.seeds import images
from service.app import create_app
from service.settings import Settings

SHIPPED = Path(__file__).parents[1] / "artifacts/fashion-mnist/1"
FORM = b"multipart/form-data; boundary=x"
ROUTES = (
    "/predict",
    "/models/fashion-mnist/predict",
    "/v2/models/fashion-mnist/infer",
    "/v2/models/fashion-mnist-image/infer",
    "/v2/repository/index",
)
TYPES = (b"image/png", FORM, b"application/json", b"application/octet-stream", b"text/plain")
CODINGS = (b"", b"", b"", b"gzip", b"deflate")
GOOD_EVERY = 50
TIMEOUT_S = 20


class Service:
    """An application that is asked one request after another."""

    def __init__(self) -> None:
        settings = Settings(artifact=SHIPPED, intra_op_threads=1, concurrent_runs=1)
        self._app = create_app(settings)
        self._loop = asyncio.new_event_loop()
        self._loop.run_until_complete(self._app.router.lifespan_context(self._app).__aenter__())
        self._png = images()[1]
        self._good = self.ask(ROUTES[0], self._png)
        self._count = 0

    def __call__(self, data: bytes) -> None:
        """Send an input, and now and then a good one.

        Raises:
            AssertionError: If a response is not as it should be.
        """
        if len(data) < 3:
            return
        headers = [(b"content-type", TYPES[data[1] % len(TYPES)])]
        if coding := CODINGS[data[2] % len(CODINGS)]:
            headers.append((b"content-encoding", coding))
        status, answer = self.ask(ROUTES[data[0] % len(ROUTES)], data[3:], *headers)
        if status >= 500 and status != 501:  # shared memory of the V2 protocol
            raise AssertionError(f"{status}: {answer[:500]!r}")
        self._count += 1
        if self._count % GOOD_EVERY == 0 and self.ask(ROUTES[0], self._png) != self._good:
            raise AssertionError("a good request is not answered as before")

    def ask(self, path: str, body: bytes, *headers: tuple[bytes, bytes]) -> tuple[int, bytes]:
        """Send a request; return status and body of the response."""
        call = asyncio.wait_for(self._post(path, body, [*headers]), TIMEOUT_S)
        return self._loop.run_until_complete(call)

    async def _post(
        self, path: str, body: bytes, headers: list[tuple[bytes, bytes]]
    ) -> tuple[int, bytes]:
        sent: list[Any] = []
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def receive() -> dict[str, Any]:
            if not messages:
                await asyncio.Event().wait()  # the client stays
            return messages.pop()

        async def send(message: Any) -> None:
            sent.append(message)

        scope: dict[str, Any] = {"type": "http", "method": "POST", "path": path, "root_path": ""}
        scope |= {"query_string": b"", "headers": headers, "client": ("127.0.0.1", 1)}
        await self._app(scope, receive, send)
        return sent[0]["status"], b"".join(each.get("body", b"") for each in sent[1:])
