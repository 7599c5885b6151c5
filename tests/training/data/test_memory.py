"""How much memory images may take, and from when on they are streamed."""

from pathlib import Path

import pytest

from model.preprocessing import Preprocessing
from training.data import memory

SPEC = Preprocessing(resize=10, crop=10, channels=1, mean=(0.0,), std=(1.0,))


@pytest.mark.parametrize(
    ("limit", "processes", "fits"),
    [("max\n", 1, True), ("40000\n", 1, True), ("39999\n", 1, False), ("40000\n", 2, False)],
)
def test_a_quarter_of_a_containers_memory_is_shared_by_its_processes(
    limit: str, processes: int, fits: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "memory.max").write_text(limit)
    monkeypatch.setattr(memory, "CGROUP_LIMIT", tmp_path / "memory.max")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", str(processes))

    assert memory.fit_in_memory(100, SPEC) is fits


def test_very_many_files_are_streamed_however_small_they_are() -> None:
    assert memory.fit_in_memory(100_000, SPEC)
    assert not memory.fit_in_memory(100_001, SPEC)
