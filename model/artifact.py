"""The artifact: all that passes from training to serving.

A folder `<name>/<version>/` with `manifest.json` and one ONNX file for each precision,
in the layout of a Triton model repository. The exporter writes it, whole or not at all;
the server reads it and trusts nothing that it has not checked.

Errors:
    ArtifactError
    ├── ManifestError        manifest.json is missing, not JSON, or breaks a rule
    ├── FileMissingError     a file that the manifest lists is not there
    ├── FileDamagedError     a file's length or SHA-256 is not the manifest's
    ├── ExternalDataError    a model keeps numbers outside its file
    └── ArtifactExistsError  the place to write to is taken
"""

import base64
import binascii
import hashlib
import io
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image
from pydantic import ValidationError

from model.card import card
from model.durable import move_into_place, write_synced
from model.manifest import Input, Manifest, Precision
from model.onnx_file import OnnxFormatError, external_tensors
from model.preprocessing import Pixels
from model.validation import first_fault

MANIFEST = "manifest.json"
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


class ArtifactExistsError(ArtifactError):
    """The place to write to is taken."""


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
        """
        entry = self.manifest.files.get(precision)
        if entry is None:
            raise FileMissingError(
                f"{self.folder} has no {precision} model; it has {', '.join(self.manifest.files)}."
            )
        path = self.folder / entry.path
        try:
            content = path.read_bytes()
        except OSError as error:
            raise FileMissingError(f"{path} cannot be read: {error.strerror}.") from error
        if len(content) != entry.bytes:
            raise FileDamagedError(
                f"{path} has {len(content):,} bytes; the manifest says {entry.bytes:,}."
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise FileDamagedError(
                f"{path} has SHA-256 {digest[:16]}...; the manifest says {entry.sha256[:16]}...."
            )
        _refuse_external_data(path, content)
        return content

    def golden_images(self) -> Pixels:
        """Unpack the golden pictures: uint8 (N, S, S, C)."""
        return np.stack(
            [_unpack(golden.png, self.manifest.input) for golden in self.manifest.golden]
        )


def _refuse_external_data(path: Path, content: bytes) -> None:
    try:
        names = external_tensors(content)
    except OnnxFormatError as error:
        raise FileDamagedError(f"{path} is not an ONNX file: {error}.") from error
    if names:
        raise ExternalDataError(
            f"{path} keeps {len(names)} tensors outside the file, first {names[0]!r}; "
            "export it as one file."
        )


def pack(pixels: Pixels) -> str:
    """uint8 (S, S, C) -> a PNG file in base64, as a manifest holds it."""
    file = io.BytesIO()
    Image.fromarray(pixels.squeeze(-1) if pixels.shape[-1] == 1 else pixels).save(
        file, "PNG", optimize=True
    )
    return base64.b64encode(file.getvalue()).decode()


def _unpack(png: str, expected: Input) -> Pixels:
    try:
        with Image.open(
            io.BytesIO(base64.b64decode(png, validate=True)), formats=("PNG",)
        ) as image:
            pixels = np.array(image, dtype=np.uint8)
    except (OSError, ValueError, SyntaxError, binascii.Error) as error:
        raise ManifestError(f"A golden picture in the manifest is no PNG file: {error}") from error
    size, channels = expected.size, expected.channels
    if pixels.size != size * size * channels:
        raise ManifestError(
            f"A golden picture in the manifest has shape {pixels.shape}, "
            f"not ({size}, {size}, {channels})."
        )
    return pixels.reshape(size, size, channels)


def resolve(path: Path) -> Path:
    """Find the version folder: `path` itself, or the newest version inside `<name>/`.

    Raises:
        ManifestError: If neither holds a manifest.
    """
    if (path / MANIFEST).is_file():
        return path
    found = versions(path) if path.is_dir() else []
    if not found:
        raise ManifestError(
            f"{path} holds no artifact: there is no {MANIFEST} in it or in a version folder."
        )
    return max(found, key=lambda folder: int(folder.name))


def versions(path: Path) -> list[Path]:
    """List the version folders inside `<name>/`, in no order; OSError if it may not be read."""
    return [
        folder
        for folder in path.iterdir()
        if re.fullmatch(r"[1-9][0-9]{0,8}", folder.name) and holds_artifact(folder)
    ]


def holds_artifact(folder: Path) -> bool:
    """Tell whether a folder holds an artifact; one that may not be read counts as if it did."""
    try:
        return (folder / MANIFEST).is_file()
    except OSError:
        return True


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
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        where, _, rule = first_fault(error)
        cause = " ".join(f"{where or 'the whole'}: {rule}.".split())  # a key may hold a line's end
        raise ManifestError(f"{path}: {cause}") from error


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
    refuse_taken(folder, overwrite=overwrite)
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


def refuse_taken(folder: Path, *, overwrite: bool = False) -> None:
    """Say early that `write` would refuse.

    Raises:
        ArtifactExistsError: If something is there already, and `overwrite` is off.
    """
    if folder.exists() and not overwrite:
        raise ArtifactExistsError(
            f"{folder} is there already; choose the next version, or add --overwrite."
        )
