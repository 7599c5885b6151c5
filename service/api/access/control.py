"""Access control: decide by a request's head whether its key allows it.

`service.api.middleware` asks before anything else, for every path. Only `/livez` and `/readyz`, and
what `RESNET_PUBLIC_ROUTES` names, need no key.
"""

import re
from collections.abc import Collection

from starlette.types import Scope

from service.api.access.keys import ApiKey, KeyRing, KeyScope
from service.errors import ForbiddenError, UnauthorizedError
from service.fault import FAULT

HEALTH = frozenset({"/livez", "/readyz"})
METRICS = "/metrics"
PAGE = frozenset({"/", "/docs"})
ASSETS = "/static/"
KEY_HEADER = b"x-api-key"
MAX_KEY_BYTES = 1024
REPOSITORY = "/v2/repository/"
_LOAD = re.compile(REPOSITORY + r"models/[^/]+/(load|unload)/*")
_BEARER = re.compile(rb"bearer +(\S+) *", re.IGNORECASE)
_HOW = "Send it as `Authorization: Bearer <key>` or `X-API-Key: <key>`"


class AccessControl:
    """Finds the key of a request, and compares its scopes with what the path needs.

    Args:
        keys: All that are valid.
        public: Of `metrics` and `page`, what needs no key.
    """

    def __init__(self, keys: KeyRing, public: Collection[str] = ()) -> None:
        self.keys = keys
        self._has_public_page = "page" in public
        self._public = HEALTH | (PAGE if self._has_public_page else frozenset())
        if "metrics" in public:
            self._public |= {METRICS}

    def check(self, scope: Scope, path: str) -> ApiKey | None:
        """Find the key of a request; None if the path needs none.

        Args:
            scope: ASGI's.
            path: Without the prefix of the application.

        Raises:
            UnauthorizedError: If there is no key, or no valid one.
            ForbiddenError: If the key lacks the scope.
        """
        if path in self._public or (self._has_public_page and path.startswith(ASSETS)):
            return None
        key = self.keys.find(_read_key(scope))
        if key is None:
            raise UnauthorizedError(f"The key is not valid. {_HOW}.", is_invalid=True)
        needed = needed_scopes(scope["method"], path)
        if key.scopes.isdisjoint(needed):
            raise ForbiddenError(needed[0], key.name)
        return key


def needed_scopes(method: str, path: str) -> tuple[KeyScope, ...]:
    """Tell which scopes allow a request, one of which is enough; the usual one first."""
    if path.startswith(REPOSITORY):
        return ("admin",) if _LOAD.fullmatch(path) else ("read", "admin")
    return ("read",) if method in {"GET", "HEAD", "OPTIONS"} else ("predict",)


def _read_key(scope: Scope) -> bytes:
    """Read the only key of a request.

    Raises:
        UnauthorizedError: If there is none, or more than one, or it is malformed.
    """
    found = []
    for name, value in scope["headers"]:
        if name == KEY_HEADER:
            found.append(value)
        elif name == b"authorization":
            match = _BEARER.fullmatch(value) if len(value) <= 2 * MAX_KEY_BYTES else None
            found.append(match[1] if match else b"")
    if not found and FAULT in scope:
        raise UnauthorizedError(f"This service needs a key, and found none. {scope[FAULT].text}")
    if not found:
        raise UnauthorizedError(f"This service needs a key. {_HOW}.")
    if len(found) > 1:
        raise UnauthorizedError(f"There is more than one key. {_HOW}, once.", is_invalid=True)
    if not 0 < len(found[0]) <= MAX_KEY_BYTES:
        raise UnauthorizedError(f"The key is not valid. {_HOW}.", is_invalid=True)
    return bytes(found[0])
