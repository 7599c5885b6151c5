"""What Lightning knows and has no public way to ask: the one file that reads its private names.

Their presence is checked at import; pyproject.toml has an upper bound for Lightning because of
them.
"""

from pytorch_lightning import Trainer
from pytorch_lightning.callbacks import WeightAveraging
from pytorch_lightning.loops.fit_loop import _FitLoop
from torch.optim.swa_utils import AveragedModel

for _owner, _attribute in (
    (_FitLoop, "batch_idx"),
    (_FitLoop, "restarted_mid_epoch"),
    (WeightAveraging(), "_average_model"),
):
    if not hasattr(_owner, _attribute):
        _class = _owner.__name__ if isinstance(_owner, type) else type(_owner).__name__
        raise ImportError(f"This version of pytorch-lightning has no `{_class}.{_attribute}`.")


def resumed_within_epoch(trainer: Trainer) -> bool:
    """Whether the run goes on from a checkpoint that was written within an epoch."""
    return bool(trainer.fit_loop.restarted_mid_epoch)


def steps_done(trainer: Trainer) -> int:
    """Count the steps of the epoch that were done before the checkpoint."""
    return int(trainer.fit_loop.batch_idx) + 1


def averaged_model(averaging: WeightAveraging) -> AveragedModel | None:
    """Return the average of the weights; None before `setup`, and outside of training."""
    return averaging._average_model
