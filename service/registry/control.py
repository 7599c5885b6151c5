"""Change what is served: by what lies on the disk, and by request.

A reload follows the disk and `RESNET_VERSIONS_FILE`. A load or unload by request changes the entry
of one model: its candidates are loaded first, then the entry is written, then all workers follow.
"""

import asyncio
from collections.abc import Callable
from pathlib import Path

from service.errors import LoadRefusedError, ModelNotFoundError, NotReadyError, StartError
from service.log import log
from service.registry.candidates import FailedLoad, Served
from service.registry.folders import (
    default_folders,
    default_folders_or_none,
    discover_versions,
    select_versions,
)
from service.registry.peers import Peers, WorkerState
from service.registry.registry import ModelRegistry
from service.registry.versions import EVERYTHING, Entries, Entry, Selection, VersionsFile
from service.settings import Settings


class ModelControl:
    """Changes the models of a registry, one change at a time.

    Args:
        settings: Where models and entries are.
        models: What is served.
        peers: The other workers; made before `models`.
    """

    def __init__(self, settings: Settings, models: ModelRegistry, peers: Peers) -> None:
        self._settings, self._models, self._peers = settings, models, peers
        self._file = VersionsFile(settings)
        self._changing = asyncio.Lock()
        self._confirm(peers.at_start)

    @property
    def is_behind(self) -> bool:
        """Whether another worker was asked for a change, and `reload` has to follow it."""
        return self._peers.is_behind

    async def reload(self) -> None:
        """Find new, changed and removed versions, and serve what can be served."""
        async with self._changing:
            change = self._peers.last_change()
            again = change.model if self._peers.is_behind else None
            try:
                await self._reload(again)
            finally:
                self._confirm(change.number)

    async def _reload(self, again: str | None) -> None:
        """Follow the disk; try the candidates of one model even if they were refused before."""
        try:
            entries, versions = await asyncio.to_thread(self._read)
        except (OSError, StartError) as error:  # until they can be read nothing is removed
            log.warning("models not read", extra={"fields": {"why": str(error)}})
            return
        models, checked = self._models, set[Path]()
        for folder in await asyncio.to_thread(default_folders_or_none, self._settings, entries):
            checked.add(folder)
            await self._refresh(folder, again)
            if models.serves(folder):  # the newest good one, as at the start
                break
        for folder in sorted(select_versions(versions, entries) - checked):
            await self._refresh(folder, again)
        if not models.is_stopping:
            await models.settle(entries, versions)

    async def _refresh(self, folder: Path, again: str | None) -> None:
        """Load a folder in a thread if it is new or has changed, and serve it."""
        models = self._models
        if models.is_stopping:
            return
        is_tried_again = folder.parent.name == again
        loaded = await asyncio.to_thread(models.load_if_changed, folder, again=is_tried_again)
        if loaded is not None and not models.is_stopping:  # which may be the reason of a failure
            models.accept(loaded)

    async def load(self, name: str, selection: Selection | None = None) -> None:
        """Load a model's versions, those that are new or have changed.

        Args:
            name: Of a model under `RESNET_MODEL_REPOSITORY`.
            selection: Which versions, which answers, and aliases; None leaves that as it is.

        Raises:
            ModelNotFoundError: If there is no such model.
            LoadRefusedError: If a version cannot be served; nothing has changed then.
            NotReadyError: If the service ends meanwhile.
        """

        def change(entry: Entry) -> Entry:
            return Entry.model_validate((selection or entry).model_dump() | {"unloaded": False})

        await self._change(name, change)

    async def unload(self, name: str) -> None:
        """Remove a model, whose requests in flight are answered.

        Raises:
            ModelNotFoundError: If there is no such model.
            LoadRefusedError: If it is the default model.
        """
        await self._change(name, lambda entry: entry.model_copy(update={"unloaded": True}))

    async def _change(self, name: str, change: Callable[[Entry], Entry]) -> None:
        async with self._peers.exclusive():
            async with self._changing:
                before, wanted = await self._change_here(name, change)
                number = self._peers.announce(name)
                self._confirm(number)
            why = await self._why_not_followed(name, wanted, number)
            if why is None:
                return
            await asyncio.to_thread(self._file.write, before)
            self._peers.announce(name)
        await self.reload()
        raise LoadRefusedError(
            f"A worker could not load what another one could, so all went back: {why}"
        )

    async def _change_here(
        self, name: str, change: Callable[[Entry], Entry]
    ) -> tuple[Entries, set[Path]]:
        """Load what the new entry of a model wants, and let it count.

        Returns:
            All old entries, and the folders that are served now.
        """
        models = self._models
        try:
            before, versions = await asyncio.to_thread(self._read)
            there = [folder for folder in versions if folder.parent.name == name]
            if not there:
                known = ", ".join(sorted({folder.parent.name for folder in versions})) or "none"
                raise ModelNotFoundError(f"There is no model {name[:64]!r}; there is {known}.")
            entry = change(before.get(name, EVERYTHING))
            entries = {**before, name: entry}
            wanted = select_versions(there, entries)
            self._check(name, entry, wanted)
            if models.find().info.name == name:
                await asyncio.to_thread(default_folders, self._settings, entries)
            loaded = [await self._load(folder) for folder in sorted(wanted)]
            await asyncio.to_thread(self._file.write, entries)
        except (OSError, StartError) as error:
            raise LoadRefusedError(str(error)) from error
        for each in loaded:
            if each is not None:
                models.accept(each)
        await models.settle(entries, versions)
        return before, wanted

    def _check(self, name: str, entry: Entry, wanted: set[Path]) -> None:
        if missing := entry.missing(int(folder.name) for folder in wanted):
            raise LoadRefusedError(
                f"{name} has no version {', '.join(map(str, missing))}, or "
                "version_policy leaves it out, but the request names it."
            )
        if not wanted and self._models.find().info.name == name:
            raise LoadRefusedError(
                f"{name} is the default model: RESNET_ARTIFACT names it, and /predict "
                "answers with it. Load another version of it instead."
            )

    async def _load(self, folder: Path) -> Served | None:
        """Load a folder that must be served; None if it is, and has not changed."""
        models = self._models
        loaded = await asyncio.to_thread(models.load_if_changed, folder, again=True)
        if models.is_stopping:
            raise NotReadyError("The service is shutting down; nothing was loaded.")
        if isinstance(loaded, FailedLoad):
            models.accept(loaded)
            raise LoadRefusedError(loaded.reason)
        if loaded is None and not models.serves(folder):
            raise LoadRefusedError(f"{folder} is gone.")
        return loaded

    async def _why_not_followed(self, name: str, wanted: set[Path], number: int) -> str | None:
        """Wait for the other workers; return why one of them does not serve what is wanted."""
        try:
            states = await self._peers.followed(number)
        except TimeoutError:
            return "it did not answer in time"
        for state in states:
            for folder in wanted:
                if folder.name not in state.versions.get(name, []):
                    return state.failed.get(str(folder), "its log has the reason")
        return None

    def versions(self) -> list[Path]:
        """List all version folders that are there; none if that cannot be read. Any thread."""
        try:
            return discover_versions(self._settings)
        except OSError:
            return []

    def _read(self) -> tuple[Entries, list[Path]]:
        return self._file.read(), discover_versions(self._settings)

    def _confirm(self, number: int) -> None:
        """Tell the other workers what is served after a change."""
        failed = {str(each.folder): each.reason for each in self._models.failed()}
        self._peers.confirm(WorkerState(number, self._models.by_name(), failed))
