"""How many bytes of bodies are held at once, over all requests of the process.

Places in the queue bound what waits for the engine; this bounds what is still coming in, and
files that wait to be decoded.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from service.errors import OverloadedError

RETRY_S = 1


class Intake:
    """Counts bytes.

    Args:
        limit: Over all requests.
    """

    def __init__(self, limit: int) -> None:
        """Begin empty."""
        self.limit = limit
        self.held = 0

    @contextmanager
    def hold(self) -> Iterator[Callable[[int], None]]:
        """Give what takes room for so many bytes more, or fewer; all is given back at the end.

        It is to be called on the event loop.

        Raises:
            OverloadedError: If there is no room.
        """
        mine = 0

        def take(count: int) -> None:
            nonlocal mine
            if self.held + count > self.limit:
                raise OverloadedError(
                    f"Requests under way hold {self.held:,} bytes and {self.limit:,} are allowed. "
                    f"Try again in {RETRY_S} s, or raise RESNET_MAX_HELD_BYTES.",
                    retry_after_s=RETRY_S,
                )
            self.held += count
            mine += count

        try:
            yield take
        finally:
            self.held -= mine
