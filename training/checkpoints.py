"""How checkpoints reach the disk: whole, or not at all.

Lightning's own writer fills a file in the system's temporary folder and moves it, which is
a copy where that is another disk, and syncs nothing: a crash could leave half a checkpoint.
"""

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from model.artifact import sync_folder


class DurableCheckpoints(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: the old file stays until the new one is whole."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ARG002  # Lightning's signature
    ) -> None:
        """Replace `path` by the checkpoint."""
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)
