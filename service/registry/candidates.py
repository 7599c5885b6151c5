"""Load a candidate: a folder that is new or has changed, and may be served.

It gets a trial load in its own process first (`service.registry.trial`).
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from model.artifact.files import holds_artifact
from service.errors import StartError
from service.log import log
from service.registry.classifier import Classifier
from service.registry.folders import check_folder_name, digest_of
from service.registry.loading import load_classifier
from service.registry.observers import Observers
from service.registry.trial import TrialLoad
from service.registry.watchdog import LOAD_TIMEOUT_S, ready_within
from service.settings import Settings


@dataclass(frozen=True)
class Served:
    """A folder whose model is served.

    Attributes:
        digest: Of the folder when it was loaded; a change makes it a candidate.
    """

    folder: Path
    digest: str
    classifier: Classifier


@dataclass(frozen=True)
class FailedLoad:
    """A candidate that failed to load; reason and folder are for admins and the log.

    Attributes:
        digest: Of the folder when it was tried; a change leads to another try.
    """

    folder: Path
    digest: str
    reason: str


class CandidateLoader:
    """Loads candidates; changes no state. Any thread."""

    def __init__(self, settings: Settings, observers: Observers) -> None:
        self._settings, self._observers = settings, observers
        self._trial = TrialLoad()

    def stop(self) -> None:
        """End the present trial, and any later one at its start."""
        self._trial.stop()

    def load_named(self, folder: Path) -> Served:
        """Load the only candidate of a start, without a trial.

        Raises:
            StartError: If it cannot be served.
        """
        digest = digest_of(folder)
        with ready_within(LOAD_TIMEOUT_S, str(folder)):
            return Served(folder, digest, self._load(folder, ()))

    def load_if_changed(
        self,
        folder: Path,
        known: Served | FailedLoad | None,
        served: Iterable[Classifier],
        *,
        is_default: bool,
    ) -> Served | FailedLoad | None:
        """Load a folder if it is new or has changed; None if not, or if it vanishes meanwhile.

        Args:
            folder: Of the candidate.
            known: What was loaded from it last.
            served: Models that are served; one of the same kind lends its measured times.
            is_default: Whether it may have any name: the default model may be mounted anywhere.
        """
        digest = digest_of(folder)
        if known is not None and known.digest == digest:
            return None
        try:
            if not is_default:
                check_folder_name(folder, self._settings)
            self._trial(folder)
            return Served(folder, digest, self._load(folder, served))
        except StartError as error:
            reason = str(error)
        except OSError as error:  # the machine's fault, not the candidate's: tried again later
            digest, reason = "", f"{folder} cannot be tried: {error.strerror or 'no cause'}."
        except Exception:  # noqa: BLE001  # whatever a candidate causes, the others come next
            log.exception("candidate failed", extra={"fields": {"folder": str(folder)}})
            reason = f"{folder} failed; the log has the reason."
        return FailedLoad(folder, digest, reason) if holds_artifact(folder) else None

    def _load(self, folder: Path, served: Iterable[Classifier]) -> Classifier:
        settings = self._settings.model_copy(update={"artifact": folder})
        return load_classifier(settings, served, self._observers)
