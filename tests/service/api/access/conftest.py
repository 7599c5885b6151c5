"""Keys, and the service that asks for them."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.service.conftest import Serve, Service

KEY, PREDICTS, READS, ADMIN = "0123456789abcdef", "predicts-only", "reads-only", "admin-only"
PNG = {"content-type": "image/png"}
Keyed = Callable[..., Awaitable[Service]]


def bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o600)
    path.write_text(
        f"shop: {KEY}\na: {PREDICTS} predict\nb: {READS} read\nc: {ADMIN} admin\nd: none-of-it read"
    )
    return path


@pytest.fixture
def keyed(serve: Serve, keys: Path) -> Keyed:
    """Serve a hand-made model to those who have a key."""

    async def start(**changes: Any) -> Service:
        return await serve(api_keys_file=keys, **changes)

    return start
