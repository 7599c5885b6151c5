"""How many of our own calls a plain request takes, and in how many files.

`python -m benchmarks.calls [ARTIFACT]`: the server and its client share one event loop on one
core, so `sys.setprofile` sees every Python call of the server. One 28 x 28 PNG as a raw body on a
warm keep-alive connection; the quietest of several requests counts, since the server's own
housekeeping runs ten times a second. Calls without a name (comprehensions) are not counted.
"""

import asyncio
import socket
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

from benchmarks.arguments import SHIPPED, ArtifactFolder
from benchmarks.images import make_image
from benchmarks.process import pin_to
from model.cli import script
from service.app import create_app
from service.log import set_up_logging
from service.server.listen import bind
from service.server.server import Server, configure
from service.settings import Settings

ROOT = Path(__file__).parents[1]
SIDES = (str(ROOT / "service"), str(ROOT / "model"))
WARM_UP, MEASURED = 50, 20

Call = tuple[str, str]
"""A file, relative to the repository, and a function's qualified name."""


@contextmanager
def counted() -> Iterator[list[Call]]:
    """Collect the calls of our functions on this thread, in order."""
    calls: list[Call] = []
    frames: set[FrameType] = set()  # a coroutine that goes on is no new call

    def note(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        if event != "call" or not code.co_filename.startswith(SIDES) or code.co_name[0] == "<":
            return
        if frame not in frames:
            frames.add(frame)
            calls.append((str(Path(code.co_filename).relative_to(ROOT)), code.co_qualname))

    sys.setprofile(note)
    try:
        yield calls
    finally:
        sys.setprofile(None)


async def measure(settings: Settings, sockets: list[socket.socket], body: bytes) -> list[Call]:
    """Serve, ask, and give the calls of the request that took the fewest."""
    server = Server(configure(settings, create_app(settings)), owns_port=True)
    port = sockets[0].getsockname()[1]
    serving = asyncio.create_task(server.serve(sockets))
    while not server.started:  # noqa: ASYNC110  # the server has no event for it
        await asyncio.sleep(0.01)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    head = (
        f"POST /predict HTTP/1.1\r\nhost: 127.0.0.1:{port}\r\ncontent-type: image/png\r\n"
        f"content-length: {len(body)}\r\n\r\n"
    )

    async def ask() -> None:
        writer.write(head.encode() + body)
        answer = await reader.readuntil(b"\r\n\r\n")
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(answer.decode())
        (length,) = (
            int(line.partition(b":")[2])
            for line in answer.splitlines()
            if line.startswith(b"content-length")
        )
        await reader.readexactly(length)

    for _ in range(WARM_UP):
        await ask()
    found = []
    for _ in range(MEASURED):
        with counted() as calls:
            await ask()
            await asyncio.sleep(0)
        found.append(calls)
    writer.close()
    server.should_exit = True
    await serving
    return min(found, key=len)


def main(artifact: ArtifactFolder = SHIPPED) -> None:
    """Measure and print."""
    pin_to({0})
    settings = Settings(artifact=artifact, host="127.0.0.1", port=0, log_level="info")
    set_up_logging(settings.log_level, settings.log_format)
    with bind(settings) as sockets:
        calls = asyncio.run(measure(settings, sockets, make_image(28)))
    files = Counter(file for file, _ in calls)
    for file, name in calls:
        print(f"{file:45} {name}")
    print(f"{len(calls)} calls in {len(files)} files")


if __name__ == "__main__":
    script(main)()
