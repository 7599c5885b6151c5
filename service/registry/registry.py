"""Which models are served: found at the start, again on SIGHUP and periodically.

Under `RESNET_MODEL_REPOSITORY` every `<name>/<version>` is served; `RESNET_ARTIFACT` is the default
model. A candidate gets a trial load first (`service.registry.trial`), then it is loaded here and
replaces its predecessor. Requests in flight keep the model that they began with. If a candidate
fails, its predecessor stays, and `failed` lists the reason.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from model.artifact.files import holds_artifact
from service.errors import ModelNotFoundError, StartError
from service.log import log
from service.memory import release_memory
from service.registry.classifier import Classifier
from service.registry.failed import FailedLoad
from service.registry.folders import (
    check_folder_name,
    default_folders,
    default_folders_or_none,
    digest_of,
    discover_versions,
)
from service.registry.loading import load_classifier
from service.registry.observers import Observers
from service.registry.trial import TrialLoad
from service.registry.watchdog import LOAD_TIMEOUT_S, ready_within
from service.settings import Settings

RETIRE_S = 0.05
ReloadOutcome = Literal["loaded", "refused"]
OnChange = Callable[[Classifier, Classifier | None, Classifier | None], None]
"""Called on the event loop with the default model, the model added and the model removed."""


@dataclass(frozen=True)
class _Served:
    folder: Path
    digest: str
    classifier: Classifier


class ModelRegistry:
    """The models that are served, by name and version; the constructor loads them.

    Args:
        settings: The folders of the models, and their limits.
        on_change: See `OnChange`; the constructor calls it once for each model.
        on_reload: Called on the event loop for each candidate of a reload.
        observers: Callbacks for each model's events.

    Raises:
        StartError: If no version of the default model can be served, or there is no root.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        on_change: OnChange = lambda *_: None,
        on_reload: Callable[[ReloadOutcome], None] = lambda _: None,
        observers: Observers = Observers(),  # noqa: B008  # frozen
    ) -> None:
        self._settings = settings
        self._on_change, self._on_reload, self._observers = on_change, on_reload, observers
        try:
            versions = discover_versions(settings)
        except OSError as error:
            why = f"is no folder that can be read: {error.strerror}."
            raise StartError(
                f"RESNET_MODEL_REPOSITORY (={settings.model_repository}) {why}"
            ) from error
        self._served: dict[Path, _Served] = {}
        self._failed: dict[Path, FailedLoad] = {}
        self._reloading = asyncio.Lock()
        self._is_stopping = False
        self._trial = TrialLoad()
        self._retiring: set[asyncio.Task[None]] = set()
        self._default: Path
        self._load_default(default_folders(settings))
        for folder in versions:
            if (loaded := self._load_if_changed(folder)) is not None:
                self._store(loaded)
        for classifier in self.all():
            self._notify(classifier, None)

    def all(self) -> list[Classifier]:
        """List the models that are served, the default one first. Any thread."""
        served = list(self._served.values())  # a copy: a reload may change it meanwhile
        served.sort(key=lambda each: each.folder != self._default)
        return [each.classifier for each in served]

    def failed(self) -> list[FailedLoad]:
        """List the candidates that failed to load."""
        return list(self._failed.values())

    def find(self, name: str | None = None, version: str | None = None) -> Classifier:
        """Find a model; the newest version if none is given, the default model without a name.

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
        """Start all models; to be called on the event loop."""
        for classifier in self.all():
            classifier.start()

    async def stop(self) -> None:
        """Stop all models, and a reload in progress."""
        self._is_stopping = True
        self._trial.stop()
        await asyncio.gather(*(classifier.stop() for classifier in self.all()), *self._retiring)

    async def reload(self) -> None:
        """Find new, changed and removed versions, and serve what can be served."""
        async with self._reloading:
            try:
                versions = set(await asyncio.to_thread(discover_versions, self._settings))
            except OSError as error:  # the disk may come back; until then nothing is removed
                log.warning("models not read", extra={"fields": {"why": str(error)}})
                return
            default, checked = self._default, set[Path]()
            for folder in await asyncio.to_thread(default_folders_or_none, self._settings):
                checked.add(folder)
                await self._refresh(folder)
                if folder in self._served:  # the newest good one, as at the start
                    default = folder
                    break
            for folder in sorted(versions - checked):
                await self._refresh(folder)
            if self._is_stopping:
                return
            if default != self._default:
                log.info("default model", extra={"fields": {"folder": str(default)}})
                self._default = default
                self._notify(None, None)
            for folder in self._failed.keys() - versions - checked:
                del self._failed[folder]
            for folder in self._served.keys() - versions - {self._default}:
                log.info("model removed", extra={"fields": {"folder": str(folder)}})
                self._notify(None, self._served.pop(folder).classifier)

    def _load_default(self, folders: list[Path]) -> None:
        """Serve the version that is set, or of several the newest that loads.

        Several versions get a trial load each, as in a reload, so that a bad one cannot prevent
        the start. Raises `StartError` with the reason of the newest.
        """
        for folder in folders:
            self._default = folder
            digest = digest_of(folder)
            if len(folders) == 1:
                with ready_within(LOAD_TIMEOUT_S, str(folder)):
                    self._served[folder] = _Served(folder, digest, self._load(folder))
            else:
                self._store(self._load_candidate(folder, digest))
            if folder in self._served:
                return
        raise StartError(self._failed[folders[0]].reason)

    async def _refresh(self, folder: Path) -> None:
        """Load a folder in a thread if it is new or has changed, and serve it."""
        if self._is_stopping:
            return
        loaded = await asyncio.to_thread(self._load_if_changed, folder)
        if loaded is None or self._is_stopping:  # a stop may be the only reason of a failure
            return
        before = self._served.get(folder)
        self._store(loaded)
        self._on_reload("refused" if isinstance(loaded, FailedLoad) else "loaded")
        if isinstance(loaded, _Served):
            loaded.classifier.start()
            self._notify(loaded.classifier, before.classifier if before else None)

    def _store(self, loaded: "_Served | FailedLoad") -> None:
        """Store the result of loading a folder, and log it."""
        fields = {"folder": str(loaded.folder)}
        if isinstance(loaded, FailedLoad):
            self._failed[loaded.folder] = loaded
            log.error("model refused", extra={"fields": {**fields, "reason": loaded.reason}})
        else:
            self._failed.pop(loaded.folder, None)
            self._served[loaded.folder] = loaded
            log.info("model loaded", extra={"fields": fields})

    def _load_if_changed(self, folder: Path) -> "_Served | FailedLoad | None":
        """Load a folder if it is new or has changed; None if not, or if it vanishes meanwhile."""
        digest = digest_of(folder)
        known = self._failed.get(folder) or self._served.get(folder)
        if known is not None and known.digest == digest:
            return None
        loaded = self._load_candidate(folder, digest)
        return None if isinstance(loaded, FailedLoad) and not holds_artifact(folder) else loaded

    def _load_candidate(self, folder: Path, digest: str) -> "_Served | FailedLoad":
        """Load a folder, after a trial load in its own process.

        Any thread; changes no state. Any error becomes this folder's `FailedLoad`.
        """
        try:
            if folder != self._default:  # the default may be mounted anywhere
                check_folder_name(folder, self._settings)
            self._trial(folder)
            return _Served(folder, digest, self._load(folder))
        except StartError as error:
            reason = str(error)
        except OSError as error:  # the machine's fault, not the candidate's: tried again later
            digest, reason = "", f"{folder} cannot be tried: {error.strerror or 'no cause'}."
        except Exception:  # noqa: BLE001  # whatever a candidate causes, the others come next
            log.exception("candidate failed", extra={"fields": {"folder": str(folder)}})
            reason = f"{folder} failed; the log has the reason."
        return FailedLoad(folder, digest, reason)

    def _load(self, folder: Path) -> Classifier:
        settings = self._settings.model_copy(update={"artifact": folder})
        return load_classifier(settings, self.all(), self._observers)

    def _notify(self, added: Classifier | None, removed: Classifier | None) -> None:
        self._on_change(self.find(), added, removed)
        if removed is not None:
            task = asyncio.create_task(_retire(removed), name="retire")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


async def _retire(classifier: Classifier) -> None:
    """Stop a model once its last request is answered."""
    while classifier.admission.in_flight:  # noqa: ASYNC110  # rare, and there is no event for it
        await asyncio.sleep(RETIRE_S)
    await classifier.stop()
    del classifier
    await asyncio.to_thread(release_memory)
