"""Which models are served: found at the start, looked for again on SIGHUP and in between.

Under `RESNET_MODELS` every `<name>/<version>` is served; `RESNET_ARTIFACT` is the default
model. A candidate is loaded and asked its golden answers in a child process first, since
onnxruntime can crash on a bad file (its issue 23258); then it is loaded here and swapped
in. Requests under way keep the model that they began with. What is refused leaves
everything else as it was, and the reason stays to be seen.
"""

import asyncio
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from model.artifact import MANIFEST, ArtifactError, resolve
from service.classifier import Classifier
from service.errors import ModelNotFoundError, StartError
from service.loading import load_classifier
from service.log import log
from service.settings import PREFIX, Settings

PROBE_TIMEOUT_S = 120.0
RETIRE_S = 0.05
VERSION = re.compile(r"[1-9][0-9]{0,8}")


@dataclass(frozen=True)
class Refused:
    """A candidate that is not served, and why."""

    folder: Path
    reason: str


@dataclass(frozen=True)
class _Served:
    folder: Path
    digest: str
    classifier: Classifier


class Models:
    """The models that are served, by name and version.

    Args:
        settings: Say where to look, and the limits of each.

    Attributes:
        on_change: Called on the event loop with what came and what went.
    """

    def __init__(self, settings: Settings) -> None:
        """Load all; the default model must be good, a bad one among the others is refused.

        Raises:
            StartError: If the default model cannot be served.
        """
        self._settings = settings
        self._served: dict[Path, _Served] = {}
        self._refused: dict[Path, tuple[str, Refused]] = {}
        self._reloading = asyncio.Lock()
        self._retiring: set[asyncio.Task[None]] = set()
        self.on_change: Callable[[Classifier | None, Classifier | None], None] = _nothing
        self._default = _default_folder(settings)
        digest = _digest(self._default)
        self._served[self._default] = _Served(self._default, digest, _load(settings, self._default))
        for folder in self._wanted():
            if folder != self._default:
                self._look_at(folder)

    def all(self) -> list[Classifier]:
        """Every model that is served; the default one first."""
        default = self._served[self._default].classifier
        others = [served.classifier for served in self._served.values()]
        return [default, *(classifier for classifier in others if classifier is not default)]

    def refused(self) -> list[Refused]:
        """Candidates that were looked at and are not served."""
        return [refused for _, refused in self._refused.values()]

    def find(self, name: str | None = None, version: str | None = None) -> Classifier:
        """Find a model; the newest version if none is named, the default if no name is.

        Raises:
            ModelNotFoundError: If there is none.
        """
        if name is None:
            return self._served[self._default].classifier
        found = [
            served.classifier
            for served in self._served.values()
            if served.classifier.info.name == name
            and version in (None, served.classifier.info.version)
        ]
        if not found:
            known = ", ".join(sorted({c.info.name for c in self.all()}))
            wanted = name[:64] if version is None else f"{name[:64]} version {version[:10]}"
            raise ModelNotFoundError(f"There is no model {wanted!r}; there is {known}.")
        return max(found, key=lambda classifier: int(classifier.info.version))

    def start(self) -> None:
        """Begin to answer; to be called on the event loop."""
        for classifier in self.all():
            classifier.start()

    async def stop(self) -> None:
        """End all threads."""
        await asyncio.gather(*(classifier.stop() for classifier in self.all()), *self._retiring)

    async def reload(self) -> None:
        """Look for new, changed and removed versions, and swap what can be swapped."""
        async with self._reloading:
            default = await asyncio.to_thread(_default_folder_or_none, self._settings)
            wanted = await asyncio.to_thread(self._wanted)
            for folder in {*wanted, *([default] if default else [])}:
                before = self._served.get(folder)
                if await asyncio.to_thread(self._look_at, folder):
                    after = self._served[folder].classifier
                    after.start()
                    self._changed(after, before.classifier if before else None)
            if default in self._served and default != self._default:
                log.info("default model", extra={"fields": {"folder": str(default)}})
                self._default = default
            for folder in [f for f in self._served if f not in {*wanted, self._default}]:
                self._changed(None, self._served.pop(folder).classifier)

    def _wanted(self) -> list[Path]:
        """List every version folder under the root, or none if there is no root."""
        root = self._settings.models
        if root is None or not root.is_dir():
            return []
        return [
            version
            for name in sorted(root.iterdir())
            if name.is_dir() and not name.name.startswith(".")
            for version in sorted(name.iterdir())
            if VERSION.fullmatch(version.name) and (version / MANIFEST).is_file()
        ]

    def _look_at(self, folder: Path) -> bool:
        """Load a folder if it is new or changed since it was last looked at; say if it was."""
        digest = _digest(folder)
        served, refused = self._served.get(folder), self._refused.get(folder)
        if (served and served.digest == digest) or (refused and refused[0] == digest):
            return False
        try:
            probe(folder)
            classifier = _load(self._settings, folder)
        except StartError as error:
            self._refused[folder] = (digest, Refused(folder, str(error)))
            fields = {"folder": str(folder), "reason": str(error)}
            log.error("model refused", extra={"fields": fields})
            return False
        self._refused.pop(folder, None)
        self._served[folder] = _Served(folder, digest, classifier)
        log.info("model loaded", extra={"fields": {"folder": str(folder)}})
        return True

    def _changed(self, came: Classifier | None, went: Classifier | None) -> None:
        self.on_change(came, went)
        if went is not None:
            task = asyncio.create_task(_retire(went), name="retire")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


def _nothing(came: Classifier | None, went: Classifier | None) -> None:
    """Stand for nobody who wants to know."""


def _default_folder(settings: Settings) -> Path:
    try:
        return resolve(settings.artifact)
    except ArtifactError as error:
        raise StartError(str(error)) from error


def _default_folder_or_none(settings: Settings) -> Path | None:
    try:
        return _default_folder(settings)
    except StartError:
        return None


def _digest(folder: Path) -> str:
    """Tell one state of an artifact from another: its manifest lists all other digests."""
    try:
        return hashlib.sha256((folder / MANIFEST).read_bytes()).hexdigest()
    except OSError:
        return ""


def _load(settings: Settings, folder: Path) -> Classifier:
    return load_classifier(settings.model_copy(update={"artifact": folder}))


async def _retire(classifier: Classifier) -> None:
    """Stop a model once the last request that began with it is answered."""
    while classifier.batcher.under_way:  # noqa: ASYNC110  # rare, and nothing else would tell
        await asyncio.sleep(RETIRE_S)
    await classifier.stop()


def probe(folder: Path) -> None:
    """Load a candidate and ask its golden answers in a process of its own.

    Raises:
        StartError: If it fails there, however it fails.
    """
    command = [sys.executable, "-m", "service.models", str(folder)]
    environment = {**os.environ, PREFIX + "ARTIFACT": str(folder)}
    try:
        done = subprocess.run(  # noqa: S603  # our own module, on a folder that the operator named
            command,
            env=environment,
            capture_output=True,
            text=True,
            timeout=PROBE_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise StartError(f"{folder} did not load within {PROBE_TIMEOUT_S:g} s.") from error
    if done.returncode:
        told = _last_line(done.stderr.splitlines())
        how = f"signal {-done.returncode}" if done.returncode < 0 else told
        raise StartError(how.removeprefix("error: ") or f"{folder} failed to load.")


def _last_line(lines: Iterable[str]) -> str:
    return next((line for line in reversed(list(lines)) if line.strip()), "")


def main() -> int:
    """Be the child of `probe`: exit 0 if the artifact may be served."""
    try:
        load_classifier(Settings())
    except StartError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
