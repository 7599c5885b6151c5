"""What a run leaves behind: its folder, and the record inside each checkpoint.

A checkpoint carries a `RunRecord`, so that evaluation and export need nothing else to
rebuild the network, find the data and say where the weights came from.
"""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, ValidationError

from model.architecture.spec import Architecture
from model.preprocessing import Preprocessing
from model.validation import first_fault, read_leniently
from model.weights.file import UNREADABLE, describe_file
from training.data.dataset import Dataset
from training.data.splits import as_text
from training.recipe.recipe import Recipe
from training.runs.environment import Environment, commit, now

RECORD_KEY = "run"
NETWORK_PREFIX = "network."
SCHEMA_VERSION = 2
"""Of the records that this version writes: one more with each field that is renamed or dropped."""
ESSENTIAL = frozenset({"architecture", "labels", "preprocessing"})
"""Fields of a record that decide what the network computes."""


class CheckpointError(Exception):
    """A checkpoint cannot be read or does not fit; the message says which and why."""


class OtherVersionError(CheckpointError):
    """There is a run's record, but not one that this version understands."""


class RunRecord(BaseModel):
    """Everything that the weights do not say themselves.

    Attributes:
        schema_version: Of the fields; 1 stands for records without the number.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_version: int = Field(1, ge=1)
    recipe: Recipe
    architecture: Architecture
    labels: tuple[str, ...]
    preprocessing: Preprocessing
    dataset: str
    dataset_source: str
    dataset_sha256: str
    seed: int
    init: str | None = None
    weights: str | None = None
    torch: str
    commit: str | None
    created: str
    environment: Environment | None = None
    loss_weights: tuple[float, ...] | None = None
    _passed_over: tuple[str, ...] = PrivateAttr(())

    def notes(self, source: Path) -> list[str]:
        """Name what was passed over in the file or run folder that the record is from."""
        if not self._passed_over:
            return []
        names = ", ".join(self._passed_over)
        return [f"note: an earlier version wrote {source}; passed over: {names}"]

    def check_recipe_is_whole(self, source: Path) -> None:
        """Refuse to train by a recipe of which something was passed over.

        Raises:
            OtherVersionError: If it would be another run.
        """
        lost = [name for name in self._passed_over if name.startswith("recipe.")]
        if lost:
            raise OtherVersionError(
                f"{source} was trained with {', '.join(lost)}, which this version does not know. "
                "It can be evaluated and exported; to train on or to repeat it, take the version "
                f"that wrote it, commit {self.commit}."
            )

    @classmethod
    def of(
        cls,
        dataset: Dataset,
        recipe: Recipe,
        architecture: Architecture,
        seed: int,
        init: Path | None = None,
    ) -> Self:
        """Describe a run that is about to start.

        Raises:
            WeightsError: If the file `init` cannot be read.
        """
        return cls(
            schema_version=SCHEMA_VERSION,
            recipe=recipe,
            architecture=architecture,
            labels=dataset.labels,
            preprocessing=dataset.preprocessing,
            dataset=dataset.name,
            dataset_source=as_text(Path(dataset.source).absolute()),
            dataset_sha256=dataset.sha256,
            seed=seed,
            init=None if init is None else str(init.absolute()),
            weights=None if init is None else describe_file(init),
            torch=torch.__version__,
            commit=commit(),
            created=now(),
            environment=Environment.present(),
            loss_weights=balance(dataset) if recipe.class_weights else None,
        )

    def differences(self) -> list[str]:
        """Tell what is not as it was: another run of it may then differ in its last bits."""
        found = [] if self.environment is None else self.environment.differences()
        if self.commit != commit():
            found.append(f"the commit was {self.commit} and is {commit()}")
        return [f"note: {difference}" for difference in found]


def balance(dataset: Dataset) -> tuple[float, ...]:
    """Weigh each label so that all count alike: N / (K * pictures), and 0 where there is none."""
    labels = len(dataset.labels)
    counts = dataset.train.targets.bincount(minlength=labels).tolist()
    return tuple(len(dataset.train) / (labels * count) if count else 0.0 for count in counts)


@dataclass(frozen=True)
class RunFolder:
    """Where each file of a run lies."""

    path: Path

    @classmethod
    def of(cls, checkpoint: Path) -> Self:
        """Find the folder of a checkpoint of it; the folder itself will do."""
        return cls(checkpoint if checkpoint.is_dir() else checkpoint.parent.parent)

    @property
    def checkpoints(self) -> Path:
        """Folder of `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Weights of the epoch that did best on the validation split."""
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        """Weights, optimiser state and place: after the last epoch, or newer, within one."""
        return self.checkpoints / "last.ckpt"

    @property
    def recipe(self) -> Path:
        """The hyper-parameters, as JSON."""
        return self.path / "recipe.json"

    @property
    def bad_batch(self) -> Path:
        """The batch whose loss was not finite, where there was one."""
        return self.path / "bad-batch.pt"

    @property
    def record(self) -> Path:
        """All that is needed to repeat the run: its `RunRecord`, as JSON."""
        return self.path / "run.json"

    @property
    def splits(self) -> Path:
        """Which file is in which split, as JSON."""
        return self.path / "splits.json"

    @property
    def summary(self) -> Path:
        """What was known before the first step, as JSON."""
        return self.path / "summary.json"

    @property
    def samples(self) -> Path:
        """Some pictures of each label, as the network sees them."""
        return self.path / "samples.png"

    @property
    def metrics(self) -> Path:
        """Loss and accuracy per epoch, as CSV."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The same as a figure."""
        return self.path / "curves.png"


def read_record(run: Path) -> RunRecord:
    """Read what a run folder tells about its run, finished or not.

    Raises:
        CheckpointError: If it tells nothing, or nothing that can be read.
        OtherVersionError: If another version wrote it.
    """
    folder = RunFolder(run)
    if not folder.record.is_file():  # runs before there was such a file
        return read_checkpoint(folder.last)[0]
    try:
        return _record(folder.record.read_bytes(), folder.record)
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder.record} cannot be read as a run's record.") from error


def read_checkpoint(path: Path) -> tuple[RunRecord, dict[str, torch.Tensor]]:
    """Read the record and the network's weights of a checkpoint, or of a run's best one.

    Args:
        path: A `.ckpt` file, or a run folder.

    Raises:
        CheckpointError: If the file is missing, broken, or not written by `train-model`.
        OtherVersionError: If it was, by another version of it.
    """
    if path.is_dir():
        path = RunFolder(path).best
    content = _load(path)
    try:
        record = _record(content[RECORD_KEY], path)
        weights = dict(content["state_dict"])
    except (LookupError, TypeError, ValueError) as error:
        raise CheckpointError(
            f"{path} holds no record of a run; only checkpoints of `train-model` do."
        ) from error
    network = {
        name.removeprefix(NETWORK_PREFIX): weight
        for name, weight in weights.items()
        if isinstance(name, str) and name.startswith(NETWORK_PREFIX)
    }
    return record, network


def _record(content: str | bytes, path: Path) -> RunRecord:
    """Read a record from its JSON; one of an earlier version as far as it goes.

    Raises:
        OtherVersionError: If it is a run's, but this version cannot tell what it trained.
        ValueError: If it is no run's.
    """
    try:
        record, passed_over = read_leniently(RunRecord, content, ESSENTIAL)
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
    record._passed_over = passed_over
    return record


def _other_version(path: Path, why: str, content: str | bytes) -> OtherVersionError:
    return OtherVersionError(
        f"{path} holds a run's record of another version ({why}); take the one that wrote it, "
        f"commit {json.loads(content).get('commit')}."
    )


def _load(path: Path) -> Any:
    """Unpack a file of `torch.save` without running what it may hold.

    Only the zip format is let through: torch reads bare pickles, too.
    """
    if not path.is_file():
        raise CheckpointError(f"There is no checkpoint at {path}.")
    if not zipfile.is_zipfile(path):
        raise CheckpointError(f"{path} cannot be read as a checkpoint: it is no whole zip file.")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        cause = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(f"{path} cannot be read as a checkpoint: {cause}") from error
