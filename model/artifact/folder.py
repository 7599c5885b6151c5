"""The artifact: all that passes from training to serving, read with every check.

A folder `<name>/<version>/` with `manifest.json` and one ONNX file for each precision,
in the layout of a Triton model repository. `model.artifact.writing` writes it.

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
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from model.artifact.files import (
    MANIFEST,
    holds_artifact,
    read_manifest_bytes,
    read_of_length,
    versions,
)
from model.artifact.golden import unpack
from model.artifact.manifest import NEWEST_SCHEMA, Manifest, Precision, parse_manifest
from model.artifact.misplaced import advice
from model.artifact.onnx_file import OnnxFormatError, inspect
from model.preprocessing import Pixels
from model.validation import first_fault

AGAIN = "The file is damaged or from another export; copy or export the artifact again."


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
    """A folder whose manifest was read and whose files were checked.

    Attributes:
        folder: `<name>/<version>/`.
        manifest: What its `manifest.json` says.
        passed_over: Dotted names of what an earlier schema has and this version does not know.
    """

    folder: Path
    manifest: Manifest
    passed_over: tuple[str, ...] = ()
    _inspected: set[str] = field(default_factory=set, repr=False, compare=False)  # digests

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
                f"{path} has {length:,} bytes; the manifest says {entry.bytes:,}. {AGAIN}"
            )
        digest = hashlib.sha256(content).hexdigest()
        if digest != entry.sha256:
            raise FileDamagedError(
                f"{path} has SHA-256 {digest[:16]}...; the manifest says {entry.sha256[:16]}.... "
                f"{AGAIN}"
            )
        if digest not in self._inspected:  # the same bytes have the same digest
            _refuse_external_data(path, content)
            self._inspected.add(digest)
        return content

    def renamed(self, name: str) -> "Artifact":
        """Return the same artifact under another name, as an orchestrator may give it."""
        return replace(self, manifest=self.manifest.model_copy(update={"name": name}))

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
            f"{path} has {len(found.external)} tensors outside the file, such as "
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
        raise ManifestError(f"{path} is not an artifact: {advice(path)}")
    return max(found, key=lambda folder: int(folder.name))


def read(path: Path) -> Artifact:
    """Read an artifact and check every file that its manifest lists.

    Args:
        path: `<name>/<version>/`, or `<name>/` for its newest version.

    Raises:
        ArtifactError: The first thing that is wrong, in one line.
    """
    folder = resolve(path)
    artifact = Artifact(folder, *_read_manifest(folder))
    for precision in artifact.manifest.files:
        artifact.model(precision)
    return artifact


def read_manifest(folder: Path) -> Manifest:
    """Read the manifest in a version folder, and no other file; ManifestError if it is bad."""
    return _read_manifest(folder)[0]


def _read_manifest(folder: Path) -> tuple[Manifest, tuple[str, ...]]:
    """Read the manifest; of an earlier schema also name what was passed over."""
    path = folder / MANIFEST
    try:
        manifest, passed_over = parse_manifest(read_manifest_bytes(folder))
    except OSError as error:
        raise ManifestError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        raise ManifestError(f"{path}: {_cause(error)}") from error
    return manifest, tuple(_one_line(name) for name in passed_over)


def _cause(error: ValidationError) -> str:
    """Say in one line what is wrong with a manifest."""
    where, seen, rule = first_fault(error)
    newer = where == "schema_version" and isinstance(seen, int) and seen > NEWEST_SCHEMA
    way_out = " A newer version of this software wrote it: update the software." if newer else ""
    line = f"{where or 'the whole'}: {rule.removesuffix('.')}.{way_out}"
    return _one_line(line)


def _one_line(text: str) -> str:
    """Make text of a manifest fit for a log line: a key in it may be any text."""
    return "".join(c if c.isprintable() else " " for c in text[:500])
