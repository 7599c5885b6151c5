"""What `service.server` uses of uvicorn beyond its documented interface.

uvicorn may rename any of it. It is all checked when `service.server` is imported, so that a missing
hook stops the start, instead of a limit or a disconnect silently having no effect.
"""

from types import FunctionType
from typing import Any

import uvicorn
from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle
from uvicorn.server import Server, ServerState
from uvicorn.supervisors.multiprocess import Multiprocess, Process

SUPPORTED = ">=0.54,<0.55"
"""As in pyproject.toml."""

ATTRIBUTES: dict[type, str] = {
    HttpToolsProtocol: "app_state connections cycle expect_100_continue flow headers loop logger "
    "parser pipeline scope server_state timeout_keep_alive transport connection_made "
    "connection_lost data_received eof_received on_message_begin on_headers_complete on_body "
    "on_message_complete on_response_complete pause_writing resume_writing shutdown "
    "_start_asgi_task",
    RequestResponseCycle: "body disconnected keep_alive message_event more_body response_complete "
    "response_started scope",
    FlowControl: "read_paused resume_reading write_paused",
    ServerState: "connections default_headers tasks total_requests",
    Server: "server_state should_exit started handle_exit on_tick run shutdown startup",
    Multiprocess: "processes processes_num should_exit signal_queue sockets handle_hup handle_ttin "
    "init_processes join_all keep_subprocess_alive terminate_all",
    Process: "child_conn _server exitcode is_alive is_ready join kill pid pong server target",
}
"""Methods, and attributes that the constructor sets."""

USES: dict[tuple[type, str], str] = {
    (HttpToolsProtocol, "on_headers_complete"): "cycle pipeline on_response_complete "
    "_start_asgi_task",
    (HttpToolsProtocol, "on_message_begin"): "headers scope url",
    (HttpToolsProtocol, "on_header"): "expect_100_continue headers",
    (RequestResponseCycle, "run_asgi"): "on_response",
    (RequestResponseCycle, "send"): "on_response disconnected keep_alive response_complete "
    "response_started",
    (RequestResponseCycle, "receive"): "body disconnected message_event more_body",
    (Server, "_serve"): "lifespan main_loop startup shutdown",
    (Server, "main_loop"): "on_tick",
    (Server, "startup"): "http_protocol_class servers",
    (Server, "capture_signals"): "handle_exit",
    (Multiprocess, "run"): "handle_signals init_processes keep_subprocess_alive terminate_all",
    (Process, "always_pong"): "pong",
    (Process, "target"): "always_pong run server",
}
"""What uvicorn's own methods refer to: an override that nothing calls would be missed as well."""


def missing_hooks() -> list[str]:
    """List what the installed uvicorn lacks."""
    missing = [
        f"{owner.__name__}.{name}"
        for owner, names in ATTRIBUTES.items()
        for name in names.split()
        if name not in vars(owner) and name not in _names_in(vars(owner).get("__init__"))
    ]
    missing += [
        f"{name} in {owner.__name__}.{method}"
        for (owner, method), names in USES.items()
        for name in names.split()
        if name not in _names_in(vars(owner).get(method))
    ]
    return missing


def check_hooks() -> None:
    """Check the installed uvicorn.

    Raises:
        RuntimeError: If it lacks anything.
    """
    if missing := missing_hooks():
        raise RuntimeError(
            f"uvicorn {uvicorn.__version__} lacks {', '.join(missing)}, which this service uses. "
            f"Install uvicorn{SUPPORTED}."
        )


def _names_in(function: Any) -> set[str]:
    """Collect what a function refers to: names, attributes, and those of functions within it."""
    function = getattr(function, "__wrapped__", function)
    if not isinstance(function, FunctionType):
        return set()
    codes, names = [function.__code__], set[str]()
    while codes:
        code = codes.pop()
        names |= {*code.co_names}
        codes += [each for each in code.co_consts if isinstance(each, type(code))]
    return names
