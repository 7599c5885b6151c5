"""Where in its epoch a resumed run is.

Lightning knows, but has no public way to ask. These attributes of its loop are the only ones
that are not public here; pyproject.toml has an upper bound for Lightning because of them.
"""

from pytorch_lightning import Trainer
from pytorch_lightning.loops.fit_loop import _FitLoop

for _attribute in ("batch_idx", "restarted_mid_epoch"):
    if not hasattr(_FitLoop, _attribute):
        raise ImportError(f"This version of pytorch-lightning has no `_FitLoop.{_attribute}`.")


def resumed_within_epoch(trainer: Trainer) -> bool:
    """Whether the run goes on from a checkpoint that was written within an epoch."""
    return bool(trainer.fit_loop.restarted_mid_epoch)


def steps_done(trainer: Trainer) -> int:
    """Count the steps of the epoch that were done before the checkpoint."""
    return int(trainer.fit_loop.batch_idx) + 1
