"""The artifact: all that passes from training to serving.

A folder `<name>/<version>/` with `manifest.json` and one ONNX file for each precision,
in the layout of a Triton model repository. The exporter writes all of it or nothing.
The server checks every file that it reads.

Errors:
    ArtifactError
    ├── ManifestError        manifest.json is missing, not JSON, or breaks a rule
    ├── FileMissingError     a file that the manifest lists is not there
    ├── FileDamagedError     a file's length or SHA-256 is not the manifest's
    ├── ExternalDataError    a model keeps numbers outside its file
    ├── ControlFlowError     a model has loops or branches
    └── ArtifactExistsError  the target folder exists already
"""

import hashlib
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from model.artifact.card import card
from model.artifact.durable import move_into_place, write_synced
from model.artifact.files import (
    MANIFEST,
    holds_artifact,
    read_manifest_bytes,
    read_of_length,
    versions,
)
from model.artifact.golden import unpack
from model.artifact.manifest import NEWEST_SCHEMA, Manifest, Precision
from model.artifact.misplaced import advice
from model.artifact.onnx_file import OnnxFormatError, inspect
from model.preprocessing import Pixels
from model.validation import first_fault

CARD = "README.md"


class ArtifactError(Exception):
    """An artifact cannot be read or written; the message is one line that says why."""


class ManifestError(ArtifactError):
    """The manifest is missing, is not JSON, or breaks a rule."""


class FileMissingError(ArtifactError):
    """A file that the manifest lists is not there."""


class FileDamagedError(ArtifactError):
    """A file's length or SHA-256 is not the manifest's."""


class ExternalDataError(ArtifactError):
    """A model keeps numbers outside its file."""


class ControlFlowError(ArtifactError):
    """A model has loops or branches."""


class ArtifactExistsError(ArtifactError):
    """The target folder exists already."""


@dataclass(frozen=True)
class Artifact:
    """A folder whose manifest was read and whose files were checked."""

    folder: Path
    manifest: Manifest

    def model(self, precision: Precision) -> bytes:
        """Read one ONNX file, and check the very bytes that are returned.

        Raises:
            FileMissingError: If the manifest lists no such precision, or there is no file.
            FileDamagedError: If length or SHA-256 are not the manifest's.
            ExternalDataError: If the model refers to other files.
            ControlFlowError: If the model has loops or branches.
        """
        entry = self.manifest.files.get(precision)
        if entry is None:
            raise FileMissingError(
                f"{self.folder} has no {precision} model; it has {', '.join(self.manifest.files)}."
            )
        path = self.folder / entry.path
        try:
            content, length = read_of_length(self.folder, entry.path, entry.bytes)
        except OSError as error:
            raise FileMissingError(f"{path} cannot be read: {error.strerror}.") from error
        if length != entry.bytes:
            raise FileDamagedError(
                f"{path} has {length:,} bytes; the manifest says {entry.bytes:,}."
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise FileDamagedError(
                f"{path} has SHA-256 {digest[:16]}...; the manifest says {entry.sha256[:16]}...."
            )
        _refuse_external_data(path, content)
        return content

    def golden_images(self) -> Pixels:
        """Unpack the golden images: uint8 (N, S, S, C).

        Raises:
            ManifestError: If one is not an image of the network's size.
        """
        try:
            return np.stack(
                [unpack(golden.png, self.manifest.input) for golden in self.manifest.golden]
            )
        except ValueError as error:
            raise ManifestError(f"A golden image in the manifest {error}") from error


def _refuse_external_data(path: Path, content: bytes) -> None:
    try:
        found = inspect(content)
    except OnnxFormatError as error:
        raise FileDamagedError(f"{path} is not an ONNX file: {error}.") from error
    if found.external:
        raise ExternalDataError(
            f"{path} keeps {len(found.external)} tensors outside the file, first "
            f"{found.external[0]!r}; export it as one file."
        )
    if found.subgraphs:
        raise ControlFlowError(
            f"{path} has {found.subgraphs} loops or branches (Loop, Scan, If), which may never "
            "end; export it with `export-model`, which makes none."
        )


def resolve(path: Path) -> Path:
    """Find the version folder: `path` itself, or the newest version inside `<name>/`.

    Raises:
        ManifestError: If neither holds a manifest.
    """
    if holds_artifact(path):
        return path
    try:
        found = versions(path) if path.is_dir() else []
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}.") from error
    if not found:
        raise ManifestError(f"{path} holds no artifact: {advice(path)}")
    return max(found, key=lambda folder: int(folder.name))


def read(path: Path) -> Artifact:
    """Read an artifact and check every file that its manifest lists.

    Args:
        path: `<name>/<version>/`, or `<name>/` for its newest version.

    Raises:
        ArtifactError: The first thing that is wrong, in one line.
    """
    folder = resolve(path)
    artifact = Artifact(folder, read_manifest(folder))
    for precision in artifact.manifest.files:
        artifact.model(precision)
    return artifact


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in a version folder, and no other file; ManifestError if it is bad."""
    path = folder / MANIFEST
    try:
        return Manifest.model_validate_json(read_manifest_bytes(folder))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise ManifestError(f"{path}: {_cause(error)}") from error


def _cause(error: ValidationError) -> str:
    """Say what is wrong with a manifest, in one line whatever stands in it."""
    where, seen, rule = first_fault(error)
    newer = where == "schema_version" and isinstance(seen, int) and seen > NEWEST_SCHEMA
    way_out = " It was made by a newer version of this software: update it." if newer else ""
    line = f"{where or 'the whole'}: {rule.removesuffix('.')}.{way_out}"
    return "".join(c if c.isprintable() else " " for c in line[:500])  # a key may be any text


def write(
    folder: Path, manifest: Manifest, models: Mapping[Precision, bytes], *, overwrite: bool = False
) -> Artifact:
    """Write an artifact: all of it under its name, or nothing.

    The files go to a temporary folder beside the place, are synced, and the folder is
    renamed into place.

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
            f"{folder} is there already; choose the next version, or add --overwrite."
        )
