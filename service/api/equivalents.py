"""Requests that are answered like others: HEAD like GET, and a path with a trailing slash.

For all routes. `service.api.middleware` passes only such requests through here.
"""

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Equivalents:
    """ASGI middleware around the routes.

    Args:
        app: The routes.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Call the routes without the slash, or with GET; a response to HEAD has no body."""
        path: str = scope.get("path", "")
        bare = path.rstrip("/")
        if bare not in {path, scope.get("root_path", "")}:
            scope["path"] = bare  # not redirected: a proxy may have another host, scheme or prefix
        if scope.get("method") != "HEAD":
            await self._app(scope, receive, send)
            return

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        asked = {**scope, "method": "GET"}
        try:
            await self._app(asked, receive, send_head)
        finally:
            if "route" in asked:
                scope["route"] = asked["route"]
