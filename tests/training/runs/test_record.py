"""Checkpoints: read back, refused when foreign, written whole or not at all."""

import json
import pickle
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from training.data.dataset import DatasetError
from training.evaluation.predict import load_network
from training.fit.callbacks.checkpointing import DurableCheckpoints
from training.fit.loop import Outcome
from training.fit.reproduce import reproduce
from training.recipe.recipe import Recipe
from training.runs.dataset import dataset_to_evaluate
from training.runs.environment import commit, now
from training.runs.reading import RECORD_KEY, read_checkpoint, read_record
from training.runs.record import CheckpointError


class _Bomb:
    """Runs code when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, tuple[Path]]:
        return Path.touch, (self.target,)


def _refusal(path: Path, read: Callable[[Path], object] = read_checkpoint) -> str:
    with pytest.raises(CheckpointError) as refused:
        read(path)

    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return str(refused.value)


def test_a_run_folder_stands_for_its_best_checkpoint(trained: Outcome) -> None:
    _, from_folder = read_checkpoint(trained.folder.path)
    _, from_file = read_checkpoint(trained.folder.best)

    assert all(torch.equal(from_folder[name], from_file[name]) for name in from_file)


@pytest.mark.parametrize("images", [0, 2_500])
def test_a_run_of_an_earlier_version_keeps_its_validation_split_whole(
    trained: Outcome, monkeypatch: pytest.MonkeyPatch, images: int
) -> None:
    asked: list[bool] = []

    def read(*_: object, calibrate: bool, **__: object) -> None:
        asked.append(calibrate)
        raise DatasetError("that is all")

    monkeypatch.setattr("training.runs.dataset.read_dataset", read)
    monkeypatch.setattr("training.fit.reproduce.read_dataset", read)
    record = read_record(trained.folder.path)
    assert record.calibration_images == 0  # as in records that do not have the field
    record = record.model_copy(update={"calibration_images": images})
    monkeypatch.setattr("training.fit.reproduce.read_record", lambda _: record)

    with pytest.raises(DatasetError):
        dataset_to_evaluate(record, None, trained.folder.path)
    with pytest.raises(DatasetError):
        reproduce(trained.folder.path, trained.folder.path)

    assert asked == [images > 0] * 2


def test_a_missing_checkpoint_is_named(tmp_path: Path) -> None:
    assert _refusal(tmp_path / "best.ckpt").startswith("There is no checkpoint at")
    with pytest.raises(CheckpointError, match=r"no checkpoint at .*checkpoints/best.ckpt"):
        read_checkpoint(tmp_path)


def test_code_in_a_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    target, path = tmp_path / "was-here", tmp_path / "evil.ckpt"
    torch.save({"state_dict": _Bomb(target), RECORD_KEY: "{}"}, path)

    assert "is not a readable checkpoint" in _refusal(path)
    assert not target.exists()


def test_code_in_a_plain_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    target, path = tmp_path / "was-here", tmp_path / "evil.ckpt"
    path.write_bytes(pickle.dumps(_Bomb(target)))

    assert "is not a readable checkpoint" in _refusal(path)
    assert not target.exists()


@pytest.mark.parametrize(
    "content",
    [
        {"state_dict": {}},
        {"state_dict": {}, RECORD_KEY: "{}"},
        {"state_dict": {}, RECORD_KEY: "no json"},
        {"state_dict": {}, RECORD_KEY: 5},
        {RECORD_KEY: "{}"},
        {},
        [1, 2],
        torch.zeros(3),
        "text",
        5,
    ],
    ids=str,
)
def test_a_file_of_torch_without_our_record_is_refused(tmp_path: Path, content: object) -> None:
    path = tmp_path / "foreign.ckpt"
    torch.save(content, path)

    assert "has no record of a run" in _refusal(path)


def _write_record(trained: Outcome, folder: Path, change: Mapping[str, Any]) -> None:
    """Write `run.json` and `best.ckpt` with a changed record; nested fields by dotted names."""
    record = json.loads(trained.folder.record.read_text())
    for name, value in {"commit": "7bc23c0a7cb2", **change}.items():
        *parents, last = name.split(".")
        fields = record
        for parent in parents:
            fields = fields[parent]
        fields[last] = value
    (folder / "run.json").write_text(json.dumps(record))
    content = torch.load(trained.folder.best, weights_only=True)
    torch.save({**content, RECORD_KEY: json.dumps(record)}, folder / "best.ckpt")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"recipe.mutual": 0.5}, "`recipe.mutual` is not a field of it"),
        ({"schema_version": 99}, "schema_version 99; this one reads up to 3"),
        ({"schema_version": 99, "recipe.mutual": 0.5}, "schema_version 99"),
        ({"schema_version": 1, "recipe.epochs": "many"}, "`recipe.epochs`: Field required"),
        ({"schema_version": 1, "architecture.blur": True}, "`architecture.blur`: Extra inputs"),
        ({"schema_version": 1, "preprocessing.pad": 3}, "`preprocessing.pad`: Extra inputs"),
    ],
)
def test_a_record_that_this_version_cannot_read_is_called_another_versions(
    trained: Outcome, tmp_path: Path, change: Mapping[str, Any], why: str
) -> None:
    _write_record(trained, tmp_path, change)

    for refusal in (_refusal(tmp_path / "best.ckpt"), _refusal(tmp_path, read_record)):
        assert f"a run's record of another version ({why}" in refusal
        assert refusal.endswith("Use the version that wrote it, commit 7bc23c0a7cb2.")


def test_a_record_of_an_earlier_version_is_read_as_far_as_it_goes(
    trained: Outcome, tmp_path: Path
) -> None:
    change = {"schema_version": 1, "recipe.mutual": 0.5, "recipe.momentum": 7, "host": "there"}
    _write_record(trained, tmp_path, change)

    for record in (read_checkpoint(tmp_path / "best.ckpt")[0], read_record(tmp_path)):
        (note,) = record.notes(tmp_path)
        assert sorted(note.partition("ignored fields: ")[2].split(", ")) == [
            "host",
            "recipe.momentum",
            "recipe.mutual",
        ]
        assert record.recipe.momentum == Recipe.model_fields["momentum"].default
        with pytest.raises(CheckpointError, match=r"trained with .*recipe\.mutual.* commit 7bc23c"):
            record.check_recipe_is_whole(tmp_path)


def test_a_record_without_a_number_is_the_first_versions(trained: Outcome, tmp_path: Path) -> None:
    record = json.loads(trained.folder.record.read_text())
    assert record.pop("schema_version") == 3
    (tmp_path / "run.json").write_text(json.dumps(record))

    read = read_record(tmp_path)

    assert read.schema_version == 1
    assert read.notes(tmp_path) == []
    read.check_recipe_is_whole(tmp_path)


@pytest.mark.parametrize("weights", [None, [1], {"network.fc.weight": 5}, {3: torch.zeros(1)}])
def test_a_record_beside_something_that_is_no_weights_is_refused(
    trained: Outcome, tmp_path: Path, weights: object
) -> None:
    content = torch.load(trained.folder.best, weights_only=True)
    path = tmp_path / "spoiled.ckpt"
    torch.save({**content, "state_dict": weights}, path)

    with pytest.raises(CheckpointError) as refused:
        load_network(path)

    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("change", ["missing", "reshaped"])
def test_weights_that_are_not_the_networks_are_refused_in_one_line(
    trained: Outcome, tmp_path: Path, change: str
) -> None:
    content = torch.load(trained.folder.best, weights_only=True)
    path = tmp_path / "spoiled.ckpt"
    if change == "missing":
        del content["state_dict"]["network.fc.weight"]
    else:
        content["state_dict"]["network.fc.weight"] = torch.zeros(2, 2)
    torch.save(content, path)

    with pytest.raises(CheckpointError, match=r"fc\.weight") as refused:
        load_network(path)

    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)


@pytest.mark.parametrize("kept", [0, 1, 100, 5_000, -1])
def test_a_truncated_checkpoint_is_refused(trained: Outcome, tmp_path: Path, kept: int) -> None:
    path = tmp_path / "cut.ckpt"
    path.write_bytes(trained.folder.best.read_bytes()[:kept])

    assert "is not a readable checkpoint" in _refusal(path)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=200))
def test_random_bytes_are_refused_in_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "random.ckpt"
    path.write_bytes(content)

    assert _refusal(path)


def test_a_checkpoint_that_cannot_be_written_leaves_the_one_before(tmp_path: Path) -> None:
    path = tmp_path / "checkpoints" / "last.ckpt"
    writer = DurableCheckpoints()
    writer.save_checkpoint({"epoch": 1}, path)

    with pytest.raises(TypeError, match="pickle"):
        writer.save_checkpoint({"weights": torch.zeros(1_000), "lock": _unpicklable()}, path)

    assert torch.load(path, weights_only=True) == {"epoch": 1}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]


def _unpicklable() -> object:
    return (number for number in range(3))


def test_a_checkpoint_does_not_pass_through_the_systems_temporary_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "nowhere"))
    path = tmp_path / "last.ckpt"

    DurableCheckpoints().save_checkpoint({"epoch": 2}, path)

    assert torch.load(path, weights_only=True) == {"epoch": 2}


def test_the_commit_is_named_or_none() -> None:
    name = commit()

    assert name is None or len(name.removesuffix("-dirty")) >= 7


def test_the_time_is_utc_to_the_second() -> None:
    assert now().endswith("+00:00")
    assert len(now()) == len("2026-01-01T00:00:00+00:00")
