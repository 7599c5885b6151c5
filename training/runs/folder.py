"""Where each file of a run is."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True)
class RunFolder:
    """The files of a run."""

    path: Path

    @classmethod
    def of(cls, checkpoint: Path) -> Self:
        """Find the run folder of a checkpoint; the folder itself will do."""
        return cls(checkpoint if checkpoint.is_dir() else checkpoint.parent.parent)

    @property
    def checkpoints(self) -> Path:
        """Folder of `best.ckpt` and `last.ckpt`."""
        return self.path / "checkpoints"

    @property
    def best(self) -> Path:
        """Weights of the best epoch on the validation split."""
        return self.checkpoints / "best.ckpt"

    @property
    def last(self) -> Path:
        """Weights, optimiser state and position, after the last epoch or within a later one."""
        return self.checkpoints / "last.ckpt"

    @property
    def recipe(self) -> Path:
        """The hyper-parameters, as JSON."""
        return self.path / "recipe.json"

    @property
    def first_weights(self) -> Path:
        """What became of each tensor of the first weights, where there were some."""
        return self.path / "first-weights.txt"

    @property
    def bad_batch(self) -> Path:
        """The batch whose loss was not finite, where there was one."""
        return self.path / "bad-batch.pt"

    @property
    def record(self) -> Path:
        """All that is needed to reproduce the run: its `RunRecord`, as JSON."""
        return self.path / "run.json"

    @property
    def splits(self) -> Path:
        """Which file is in which split, as JSON."""
        return self.path / "splits.json"

    @property
    def summary(self) -> Path:
        """The data report made before the first step, as JSON."""
        return self.path / "summary.json"

    @property
    def outliers(self) -> Path:
        """Images worth a look, as CSV, where there are some."""
        return self.path / "outliers.csv"

    @property
    def samples(self) -> Path:
        """Some images of each label, augmented."""
        return self.path / "samples.png"

    @property
    def metrics(self) -> Path:
        """Loss and accuracy per epoch, as CSV."""
        return self.path / "metrics.csv"

    @property
    def curves(self) -> Path:
        """The same as a figure."""
        return self.path / "curves.png"
