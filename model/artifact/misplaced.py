"""What a path without an artifact holds instead, and how that becomes an artifact.

Called where no artifact was found, to give the error a way out. It reads names only.
"""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from shlex import quote

from model.artifact.files import MANIFEST, holds_artifact, versions

WEIGHTS = frozenset({".pth", ".pt", ".ckpt", ".safetensors", ".bin", ".pkl", ".th"})
OTHER_FRAMEWORKS = frozenset({".h5", ".keras", ".pb", ".tflite", ".engine", ".plan", ".mlmodel"})
ARCHIVES = frozenset({".zip", ".tar", ".gz", ".tgz", ".xz", ".bz2", ".zst", ".7z"})
IMAGES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
MAX_ENTRIES = 1_000
"""Of a folder that are listed."""
NOTHING = f"there is no {MANIFEST} in it or in a version folder."


def advice(path: Path) -> str:
    """Say what a path holds instead of an artifact, and what to do about it.

    Returns:
        The rest of a line that begins "... holds no artifact: ".
    """
    try:
        return _of_file(path) if path.is_file() else _of_folder(path)
    except OSError:  # what cannot be read gets no advice
        return NOTHING


def _of_file(path: Path) -> str:
    if holds_artifact(path.parent):
        return f"it is a file of the artifact {path.parent}; name that folder."
    suffix = path.suffix.lower()
    run = path.parent.parent
    if suffix == ".ckpt" and _is_run(run):
        return _of_run(run)
    if suffix in WEIGHTS:
        return _of_weights(path)
    if suffix == ".onnx":
        return (
            "an ONNX file alone has no labels, preprocessing or golden answers. "
            "Export the original weights: "
            f"{_export('--architecture NAME --weights FILE')}"
        )
    if suffix in OTHER_FRAMEWORKS:
        return (
            "it is a model of another framework. Save its weights as .safetensors or .pth, then: "
            f"{_export('--architecture NAME --weights FILE')}"
        )
    if suffix in ARCHIVES:
        return f"it is an archive. Unpack it, and name the folder with {MANIFEST} in it."
    return f"it is a file; an artifact is a folder with {MANIFEST} in it."


def _of_folder(path: Path) -> str:
    if not path.is_dir():
        return f"there is no such file or folder. {_of_name(path)}"
    entries = list(islice(path.iterdir(), MAX_ENTRIES))
    folders = sorted(entry for entry in entries if entry.is_dir())
    if not entries:
        return "it is empty."
    if _is_run(path):
        return _of_run(path)
    if runs := [folder for folder in folders if _is_run(folder)]:
        return "it holds runs of train-model. Export one: " + _export(quote(str(runs[0])))
    if models := [folder for folder in folders if _versions(folder)]:
        return (
            f"it contains several models. Name one, such as {models[0]}; to serve "
            "all, use RESNET_MODEL_REPOSITORY."
        )
    if misnamed := [folder for folder in folders if holds_artifact(folder)]:
        return (
            f"{misnamed[0].name!r} is not a version; versions are whole numbers from "
            f"1. Rename the folder, or name {misnamed[0]} itself."
        )
    if weights := _first(entries, WEIGHTS | {".onnx"}):
        return _of_file(weights)
    if _first((each for folder in (path, *folders) for each in _some(folder)), IMAGES):
        return (
            "it contains images. Train a network on them, then export the run: "
            f"train-model --data {quote(str(path))} --out runs/NAME && "
            f"{_export('runs/NAME')}"
        )
    return NOTHING


def _of_name(path: Path) -> str:
    """Say what something that is not there would have been."""
    if path.suffix.lower() in WEIGHTS | OTHER_FRAMEWORKS | {".onnx"}:
        return f"Also, {_of_file(path)}"
    if "runs" in path.parts:
        return f"First export a run of train-model: {_export(quote(str(path)))}"
    return "In a container, mount it there."


def _is_run(folder: Path) -> bool:
    return (folder / "run.json").is_file() or (folder / "checkpoints").is_dir()


def _of_run(run: Path) -> str:
    return f"it is a run of train-model. Export it: {_export(quote(str(run)))}"


def _of_weights(path: Path) -> str:
    given = f"--architecture NAME --weights {quote(str(path))}"
    return f"weights alone have no labels or preprocessing. Export them: {_export(given)}"


def _export(arguments: str) -> str:
    return f"export-model {arguments} --out artifacts/NAME/1"


def _versions(folder: Path) -> list[Path]:
    try:
        return versions(folder)
    except OSError:
        return []


def _some(folder: Path) -> Iterator[Path]:
    try:
        yield from islice(folder.iterdir(), MAX_ENTRIES)
    except OSError:
        return


def _first(paths: Iterable[Path], suffixes: frozenset[str]) -> Path | None:
    return next((path for path in paths if path.suffix.lower() in suffixes), None)
