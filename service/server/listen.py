"""The port: bound before a model is loaded, closed without losing a connection."""

import contextlib
import ctypes
import errno
import socket
import struct
import sys
from typing import Any

from service.errors import StartError
from service.settings import Settings

_Address = tuple[int, int, int, str, Any]
SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python's socket module does not name it


def bind(settings: Settings) -> socket.socket:
    """Bind the port, so that a port in use is reported before a model is loaded.

    Raises:
        StartError: If it is in use, or may not be bound.
    """
    try:
        family, kind, _, _, where = _resolve(settings)
        sock = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise StartError(
            f"RESNET_HOST (={settings.host!r}) is not known: {_why(error)}. Give an address of "
            "this machine with RESNET_HOST or --host, as 127.0.0.1 or ::1; 0.0.0.0 or :: for all."
        ) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(
                f"RESNET_HOST (={settings.host!r}) is no address of this machine. Choose another "
                "with RESNET_HOST or --host; 0.0.0.0 or :: for all."
            ) from error
        raise StartError(
            f"Port {settings.port} of {settings.host} cannot be taken: {error.strerror}. "
            "Choose another with RESNET_PORT or --port."
        ) from error
    sock.set_inheritable(True)
    return sock


def _resolve(settings: Settings) -> _Address:
    """Resolve a host; of several addresses, prefer an IPv4 one."""
    found = socket.getaddrinfo(
        settings.host or None, settings.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )
    return min(found, key=lambda each: each[0] != socket.AF_INET)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is no valid host name"


def address(sock: socket.socket) -> str:
    """Return the address of a socket as in a URL."""
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def bind_reuseport(bound: socket.socket) -> socket.socket:
    """Give a worker a socket of its own on a port that is bound already.

    The kernel then distributes new connections at random. From a shared socket, the worker that
    wakes first takes them: of 16 lasting connections one of two workers had all in two tries of six
    (docs/decisions/0008). Only Linux distributes them; elsewhere all workers share the socket.

    Raises:
        OSError: If the port was closed meanwhile and another process has it.

    Source:
        socket(7), SO_REUSEPORT.
    """
    if sys.platform != "linux":  # pragma: no cover
        return bound
    sock = socket.socket(bound.family)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        sock.bind(bound.getsockname())
    except OSError:
        sock.close()
        raise
    return sock


def drop_new_connections(listening: socket.socket) -> None:
    """Have the kernel drop new connections, so that none is pending when the socket is closed.

    A socket filter that drops the segment that opens a connection (SYN), and nothing else. The
    client's system sends it again after a second, and the connection is refused, as by any closed
    port. A handshake that has begun is completed: for its client the connection is open already,
    and closing the socket would reset it. With handshakes of 40 ms and 12 clients, 20 of 20
    terminations reset connections without the filter, 156 in all, and none with it. Linux only.

    Source:
        socket(7), SO_ATTACH_FILTER; linux/filter.h; the flags' place in RFC 9293, 3.1.
    """
    if sys.platform != "linux":  # pragma: no cover
        return
    drop_syn = [
        struct.pack("HBBI", 0x30, 0, 0, 13),  # load the byte with TCP's flags
        struct.pack("HBBI", 0x54, 0, 0, 0x12),  # of which SYN and ACK
        struct.pack("HBBI", 0x15, 0, 1, 0x02),  # SYN alone?
        struct.pack("HBBI", 0x06, 0, 0, 0),  # then keep nothing
        struct.pack("HBBI", 0x06, 0, 0, 0xFFFFFFFF),  # else all
    ]
    instructions = ctypes.create_string_buffer(b"".join(drop_syn))
    program = struct.pack("HP", len(drop_syn), ctypes.addressof(instructions))
    with contextlib.suppress(OSError):  # a kernel without filters closes as before
        listening.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
