"""Which models are served: found at the start, and changed by `service.registry.control`.

Under `RESNET_MODEL_REPOSITORY` every `<name>/<version>` is served that the entries of
`service.registry.versions` select; `RESNET_ARTIFACT` is the default model. A candidate replaces its
predecessor once it is loaded (`service.registry.candidates`). Requests in flight keep the model
that they began with. If a candidate fails, its predecessor stays, and `failed` lists the reason.
"""

import asyncio
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Literal

from service.errors import ModelNotFoundError, StartError
from service.log import log
from service.memory import release_memory
from service.registry.candidates import CandidateLoader, FailedLoad, Served
from service.registry.classifier import Classifier
from service.registry.folders import (
    default_folders,
    default_folders_or_none,
    discover_versions,
    select_versions,
)
from service.registry.observers import Observers
from service.registry.versions import EVERYTHING, Entries, Entry, VersionsFile
from service.settings import Settings

RETIRE_S = 0.05
ReloadOutcome = Literal["loaded", "refused"]
OnChange = Callable[[Classifier, Classifier | None, Classifier | None], None]
"""Called on the event loop with the default model, the model added and the model removed."""


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
        self._on_change, self._on_reload = on_change, on_reload
        self._entries = VersionsFile(settings).read()
        self._unusable: dict[str, Entry] = {}
        try:
            versions = discover_versions(settings)
        except OSError as error:
            why = f"is not a readable folder: {error.strerror}."
            raise StartError(
                f"RESNET_MODEL_REPOSITORY (={settings.model_repository}) {why}"
            ) from error
        self._served: dict[Path, Served] = {}
        self._failed: dict[Path, FailedLoad] = {}
        self.is_stopping = False
        self._loader = CandidateLoader(settings, observers)
        self._retiring: set[asyncio.Task[None]] = set()
        self._default: Path
        self._load_default(default_folders(settings, self._entries))
        for folder in sorted(select_versions(versions, self._entries)):
            if (loaded := self.load_if_changed(folder)) is not None:
                self._store(loaded)
        for name, entry in self._entries.items():
            self._is_usable(name, entry)
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

    def serves(self, folder: Path) -> bool:
        """Whether a model of this folder is served, perhaps from an earlier state of it."""
        return folder in self._served

    def entry(self, name: str) -> Entry:
        """Return which versions of a model are served, and their aliases."""
        return self._entries.get(name, EVERYTHING)

    def find(self, name: str | None = None, version: str | None = None) -> Classifier:
        """Find a model; the default model without a name.

        Args:
            name: Of the model.
            version: A number or an alias; None: the version that is set, else the newest.

        Raises:
            ModelNotFoundError: If there is none.
        """
        if name is None:
            return self._served[self._default].classifier
        classifier = self.answering(name, version)
        if classifier is None:
            known = ", ".join(sorted({c.info.name for c in self.all()}))
            wanted = name[:64] if version is None else f"{name[:64]} version {version[:64]}"
            raise ModelNotFoundError(f"There is no model {wanted!r}; there is {known}.")
        return classifier

    def answering(self, name: str, version: str | None = None) -> Classifier | None:
        """Return the model that answers; None if none does. See `find`."""
        found = self.versions(name)
        return found.get(self.entry(name).resolve(version, found) or "")

    def by_name(self) -> dict[str, list[str]]:
        """List the names of all models, the default one's first, and the versions of each."""
        found: dict[str, list[str]] = {}
        for info in [classifier.info for classifier in self.all()]:
            found.setdefault(info.name, []).append(info.version)
        return found

    def versions(self, name: str) -> dict[str, Classifier]:
        """Return what is served of a model, by version."""
        served = reversed(self.all())  # the default one is found first
        return {each.info.version: each for each in served if each.info.name == name}

    def start(self) -> None:
        """Start all models; to be called on the event loop."""
        for classifier in self.all():
            classifier.start()

    async def stop(self) -> None:
        """Stop all models, and a reload in progress."""
        self.is_stopping = True
        self._loader.stop()
        await asyncio.gather(*(classifier.stop() for classifier in self.all()), *self._retiring)

    async def settle(self, entries: Entries, versions: Collection[Path]) -> None:
        """Let new entries count, choose the default model, and remove what is no longer wanted.

        Args:
            entries: One that names a version that is not served stays as it was.
            versions: All that are there.
        """
        self._entries = {
            name: entry if self._is_usable(name, entry) else self.entry(name)
            for name, entry in entries.items()
        }
        folders = await asyncio.to_thread(default_folders_or_none, self._settings, self._entries)
        default = next((folder for folder in folders if folder in self._served), self._default)
        if default != self._default:
            log.info("default model", extra={"fields": {"folder": str(default)}})
            self._default = default
            self._notify(None, None)
        wanted = select_versions(versions, entries) | select_versions(versions, self._entries)
        for folder in self._failed.keys() - wanted - set(folders):
            del self._failed[folder]
        for folder in self._served.keys() - wanted - {default}:
            log.info("model removed", extra={"fields": {"folder": str(folder)}})
            self._notify(None, self._served.pop(folder).classifier)

    def _is_usable(self, name: str, entry: Entry) -> bool:
        """Whether all versions that an entry names are served; log it once if not."""
        missing = entry.missing(map(int, self.versions(name)))
        if missing and self._unusable.get(name) != entry:
            fields = {"model": name, "not_served": missing}
            log.error("versions refused", extra={"fields": fields})
        self._unusable[name] = entry if missing else EVERYTHING
        return not missing or entry == self._entries.get(name)

    def _load_default(self, folders: list[Path]) -> None:
        """Serve the version that is set, or of several the newest that loads.

        Several versions get a trial load each, as in a reload, so that a bad one cannot prevent
        the start. Raises `StartError` with the reason of the newest.
        """
        for folder in folders:
            self._default = folder
            if len(folders) == 1:
                self._served[folder] = self._loader.load_named(folder)
            elif (loaded := self.load_if_changed(folder)) is not None:
                self._store(loaded)
            if folder in self._served:
                return
        failed = self._failed.get(folders[0])
        raise StartError(failed.reason if failed else f"{folders[0]} is gone.")

    def load_if_changed(self, folder: Path, *, again: bool = False) -> Served | FailedLoad | None:
        """Load a folder if it is new or has changed, for `accept`; None if not. Any thread.

        Args:
            folder: Of a version.
            again: Whether to try it even if it was refused as it is.
        """
        refused = None if again else self._failed.get(folder)
        known = refused or self._served.get(folder)
        is_default = folder == self._default
        return self._loader.load_if_changed(folder, known, self.all(), is_default=is_default)

    def accept(self, loaded: Served | FailedLoad) -> None:
        """Serve what was loaded, or note why it was refused."""
        before = self._served.get(loaded.folder)
        self._store(loaded)
        self._on_reload("refused" if isinstance(loaded, FailedLoad) else "loaded")
        if isinstance(loaded, Served):
            loaded.classifier.start()
            self._notify(loaded.classifier, before.classifier if before else None)

    def _store(self, loaded: Served | FailedLoad) -> None:
        """Store the result of loading a folder, and log it."""
        fields = {"folder": str(loaded.folder)}
        if isinstance(loaded, FailedLoad):
            self._failed[loaded.folder] = loaded
            log.error("model refused", extra={"fields": {**fields, "reason": loaded.reason}})
        else:
            self._failed.pop(loaded.folder, None)
            self._served[loaded.folder] = loaded
            log.info("model loaded", extra={"fields": fields})

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
