"""What a decoder's process runs: `python -m service.preprocessing.child`.

It reads a file from its socket, decodes it, writes the reply, and waits for the next. It ends when
the socket is closed. `service.preprocessing.children` starts it, and has the form of both.
"""

import contextlib
import json
import math
import resource
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

from model.preprocessing import Preprocessing
from service.errors import ServiceError
from service.memory import keep_heap
from service.preprocessing.children import COUNT, READY, REPLY, REQUEST
from service.preprocessing.decode import counted_pixels, open_image
from service.preprocessing.prepare import read_prepared

BYTES_A_PIXEL = 20
"""Of an image while it is decoded, in all its forms. 16 were measured, of WebP; 9 of others."""
SPARE_BYTES = 134_217_728
"""For the file itself, and for the interpreter."""
KEPT_BYTES = 33_554_432
"""Of freed memory, for the next image."""
TOO_MUCH_MEMORY = "The image needs too much memory to decode. Save it again, or send a smaller one."
MAX_FILES = 32
"""Open ones; Python needs a few to import a module late."""


def limit_memory(max_pixels: int) -> None:
    """Limit memory to what this process has, and what the largest image needs."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    own, needed = pages * resource.getpagesize(), BYTES_A_PIXEL * max_pixels
    _lower(resource.RLIMIT_AS, own + needed + SPARE_BYTES)
    _lower(resource.RLIMIT_CORE, 0)
    _lower(resource.RLIMIT_FSIZE, 0)
    _lower(resource.RLIMIT_NOFILE, MAX_FILES)


def limit_processor(seconds: int) -> None:
    """Have the system end this process if it goes on for so many seconds of processor time."""
    used = math.ceil(time.process_time())
    hard = resource.getrlimit(resource.RLIMIT_CPU)[1]
    soft = used + seconds if hard == resource.RLIM_INFINITY else min(hard, used + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _lower(which: int, value: int) -> None:
    hard = resource.getrlimit(which)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(which, (value, value))


def run(job: bytes, payload: bytes, index: int, spec: Preprocessing, max_pixels: int) -> bytes:
    """Do a job; return the reply."""
    fields: dict[str, Any]
    pixels = b""
    try:
        image = open_image(payload, max_pixels, index, spec)
        if job == COUNT:
            fields = {"pixels_counted": counted_pixels(image, spec)}
        else:
            ready = read_prepared(image, spec, index)
            pixels = ready.pixels.tobytes()
            fields = {
                "decode_s": ready.decode_s,
                "preprocess_s": ready.preprocess_s,
                "width": ready.size.width,
                "height": ready.size.height,
            }
    except (ServiceError, MemoryError) as error:
        code = error.code if isinstance(error, ServiceError) else "out_of_memory"
        if code == "out_of_memory":  # of this process, which has enough for any image
            fields = {"code": "invalid_image", "message": TOO_MUCH_MEMORY}
        else:
            fields = {"code": code, "message": str(error)}
    text = json.dumps(fields).encode()
    return REPLY.pack(len(text), len(pixels)) + text + pixels


def main() -> None:
    """Decode until the socket is closed."""
    max_pixels, cpu_s, spec_json, descriptor = sys.argv[1:]
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):  # meant for the service
        signal.signal(each, signal.SIG_IGN)
    with contextlib.suppress(OSError):  # if memory runs out, this process ends, not the service
        Path("/proc/self/oom_score_adj").write_text("1000")
    keep_heap(KEPT_BYTES)
    spec = Preprocessing.model_validate_json(spec_json)
    limit_memory(int(max_pixels))
    connection = socket.socket(fileno=int(descriptor))
    connection.sendall(READY)
    while head := connection.recv(REQUEST.size, socket.MSG_WAITALL):
        job, index, length = REQUEST.unpack(head)
        payload = connection.recv(length, socket.MSG_WAITALL) if length else b""
        limit_processor(int(cpu_s))
        connection.sendall(run(job, payload, index, spec, int(max_pixels)))


if __name__ == "__main__":
    main()
