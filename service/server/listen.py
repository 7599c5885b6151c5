"""The port: bound before a model is loaded, closed without losing a connection."""

import contextlib
import ctypes
import errno
import os
import socket
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from service.errors import StartError
from service.settings import Settings

_Address = tuple[int, int, int, str, Any]
SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python's socket module does not name it
INHERITED_FD = 3
"""The first descriptor that a service manager such as systemd hands over."""
STREAMS = (socket.AF_INET, socket.AF_INET6, socket.AF_UNIX)


@contextlib.contextmanager
def bind(settings: Settings) -> Iterator[list[socket.socket]]:
    """Bind all sockets, before a model is loaded: that of clients, then that of metrics.

    Raises:
        StartError: If one is in use, or cannot be bound.
    """
    with contextlib.ExitStack() as bound:
        if os.environ.get("LISTEN_PID") == str(os.getpid()):
            sockets = [bound.enter_context(_take_inherited())]
        elif settings.uds is not None:
            sockets = [bound.enter_context(_bind_path(settings.uds))]
        else:
            sockets = [bound.enter_context(_bind_port(settings, settings.port))]
        if settings.metrics_port:
            sockets.append(bound.enter_context(_bind_port(settings, settings.metrics_port)))
        for sock in sockets:
            sock.set_inheritable(True)
        yield sockets


def _take_inherited() -> socket.socket:
    """Take the socket that a service manager hands over.

    Raises:
        StartError: If there are several, or if it is not for connections.

    Source:
        sd_listen_fds(3).
    """
    count = os.environ.get("LISTEN_FDS")
    if count != "1":
        raise StartError(f"LISTEN_FDS (={count!r}) must be 1: pass exactly one socket.")
    why = "it does not listen for connections"
    try:
        sock = socket.socket(fileno=INHERITED_FD)
        if sock.family in STREAMS and is_listening(sock):
            return sock
        sock.close()
    except OSError as error:
        why = error.strerror or str(error)
    raise StartError(f"Descriptor {INHERITED_FD}, of LISTEN_FDS, cannot be used: {why}.")


@contextlib.contextmanager
def _bind_path(path: Path) -> Iterator[socket.socket]:
    """Bind a Unix socket, and remove it afterwards; one that nobody listens on is replaced.

    Raises:
        StartError: If it is in use, or cannot be made.
    """
    with socket.socket(socket.AF_UNIX) as sock:
        try:
            if path.is_socket():
                _remove_unused(path)
            sock.bind(str(path))
            path.chmod(0o666)  # the folder decides who may connect, as with uvicorn and gunicorn
            ours = _identity(path)
        except OSError as error:
            raise StartError(
                f"RESNET_UDS (={str(path)!r}) cannot be used: "
                f"{error.strerror or error}. Choose another path."
            ) from error
        try:
            yield sock
        finally:
            with contextlib.suppress(OSError):
                if _identity(path) == ours:  # another process may have replaced it by its own
                    path.unlink()


def _remove_unused(path: Path) -> None:
    """Remove a socket that its process has left behind.

    Raises:
        OSError: If somebody listens.
    """
    with socket.socket(socket.AF_UNIX) as probe:
        probe.setblocking(False)
        if probe.connect_ex(str(path)) != errno.ECONNREFUSED:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()


def _identity(path: Path) -> tuple[int, int]:
    found = path.stat()
    return found.st_ino, found.st_ctime_ns  # numbers are used again


@contextlib.contextmanager
def reserve_grpc(settings: Settings) -> Iterator[None]:
    """Keep the port of gRPC, if there is one, bound until each process listens on it by itself.

    Raises:
        StartError: If it is in use, or cannot be bound.
    """
    if not settings.grpc_port:
        yield
        return
    with _bind_port(settings, settings.grpc_port):
        yield


def _bind_port(settings: Settings, port: int) -> socket.socket:
    """Bind a port, so that a port in use is reported before a model is loaded.

    Raises:
        StartError: If it is in use, or may not be bound.
    """
    try:
        family, kind, _, _, where = _resolve(settings.host, port)
        sock = socket.socket(family, kind)
    except (OSError, UnicodeError) as error:
        raise StartError(
            f"RESNET_HOST (={settings.host!r}) is not known: {_why(error)}. Set an "
            "address of this machine with RESNET_HOST or --host, such as 127.0.0.1 or "
            "::1, or 0.0.0.0 or :: for all."
        ) from error
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(where)
    except OSError as error:
        sock.close()
        if error.errno == errno.EADDRNOTAVAIL:
            raise StartError(
                f"RESNET_HOST (={settings.host!r}) is not an address of this machine. "
                "Choose another with RESNET_HOST or --host; 0.0.0.0 or :: for all."
            ) from error
        settings_by_port = {
            settings.grpc_port: "RESNET_GRPC_PORT",
            settings.metrics_port: "RESNET_METRICS_PORT",
            settings.port: "RESNET_PORT or --port",
        }
        raise StartError(
            f"Port {port} of {settings.host} cannot be used: {error.strerror}. Choose "
            f"another with {settings_by_port[port]}."
        ) from error
    return sock


def _resolve(host: str, port: int) -> _Address:
    """Resolve a host; of several addresses, prefer an IPv4 one."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    return min(found, key=lambda each: each[0] != socket.AF_INET)


def _why(error: Exception) -> str:
    return getattr(error, "strerror", None) or "it is not a valid host name"


def is_listening(sock: socket.socket) -> bool:
    """Tell whether connections are accepted already, here or in another process."""
    return bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN))


def address(sock: socket.socket) -> str:
    """Return the address of a socket as in a URL."""
    if sock.family == socket.AF_UNIX:
        return f"unix:{sock.getsockname()}"
    host, port, *_ = sock.getsockname()
    return f"[{host}]:{port}" if sock.family == socket.AF_INET6 else f"{host}:{port}"


def bind_reuseport(bound: socket.socket) -> socket.socket:
    """Give a worker a socket of its own on a port that is bound already.

    The kernel then distributes new connections at random. From a shared socket, the worker that
    wakes first takes them: of 16 lasting connections one of two workers had all in two tries of six
    (docs/decisions/0008). Only Linux distributes them; elsewhere all workers share the socket, as
    they do one of a Unix path or one that a service manager handed over.

    Raises:
        OSError: If the port was closed meanwhile and another process has it.

    Source:
        socket(7), SO_REUSEPORT.
    """
    if sys.platform != "linux" or bound.family == socket.AF_UNIX or is_listening(bound):
        return bound.dup()
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
    Nobody can connect to a Unix socket whose path is removed.

    Source:
        socket(7), SO_ATTACH_FILTER; linux/filter.h; the flags' place in RFC 9293, 3.1.
    """
    if listening.family == socket.AF_UNIX:
        Path(listening.getsockname()).unlink(missing_ok=True)
    if sys.platform != "linux" or listening.family == socket.AF_UNIX:
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
