"""Which versions of each model are served, which one answers, and their aliases.

An entry for each model by its name, in the JSON file `RESNET_VERSIONS_FILE`. A load over HTTP
writes it there. Without the setting entries last until the service ends. Names and aliases are
compared with those of the folders that are there, and never become paths.
"""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Self

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    TypeAdapter,
    ValidationError,
    model_validator,
)

from model.artifact.durable import replace_synced
from model.validation import first_fault
from service.errors import StartError
from service.settings import MULTIPROCESS_FOLDER, Settings

MAX_FILE_BYTES = 1_000_000
Version = Annotated[int, Field(ge=1, le=999_999_999)]
Alias = Annotated[str, Field(pattern=r"^[a-z][a-z0-9_-]{0,63}$")]
"""Never a number, so it cannot be taken for a version."""
_POLICIES = ("all", "latest", "specific")


class _Config(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class All(_Config):
    """All versions."""


class Latest(_Config):
    """The newest versions."""

    num_versions: int = Field(1, ge=1, le=1000)


class Specific(_Config):
    """Versions by their number."""

    versions: tuple[Version, ...] = Field(min_length=1, max_length=1000)


_ONE: list[JsonValue] = [
    {"required": [name], "properties": {name: {"type": "object"}}} for name in _POLICIES
]


class VersionPolicy(_Config):
    """Which versions are loaded, as Triton's model configuration says it."""

    model_config = ConfigDict(json_schema_extra={"oneOf": _ONE})

    all: All | None = None
    latest: Latest | None = None
    specific: Specific | None = None

    @model_validator(mode="after")
    def _is_one(self) -> Self:
        if sum(each is not None for each in (self.all, self.latest, self.specific)) != 1:
            raise ValueError("must have one of `all`, `latest` and `specific`")
        return self


class Selection(_Config):
    """What is served of a model: the parameter `config` of a load."""

    version_policy: VersionPolicy = Field(
        VersionPolicy(all=All()), description="Which versions are loaded."
    )
    default_version: Version | None = Field(
        None, description="Answers if the request names no version; none: the newest."
    )
    aliases: dict[Alias, Version] = Field(
        {},
        max_length=100,
        description="Names of versions.",
        json_schema_extra={"additionalProperties": False},
    )

    @property
    def named(self) -> frozenset[int]:
        """The versions that must be there."""
        specific = self.version_policy.specific
        default = [] if self.default_version is None else [self.default_version]
        return frozenset(
            [*self.aliases.values(), *default, *(specific.versions if specific else [])]
        )

    def select(self, versions: Iterable[int]) -> list[int]:
        """Select from the versions that are there, the newest first."""
        newest, policy = sorted(versions, reverse=True), self.version_policy
        if policy.latest is not None:
            return newest[: policy.latest.num_versions]
        if policy.specific is not None:
            return [version for version in newest if version in policy.specific.versions]
        return newest

    def missing(self, versions: Iterable[int]) -> list[int]:
        """List the versions that are named and not among those that are there."""
        return sorted(self.named - set(versions))

    def resolve(self, version: str | None, served: Iterable[str]) -> str | None:
        """Resolve an alias, or which version answers where none is named; None if none does."""
        if version is not None:
            return str(self.aliases.get(version, version))
        if self.default_version is not None:
            return str(self.default_version)
        selected = self.select(map(int, served))
        return str(selected[0]) if selected else None


class Entry(Selection):
    """What the file has of a model.

    Attributes:
        unloaded: Whether none of its versions is served.
    """

    unloaded: bool = False

    @property
    def named(self) -> frozenset[int]:
        """The versions that must be there."""
        return frozenset() if self.unloaded else super().named

    def select(self, versions: Iterable[int]) -> list[int]:
        """Select as a `Selection` does; nothing of a model that is unloaded."""
        return [] if self.unloaded else super().select(versions)


Entries = Mapping[str, Entry]
EVERYTHING = Entry()
"""Of a model that the file does not name."""
_FILE = TypeAdapter(dict[str, Entry])


class VersionsFile:
    """The entries of all models.

    With several workers they all read one file, in the workers' common folder if no other is set.
    """

    def __init__(self, settings: Settings) -> None:
        common = os.environ.get(MULTIPROCESS_FOLDER)
        self._path = settings.versions_file
        if self._path is None and common is not None:
            self._path = Path(common) / "versions.json"
        self._content = b"{}"  # without a file

    def read(self) -> Entries:
        """Read the entries; there are none if there is no file.

        Raises:
            StartError: If the file cannot be read, or is malformed.
        """
        if self._path is None:
            return _FILE.validate_json(self._content)
        what = f"RESNET_VERSIONS_FILE (={str(self._path)!r})"
        try:
            with self._path.open("rb") as file:
                content = file.read(MAX_FILE_BYTES)
            return _FILE.validate_json(content)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise StartError(f"{what} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise StartError(f"{what} is malformed: {first_fault(error)}") from error

    def write(self, entries: Entries) -> None:
        """Write the entries; the file is there whole, as before or as now.

        Raises:
            StartError: If it cannot be written.
        """
        self._content = _FILE.dump_json(dict(entries), indent=1, exclude_defaults=True) + b"\n"
        if self._path is None:
            return
        try:
            replace_synced(self._path, self._content)
        except OSError as error:
            what = f"RESNET_VERSIONS_FILE (={str(self._path)!r})"
            raise StartError(f"{what} cannot be written: {error.strerror}.") from error
