"""Write an artifact: all of it under its name, or nothing."""

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from model.artifact.card import card
from model.artifact.durable import move_into_place, write_synced
from model.artifact.files import MANIFEST
from model.artifact.folder import Artifact, ArtifactError, ArtifactExistsError, read
from model.artifact.manifest import Manifest, Precision

CARD = "README.md"


def write(
    folder: Path, manifest: Manifest, models: Mapping[Precision, bytes], *, overwrite: bool = False
) -> Artifact:
    """Write an artifact, and read it back.

    The files go to a temporary folder beside the target, are synced, and the folder is
    renamed to the target.

    Args:
        folder: `<name>/<version>/`, not there yet.
        manifest: Lists the models with their digests.
        models: The ONNX files.
        overwrite: Replace an artifact that is there.

    Raises:
        ArtifactExistsError: If the folder is there already, and `overwrite` is off.
        ArtifactError: If the files do not fit the manifest, or cannot be written.
    """
    check_free(folder, overwrite=overwrite)
    if set(models) != set(manifest.files):
        raise ArtifactError(
            f"{folder}: the manifest lists {', '.join(manifest.files)}; "
            f"the models given are {', '.join(models) or 'none'}."
        )
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for precision, content in models.items():
                write_synced(temporary / manifest.files[precision].path, content)
            write_synced(temporary / CARD, card(manifest).encode())
            write_synced(temporary / MANIFEST, manifest.model_dump_json(indent=1).encode() + b"\n")
            read(temporary)
            temporary.chmod(0o755)  # mkdtemp's 0700 would hide it from a server's own user
            move_into_place(temporary, folder)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
    except OSError as error:
        raise ArtifactError(f"{folder} cannot be written: {error.strerror}.") from error
    return Artifact(folder, manifest)


def check_free(folder: Path, *, overwrite: bool = False) -> None:
    """Check early that `write` may write to a folder.

    Raises:
        ArtifactExistsError: If something is there already, and `overwrite` is off.
    """
    if folder.exists() and not overwrite:
        raise ArtifactExistsError(
            f"{folder} already exists; choose the next version, or add --overwrite."
        )
