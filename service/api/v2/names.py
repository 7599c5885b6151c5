"""The names under which the V2 protocol serves an artifact, each with its inputs and outputs.

A client of that protocol sends either the network's input or image files, and chooses one by the
model's name. So an artifact has three names: its own for tensors, one with `-image` for files, and
one with `-probabilities` for clients that require a single output.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from service.api.v2.tensors import DYNAMIC, ModelSignature, Tensor
from service.errors import ModelNotFoundError
from service.registry.classifier import Classifier
from service.registry.registry import ModelRegistry

IMAGES = "images"
OUTPUTS = ("logits", "probabilities")
FILES = "-image"


class _AliasKind(NamedTuple):
    takes_files: bool
    outputs: tuple[str, ...]


ALIASES: Mapping[str, _AliasKind] = MappingProxyType(
    {
        "": _AliasKind(False, OUTPUTS),
        FILES: _AliasKind(True, OUTPUTS),
        "-probabilities": _AliasKind(False, ("probabilities",)),
    }
)
"""By the suffix to the artifact's name."""


class ModelAlias(NamedTuple):
    """An artifact under one of its names: a model of the V2 protocol."""

    classifier: Classifier
    signature: ModelSignature

    @property
    def name(self) -> str:
        """The name in requests."""
        return self.signature.model

    @property
    def version(self) -> str:
        """The artifact's version."""
        return self.classifier.info.version


def alias_of(classifier: Classifier, suffix: str = "") -> ModelAlias:
    """Describe an artifact under its name with a suffix."""
    manifest, kind = classifier.manifest, ALIASES[suffix]
    size, classes = manifest.input.size, len(manifest.labels)
    taken_input = (
        Tensor(IMAGES, "BYTES", (DYNAMIC, 1))
        if kind.takes_files
        else Tensor(IMAGES, "UINT8", (DYNAMIC, size, size, manifest.input.channels))
    )
    outputs = tuple(Tensor(name, "FP32", (DYNAMIC, classes)) for name in kind.outputs)
    hint = (
        f"For tensors use '{manifest.name}'."
        if kind.takes_files
        else f"Channels are last. For image files use '{manifest.name}{FILES}'."
    )
    most = classifier.settings.max_images
    signature = ModelSignature(manifest.name + suffix, taken_input, outputs, most, hint)
    return ModelAlias(classifier, signature)


def find_alias(models: ModelRegistry, name: str, version: str | None = None) -> ModelAlias:
    """Find a model by one of its names; the newest version if none is given.

    Raises:
        ModelNotFoundError: If there is none.
    """
    return alias_of(*resolve(models, name, version))


def resolve(models: ModelRegistry, name: str, version: str | None = None) -> tuple[Classifier, str]:
    """Find a model by one of its names; return it and the suffix of that name.

    An artifact's own name comes before another artifact's name with a suffix.

    Raises:
        ModelNotFoundError: If there is none, in the words that clients of Triton expect.
    """
    for suffix in ALIASES:
        if name.endswith(suffix):
            try:
                return models.find(name.removesuffix(suffix), version), suffix
            except ModelNotFoundError:
                continue
    which = "" if version is None else f" version {version[:10]}"
    known = ", ".join(sorted({alias.name for alias in all_aliases(models)}))
    raise ModelNotFoundError(
        f"Request for unknown model: '{name[:100]}'{which} is not found; there is {known}"
    )


def all_aliases(models: ModelRegistry) -> list[ModelAlias]:
    """List every model under every name, the default artifact's first."""
    found: dict[tuple[str, str], ModelAlias] = {}
    for suffix in ALIASES:
        for classifier in models.all():
            alias = alias_of(classifier, suffix)
            found.setdefault((alias.name, alias.version), alias)
    return list(found.values())


def versions(models: ModelRegistry, name: str) -> list[str]:
    """List the versions that are served under a name, oldest first."""
    return sorted({alias.version for alias in all_aliases(models) if alias.name == name}, key=int)
