"""What a run was: recipe, architecture, data, first weights, versions.

Each checkpoint carries a `RunRecord`, and the run folder has it as `run.json`, so that
evaluation and export need nothing else to rebuild the network, find the data and say where
the weights came from. `training.runs.reading` reads them.
"""

from pathlib import Path
from typing import Self

import torch
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr

from model.architecture.spec import Architecture
from model.preprocessing import Preprocessing
from model.weights.file import describe_file
from training.data.dataset import Dataset
from training.data.splits import as_path, as_text
from training.recipe.recipe import Recipe
from training.runs.environment import Environment, commit, now
from training.runs.schema import SCHEMA_VERSION


class CheckpointError(Exception):
    """A checkpoint cannot be read or does not fit; the message says which and why."""


class OtherVersionError(CheckpointError):
    """There is a run's record, but this version cannot read it."""


class RunRecord(BaseModel):
    """Everything about a run that its weights do not say.

    Attributes:
        schema_version: Of the fields; 1 stands for records without the number.
        dataset_source: Where the data were read from.
        init: File of the first weights; None where they were random.
        weights: Name and digest of that file.
        created: When the run began, in UTC.
        loss_weights: Of each label in the loss; None where all count alike.
        labels_csv: The table that the labels were read from; None where there was none.
        calibration_images: Of the calibration split; 0 where there was none, as in all runs of
            earlier versions, whose validation split chose the epoch and set the thresholds.
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
    labels_csv: str | None = None
    calibration_images: int = Field(0, ge=0)
    _passed_over: tuple[str, ...] = PrivateAttr(())

    def with_passed_over(self, fields: tuple[str, ...]) -> Self:
        """Remember the fields that were passed over when an earlier record was read."""
        record = self.model_copy()
        record._passed_over = fields
        return record

    def notes(self, source: Path) -> list[str]:
        """Name what was passed over in the file or run folder that the record is from."""
        if not self._passed_over:
            return []
        names = ", ".join(self._passed_over)
        return [f"note: an earlier version wrote {source}; ignored fields: {names}"]

    def check_recipe_is_whole(self, source: Path) -> None:
        """Refuse to train with a recipe of which something was passed over.

        Raises:
            OtherVersionError: If fields of it are not known.
        """
        lost = [name for name in self._passed_over if name.startswith("recipe.")]
        if lost:
            raise OtherVersionError(
                f"{source} was trained with {', '.join(lost)}, which this version "
                "does not know. You can evaluate and export it. To resume or "
                f"reproduce it, use the version that wrote it, commit {self.commit}."
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
            loss_weights=balanced_class_weights(dataset) if recipe.class_weights else None,
            labels_csv=dataset.labels_csv and as_text(Path(dataset.labels_csv).absolute()),
            calibration_images=len(dataset.calibration),
        )

    def essentials(self) -> dict[str, object]:
        """Name what decides the weights, last bits aside: all processes of a run have the same."""
        names = (
            "recipe",
            "labels",
            "dataset_sha256",
            "preprocessing",
            "architecture",
            "seed",
            "weights",
            "loss_weights",
            "torch",
        )
        return {name: getattr(self, name) for name in names}

    @property
    def table(self) -> Path | None:
        """Where the table of its labels was, if it had one."""
        return None if self.labels_csv is None else as_path(self.labels_csv)

    def is_table(self, labels_csv: Path) -> bool:
        """Whether a table of labels is the run's own."""
        return self.table is not None and self.table.resolve() == labels_csv.resolve()

    def differences(self) -> list[str]:
        """List what has changed since: the same run may then differ in its last bits."""
        found = [] if self.environment is None else self.environment.differences()
        if self.commit != commit():
            found.append(f"the commit was {self.commit} and is now {commit()}")
        return [f"note: {difference}" for difference in found]


def balanced_class_weights(dataset: Dataset) -> tuple[float, ...]:
    """Weigh each label so that all count alike: N / (K * images), and 0 where there is none."""
    labels = len(dataset.labels)
    counts = dataset.train.targets.bincount(minlength=labels).tolist()
    return tuple(len(dataset.train) / (labels * count) if count else 0.0 for count in counts)
