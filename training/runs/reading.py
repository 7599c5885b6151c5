"""Read the records and weights that runs left, also those of earlier versions."""

import json
import zipfile
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from model.validation import first_fault, read_leniently
from model.weights.file import UNREADABLE
from training.runs.folder import RunFolder
from training.runs.record import CheckpointError, OtherVersionError, RunRecord
from training.runs.schema import SCHEMA_VERSION, with_present_names

RECORD_KEY = "run"
"""Of the record within a checkpoint."""
NETWORK_PREFIX = "network."
"""Of the network's weights within a checkpoint."""
ESSENTIAL = frozenset({"architecture", "labels", "preprocessing"})
"""Fields of a record that decide what the network computes."""


def read_record(run: Path) -> RunRecord:
    """Read the record of a run folder, whether the run is finished or not.

    Raises:
        CheckpointError: If there is none, or it cannot be read.
        OtherVersionError: If another version wrote it.
    """
    folder = RunFolder(run)
    if not folder.record.is_file():  # older runs have it only in their checkpoints
        return read_checkpoint(folder.last)[0]
    try:
        return _parse_record(folder.record.read_bytes(), folder.record)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.record} is not a valid record of a run.") from error


def read_checkpoint(path: Path) -> tuple[RunRecord, dict[str, torch.Tensor]]:
    """Read the record and the network's weights of a checkpoint, or of a run's best one.

    Args:
        path: A `.ckpt` file, or a run folder.

    Raises:
        CheckpointError: If the file is missing, broken, or not written by `train-model`.
        OtherVersionError: If another version of `train-model` wrote it.
    """
    if path.is_dir():
        path = RunFolder(path).best
    content = _load(path)
    try:
        record = _parse_record(content[RECORD_KEY], path)
        weights = dict(content["state_dict"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} has no record of a run; only checkpoints of `train-model` have one."
        ) from error
    network = {
        name.removeprefix(NETWORK_PREFIX): weight
        for name, weight in weights.items()
        if isinstance(name, str) and name.startswith(NETWORK_PREFIX)
    }
    return record, network


def _parse_record(content: str | bytes, path: Path) -> RunRecord:
    """Read a record from its JSON; one of an earlier version as far as it goes.

    Raises:
        OtherVersionError: If it is a run's, but this version cannot tell what it trained.
        ValueError: If it is no run's.
    """
    try:
        record, passed_over = read_leniently(RunRecord, with_present_names(content), ESSENTIAL)
    except ValidationError as error:
        where, _, rule = first_fault(error)
        if where in ("", "recipe"):  # no JSON, or nothing about a run
            raise
        raise _other_version(path, f"`{where}`: {rule}", content) from error
    if record.schema_version > SCHEMA_VERSION:
        newer = f"schema_version {record.schema_version}; this one reads up to {SCHEMA_VERSION}"
        raise _other_version(path, newer, content)
    if passed_over and record.schema_version == SCHEMA_VERSION:
        raise _other_version(path, f"`{passed_over[0]}` is not a field of it", content)
    return record.with_passed_over(passed_over)


def _other_version(path: Path, why: str, content: str | bytes) -> OtherVersionError:
    return OtherVersionError(
        f"{path} has a run's record of another version ({why}). Use the version that "
        f"wrote it, commit {json.loads(content).get('commit')}."
    )


def _load(path: Path) -> Any:
    """Load a file of `torch.save` without running code that it may hold.

    Only the zip format is accepted: torch reads bare pickles, too.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(
            f"{path} is not a readable checkpoint: it is not a complete zip file."
        )
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} is not a readable checkpoint: {cause}") from error
