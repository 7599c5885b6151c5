"""What torchrun's variables say of a run's processes."""

import pytest

from training.distributed import Processes, processes

VARIABLES = ("WORLD_SIZE", "RANK", "LOCAL_WORLD_SIZE", "LOCAL_RANK", "GROUP_WORLD_SIZE")


def test_without_torchrun_a_process_is_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)

    assert processes() == Processes(
        by_torchrun=False, world_size=1, rank=0, local_world_size=1, local_rank=0, nodes=1
    )


def test_torchruns_variables_are_read(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in zip(VARIABLES, ("8", "5", "4", "1", "2"), strict=True):
        monkeypatch.setenv(name, value)

    assert processes() == Processes(
        by_torchrun=True, world_size=8, rank=5, local_world_size=4, local_rank=1, nodes=2
    )
