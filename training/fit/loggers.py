"""Where a run's figures go beside its folder: Lightning's own loggers."""

from typing import Literal

from pytorch_lightning.loggers import (
    CSVLogger,
    Logger,
    MLFlowLogger,
    TensorBoardLogger,
    WandbLogger,
)

from training.errors import TrainingError
from training.runs.folder import RunFolder

LoggerName = Literal["tensorboard", "csv", "wandb", "mlflow"]


def build_logger(name: LoggerName, folder: RunFolder) -> Logger:
    """Build a logger for a run; its files are in the run folder.

    Weights & Biases and MLflow have the run's name, and its parent folder's as the project.
    MLflow's server is that of `MLFLOW_TRACKING_URI`, if it is set.

    Raises:
        TrainingError: If its package is not installed.
    """
    path = folder.path.absolute()
    try:
        if name == "wandb":
            return WandbLogger(path.name, path, project=path.parent.name)
        if name == "mlflow":
            place = str(path / "mlruns")
            return MLFlowLogger(path.parent.name, path.name, save_dir=place)
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"`--logger {name}` needs a package that is not installed: pip install .[{name}]"
        ) from error
    if name == "csv":
        return CSVLogger(folder.path, name="", version="csv")
    return TensorBoardLogger(folder.path, name=None, version="tensorboard", default_hp_metric=False)
