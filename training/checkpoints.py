"""How checkpoints reach the disk: whole, or not at all.

Lightning's own writer fills a file in the system's temporary folder and moves it, which is
a copy where that is another disk, and syncs nothing: a crash could leave half a checkpoint.
"""

import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.plugins.io import TorchCheckpointIO

from model.durable import sync_folder


class WriteError(Exception):
    """A checkpoint could not be written; the message says why. The one before is whole."""


class DurableCheckpoints(TorchCheckpointIO):
    """Writes beside the target, syncs, renames: the old file stays until the new one is whole."""

    def save_checkpoint(
        self,
        checkpoint: dict[str, Any],
        path: str | os.PathLike[str],
        storage_options: Any | None = None,  # noqa: ARG002  # Lightning's signature
    ) -> None:
        """Replace `path` by the checkpoint.

        Raises:
            WriteError: If there is no room for it, or the disk refuses.
        """
        target = Path(path)
        target.parent.mkdir(parents=True, exist_ok=True)
        temporary = target.with_name(f".{target.name}.tmp")
        try:
            with temporary.open("wb") as file:
                torch.save(checkpoint, file)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(target)
        except (OSError, RuntimeError) as error:  # torch's writer wraps what the disk said
            raise WriteError(f"{target} could not be written: {_cause(error)}.") from error
        finally:
            temporary.unlink(missing_ok=True)
        sync_folder(target.parent)


def _cause(error: BaseException) -> str:
    """Find what the system said, under what torch made of it."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return os.strerror(seen.errno) if seen.errno else str(seen)
        seen = seen.__cause__ or seen.__context__
    return str(error).splitlines()[0]
