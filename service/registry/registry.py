"""Which models are served: found at the start, looked for again on SIGHUP and in between.

Under `RESNET_MODELS` every `<name>/<version>` is served; `RESNET_ARTIFACT` is the default
model. A candidate is loaded and asked its golden answers in a child process first, since
onnxruntime can crash on a bad file (its issue 23258); then it is loaded here and swapped
in. Requests under way keep the model that they began with. What is refused leaves
everything else as it was, and the reason stays to be seen.
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
from service.registry.folders import (
    default_folders,
    default_folders_at_the_moment,
    digest_of,
    refuse_misnamed,
    wanted_folders,
)
from service.registry.loading import load_classifier
from service.registry.probe import Probe
from service.registry.refused import Refused
from service.registry.watchdog import LOAD_TIMEOUT_S, ready_within
from service.settings import Settings

RETIRE_S = 0.05
Outcome = Literal["loaded", "refused"]


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
        on_reload: Called on the event loop for each candidate that was looked at.
    """

    def __init__(self, settings: Settings) -> None:
        """Load all; there must be a good default model, a bad one among the others is refused.

        Raises:
            StartError: If no version of the default model can be served, or there is no root.
        """
        self._settings = settings
        try:
            wanted = wanted_folders(settings)
        except OSError as error:
            why = f"is no folder that can be read: {error.strerror}."
            raise StartError(f"RESNET_MODELS (={settings.models}) {why}") from error
        self._served: dict[Path, _Served] = {}
        self._refused: dict[Path, Refused] = {}
        self._reloading = asyncio.Lock()
        self._is_ending = False
        self._probe = Probe()
        self._retiring: set[asyncio.Task[None]] = set()
        self.on_change: Callable[[Classifier | None, Classifier | None], None] = lambda *_: None
        self.on_reload: Callable[[Outcome], None] = lambda _: None
        self._default: Path  # is told from others while it is judged
        self._load_default(default_folders(settings))
        for folder in wanted:
            if (found := self._look_at(folder)) is not None:
                self._enter(found)

    def all(self) -> list[Classifier]:
        """Every model that is served; the default one first. Any thread may ask."""
        served = list(self._served.values())  # at once: a reload may change it meanwhile
        served.sort(key=lambda each: each.folder != self._default)
        return [each.classifier for each in served]

    def refused(self) -> list[Refused]:
        """Candidates that were looked at and are not served."""
        return list(self._refused.values())

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
        """End all threads, and a reload, which swaps in and refuses nothing any more."""
        self._is_ending = True
        self._probe.stop()
        await asyncio.gather(*(classifier.stop() for classifier in self.all()), *self._retiring)

    async def reload(self) -> None:
        """Look for new, changed and removed versions, and swap what can be swapped."""
        async with self._reloading:
            try:
                wanted = set(await asyncio.to_thread(wanted_folders, self._settings))
            except OSError as error:  # a disk that comes back; nothing is taken away meanwhile
                log.warning("models not read", extra={"fields": {"why": str(error)}})
                return
            default, tried = self._default, set[Path]()
            for folder in await asyncio.to_thread(default_folders_at_the_moment, self._settings):
                tried.add(folder)
                await self._try(folder)
                if folder in self._served:  # the newest good one, as at the start
                    default = folder
                    break
            for folder in sorted(wanted - tried):
                await self._try(folder)
            if self._is_ending:
                return
            if default != self._default:
                log.info("default model", extra={"fields": {"folder": str(default)}})
                self._default = default
            for folder in self._refused.keys() - wanted - tried:
                del self._refused[folder]
            for folder in self._served.keys() - wanted - {self._default}:
                log.info("model removed", extra={"fields": {"folder": str(folder)}})
                self._changed(None, self._served.pop(folder).classifier)

    def _load_default(self, folders: list[Path]) -> None:
        """Serve the version that was named, or of several the newest good one.

        Where there are others each is tried as on a reload: what was refused while the service
        ran must not keep it from starting.

        Raises:
            StartError: If there is none; with the newest one's reason.
        """
        for folder in folders:
            self._default = folder
            digest = digest_of(folder)
            if len(folders) == 1:
                with ready_within(LOAD_TIMEOUT_S, str(folder)):
                    self._served[folder] = _Served(folder, digest, self._load(folder))
            else:
                self._enter(self._judge(folder, digest))
            if folder in self._served:
                return
        raise StartError(self._refused[folders[0]].reason)

    async def _try(self, folder: Path) -> None:
        """Look at a folder beside the requests, and serve or refuse what is new in it."""
        if self._is_ending:
            return
        found = await asyncio.to_thread(self._look_at, folder)
        if found is not None and not self._is_ending:  # it may be refused for that alone
            self._replace(found)

    def _replace(self, found: "_Served | Refused") -> None:
        before = self._served.get(found.folder)
        self._enter(found)
        self.on_reload("refused" if isinstance(found, Refused) else "loaded")
        if isinstance(found, _Served):
            found.classifier.start()
            self._changed(found.classifier, before.classifier if before else None)

    def _enter(self, found: "_Served | Refused") -> None:
        """Keep what came of a look at a folder, and tell it to the log."""
        fields = {"folder": str(found.folder)}
        if isinstance(found, Refused):
            self._refused[found.folder] = found
            log.error("model refused", extra={"fields": {**fields, "reason": found.reason}})
        else:
            self._refused.pop(found.folder, None)
            self._served[found.folder] = found
            log.info("model loaded", extra={"fields": fields})

    def _look_at(self, folder: Path) -> "_Served | Refused | None":
        """Judge a folder if it is new or has changed; None if not, or if it goes meanwhile."""
        digest = digest_of(folder)
        known = self._refused.get(folder) or self._served.get(folder)
        if known is not None and known.digest == digest:
            return None
        found = self._judge(folder, digest)
        return None if isinstance(found, Refused) and not holds_artifact(folder) else found

    def _judge(self, folder: Path, digest: str) -> "_Served | Refused":
        """Load a folder, after a trial in a process of its own.

        Any thread: nothing of ours changes here. Whatever goes wrong is told of this folder alone.
        """
        try:
            if folder != self._default:  # which may lie wherever it was mounted
                refuse_misnamed(folder, self._settings)
            self._probe(folder)
            return _Served(folder, digest, self._load(folder))
        except StartError as error:
            return Refused(folder, digest, str(error))
        except OSError as error:  # of the machine, not of the candidate: the next look tries again
            return Refused(folder, "", f"{folder} cannot be tried: {error.strerror or 'no cause'}.")
        except Exception:  # noqa: BLE001  # whatever a candidate brings about, others wait
            log.exception("candidate failed", extra={"fields": {"folder": str(folder)}})
            return Refused(folder, digest, f"{folder} failed for a reason that only the log has.")

    def _load(self, folder: Path) -> Classifier:
        settings = self._settings.model_copy(update={"artifact": folder})
        return load_classifier(settings, served=self.all())

    def _changed(self, came: Classifier | None, went: Classifier | None) -> None:
        self.on_change(came, went)
        if went is not None:
            task = asyncio.create_task(_retire(went), name="retire")
            self._retiring.add(task)
            task.add_done_callback(self._retiring.discard)


async def _retire(classifier: Classifier) -> None:
    """Stop a model once the last request that began with it is answered."""
    while classifier.batcher.under_way:  # noqa: ASYNC110  # rare, and nothing else would tell
        await asyncio.sleep(RETIRE_S)
    await classifier.stop()
    del classifier
    await asyncio.to_thread(release_memory)
