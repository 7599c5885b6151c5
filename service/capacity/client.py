"""A closed loop of requests over HTTP, to measure what they cost the service."""

import asyncio
import random
import time

from service.errors import StartError


class Client:
    """Asks a service on this machine for predictions of one image.

    Args:
        port: Of the service.
        image: A whole file; its format is left to the service to find out.
    """

    def __init__(self, port: int, image: bytes) -> None:
        self._port = port
        head = (
            f"POST /predict HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"
            f"Content-Type: application/octet-stream\r\nContent-Length: {len(image)}\r\n\r\n"
        )
        self._request = head.encode() + image

    async def ask(self, connections: int, seconds: float, pause_s: float = 0.0) -> list[float]:
        """Ask on so many connections, each at least once, and again when it has its answer.

        Args:
            connections: Side by side.
            seconds: Until when a connection asks again.
            pause_s: Before it does, by chance, on average.

        Returns:
            The seconds that each answer took.

        Raises:
            StartError: If the service refuses the image, or cannot be reached.
        """
        end, latencies = time.perf_counter() + seconds, list[float]()
        try:
            await asyncio.gather(*(self._one(end, pause_s, latencies) for _ in range(connections)))
        except (OSError, EOFError) as error:
            raise StartError(f"The measured service has ended: {error}.") from error
        return latencies

    async def _one(self, end: float, pause_s: float, latencies: list[float]) -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        try:
            while True:
                began = time.perf_counter()
                writer.write(self._request)
                head = await reader.readuntil(b"\r\n\r\n")
                body = await reader.readexactly(_content_length(head))
                if not head.startswith(b"HTTP/1.1 200 "):
                    status = head[9:12].decode()
                    raise StartError(f"The service answered {status}: {body[:500].decode()}")
                now = time.perf_counter()
                latencies.append(now - began)
                if now > end:
                    return
                if pause_s:
                    await asyncio.sleep(random.expovariate(1 / pause_s))
        finally:
            writer.close()


def _content_length(head: bytes) -> int:
    lines = head.lower().split(b"\r\n")
    return next(
        int(line.partition(b":")[2]) for line in lines if line.startswith(b"content-length:")
    )
