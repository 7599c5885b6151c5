"""Exports in tests compare speeds for a moment only: no test reads what comes out."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def _short_blocks() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("training.export.latency.BLOCK_S", 0.001)
        yield
