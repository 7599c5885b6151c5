"""The names under which the V2 protocol serves an artifact, and what each takes and gives.

A client of that protocol sends either the network's input or whole picture files, and asks
by name for one or the other. So an artifact has several names: its own for tensors, one
with `-image` for files, and one with `-probabilities` for clients that insist on a single
output.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from service.api.v2.tensors import FREE, Border, Tensor
from service.errors import ModelNotFoundError
from service.registry.classifier import Classifier
from service.registry.registry import ModelRegistry

IMAGES = "images"
OUTPUTS = ("logits", "probabilities")
FILES = "-image"


class _Kind(NamedTuple):
    takes_files: bool
    outputs: tuple[str, ...]


KINDS: Mapping[str, _Kind] = MappingProxyType(
    {
        "": _Kind(False, OUTPUTS),
        FILES: _Kind(True, OUTPUTS),
        "-probabilities": _Kind(False, ("probabilities",)),
    }
)
"""By what follows the artifact's name."""


class View(NamedTuple):
    """A model of the V2 protocol: an artifact under one of its names."""

    classifier: Classifier
    border: Border

    @property
    def name(self) -> str:
        """The name by which it is asked for."""
        return self.border.model

    @property
    def version(self) -> str:
        """The artifact's version."""
        return self.classifier.info.version


def view(classifier: Classifier, suffix: str = "") -> View:
    """Look at an artifact under its name with a suffix."""
    manifest, kind = classifier.manifest, KINDS[suffix]
    size, classes = manifest.input.size, len(manifest.labels)
    taken = (
        Tensor(IMAGES, "BYTES", (FREE, 1))
        if kind.takes_files
        else Tensor(IMAGES, "UINT8", (FREE, size, size, manifest.input.channels))
    )
    given = tuple(Tensor(name, "FP32", (FREE, classes)) for name in kind.outputs)
    beside = (
        f"For tensors ask '{manifest.name}'."
        if kind.takes_files
        else f"Channels come last. For image files ask '{manifest.name}{FILES}'."
    )
    border = Border(manifest.name + suffix, taken, given, classifier.settings.max_images, beside)
    return View(classifier, border)


def find_view(models: ModelRegistry, name: str, version: str | None = None) -> View:
    """Find a model by one of its names; the newest version if none is asked for.

    Raises:
        ModelNotFoundError: If there is none.
    """
    return view(*resolve(models, name, version))


def resolve(models: ModelRegistry, name: str, version: str | None = None) -> tuple[Classifier, str]:
    """Find a model by one of its names; give it and the suffix that stands for the kind of view.

    An artifact's own name comes before another artifact's name with a suffix.

    Raises:
        ModelNotFoundError: If there is none, in the words that clients of Triton look for.
    """
    for suffix in KINDS:
        if name.endswith(suffix):
            try:
                return models.find(name.removesuffix(suffix), version), suffix
            except ModelNotFoundError:
                continue
    which = "" if version is None else f" version {version[:10]}"
    known = ", ".join(sorted({found.name for found in all_views(models)}))
    raise ModelNotFoundError(
        f"Request for unknown model: '{name[:100]}'{which} is not found; there is {known}"
    )


def all_views(models: ModelRegistry) -> list[View]:
    """List every model under every name, the default artifact's first."""
    found: dict[tuple[str, str], View] = {}
    for suffix in KINDS:
        for classifier in models.all():
            seen = view(classifier, suffix)
            found.setdefault((seen.name, seen.version), seen)
    return list(found.values())


def versions(models: ModelRegistry, name: str) -> list[str]:
    """List the versions that are served under a name, the oldest first."""
    return sorted({seen.version for seen in all_views(models) if seen.name == name}, key=int)
