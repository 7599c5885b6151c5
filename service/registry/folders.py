"""The folders that models are served from: discovery, names, and change detection."""

import hashlib
import os
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

from model.artifact.files import read_manifest_bytes, versions
from model.artifact.folder import ArtifactError, read_manifest, resolve
from service.errors import StartError
from service.registry.versions import EVERYTHING, Entries
from service.settings import Settings


def default_folders(settings: Settings, entries: Entries) -> list[Path]:
    """List candidates for the default model: the version that is set, or all in the model's folder.

    Args:
        settings: `RESNET_ARTIFACT` names the model.
        entries: Of the models under `RESNET_MODEL_REPOSITORY`.

    Returns:
        At least one folder, the newest version first.

    Raises:
        StartError: If there is none, or it cannot be read.
    """
    folders = _folders_of_artifact(settings)
    entry = entries.get(folders[0].parent.name)
    if entry is None or not is_in_repository(folders[0], settings):
        return folders
    if entry.default_version is not None:
        return [folders[0].with_name(str(entry.default_version))]
    if folders[0] == settings.artifact.absolute():
        return folders
    if selected := entry.select(int(folder.name) for folder in folders):
        return [folders[0].with_name(str(version)) for version in selected]
    raise StartError(f"No version of {folders[0].parent} is selected; RESNET_ARTIFACT names it.")


def _folders_of_artifact(settings: Settings) -> list[Path]:
    named = settings.artifact.absolute()
    try:
        newest = resolve(named)
    except ArtifactError as error:
        raise StartError(str(error)) from error
    except OSError as error:
        why = f"cannot be read: {error.strerror}."
        raise StartError(f"RESNET_ARTIFACT (={settings.artifact}) {why}") from error
    if newest == named:
        return [newest]
    return sorted({newest, *_versions(named)}, key=lambda folder: int(folder.name), reverse=True)


def default_folders_or_none(settings: Settings, entries: Entries) -> list[Path]:
    """List candidates for the default model; none while its folder is missing."""
    try:
        return default_folders(settings, entries)
    except StartError:
        return []


def discover_versions(settings: Settings) -> list[Path]:
    """List all version folders under `RESNET_MODEL_REPOSITORY`; none if that is not set.

    Raises:
        OSError: If the root is missing, or cannot be read.
    """
    if settings.model_repository is None:
        return []
    root = settings.model_repository.absolute()
    names = [name for name in sorted(root.iterdir()) if not name.name.startswith(".")]
    return [version for name in names for version in _versions(name)]


def _versions(folder: Path) -> list[Path]:
    """List a model's versions; none if it cannot be read, such as a disk's `lost+found`."""
    try:
        return sorted(versions(folder))
    except OSError:
        return []


def select_versions(versions: Collection[Path], entries: Entries) -> set[Path]:
    """Select the version folders that the entries of their models want to be served."""
    models = {folder.parent: list[int]() for folder in versions}
    for folder in versions:
        models[folder.parent].append(int(folder.name))
    return {
        model / str(version)
        for model, found in models.items()
        for version in entries.get(model.name, EVERYTHING).select(found)
    }


def is_in_repository(folder: Path, settings: Settings) -> bool:
    """Whether a version's folder is at its place under `RESNET_MODEL_REPOSITORY`."""
    root = settings.model_repository
    return root is not None and folder.parent.parent == root.absolute()


def check_folder_name(folder: Path, settings: Settings) -> None:
    """Check that a folder under `RESNET_MODEL_REPOSITORY` has the name in its manifest.

    Clients address a model by its manifest's name and version, so a copied folder would be a
    second model of the same name. Folders elsewhere may have any name.

    Raises:
        StartError: If the names differ, or the manifest cannot be read.
    """
    if not is_in_repository(folder, settings):
        return
    try:
        manifest = read_manifest(folder)
    except ArtifactError as error:
        raise StartError(str(error)) from error
    name, version = manifest.name, manifest.version
    if (folder.parent.name, folder.name) != (name, version):
        raise StartError(
            f"{folder} contains {name} {version}; a folder in RESNET_MODEL_REPOSITORY "
            f"must have the name and version of its manifest, {name}/{version}. Move "
            "it there, or export the model again."
        )


def digest_of(folder: Path) -> str:
    """Return a digest of an artifact's state, even while it is being copied; "" if it is missing.

    Of its files only the manifest is read, if it is a regular file. Modes and owners are part of
    the digest: an unreadable file may become readable.
    """
    digest = hashlib.sha256()
    try:
        for path in sorted(folder.iterdir()):
            digest.update(path.name.encode(errors="surrogateescape"))  # names may have any bytes
            for state in _states(path):
                fields = (state.st_mode, state.st_uid, state.st_gid, state.st_size)
                digest.update(f"{fields} {state.st_mtime_ns}\n".encode())
    except OSError:
        return ""
    with suppress(OSError):
        digest.update(read_manifest_bytes(folder))
    return digest.hexdigest()


def _states(path: Path) -> Iterator[os.stat_result]:
    """Return the state of a file and, if it is a link, of its target."""
    yield path.lstat()
    if path.is_symlink():
        with suppress(OSError):
            yield path.stat()
