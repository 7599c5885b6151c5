"""A decoder's process that obeys the files that it gets: `python -m tests...odd_child`."""

import os
import resource
import signal
import time
from typing import Any
from unittest.mock import patch

from PIL import Image

from service.errors import InvalidImageError
from service.preprocessing import child, decode


def obey(payload: bytes, *given: Any) -> Image.Image:
    match payload:
        case b"much memory":
            bytearray(2**34)
        case b"much time":
            time.sleep(60)
        case b"limits":
            limits = [getattr(resource, name) for name in ("RLIMIT_CPU", "RLIMIT_AS")]
            raise InvalidImageError(f"{time.process_time()} {[*map(resource.getrlimit, limits)]}")
        case b"crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        case b"killed":
            os.kill(os.getpid(), signal.SIGKILL)
    return decode.open_image(payload, *given)


if __name__ == "__main__":
    with patch.object(child, "open_image", obey):
        child.main()
