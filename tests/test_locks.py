"""The locks in `requirements` hold what pyproject.toml asks for. `make lock` writes them."""

import tomllib
from collections.abc import Iterable

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.locks import FOLDER, PIN, pins

PYPROJECT = tomllib.loads((FOLDER.parent / "pyproject.toml").read_text())
EXTRAS: dict[str, list[str]] = PYPROJECT["project"]["optional-dependencies"]
NOT_INSTALLED = {"wandb", "mlflow"}  # neither by the image nor by the Makefile
ASKED: dict[str, list[str]] = {
    "audit": PYPROJECT["dependency-groups"]["audit"],
    "build": PYPROJECT["build-system"]["requires"],
    **{
        name: PYPROJECT["project"]["dependencies"] + asked
        for name, asked in EXTRAS.items()
        if name not in NOT_INSTALLED
    },
}


def not_locked(asked: Iterable[str], *locks: str) -> list[str]:
    """Name the requirements that are missing, or locked at a version that they exclude."""
    locked: dict[str, list[str]] = {}
    for name, version, _ in pins(*locks):
        locked.setdefault(name, []).append(version)
    return [
        text
        for text in asked
        for requirement in [Requirement(text)]
        for versions in [locked.get(canonicalize_name(requirement.name), [])]
        if not versions or not all(map(requirement.specifier.contains, versions))
    ]


def test_every_extra_that_the_image_or_the_makefile_installs_has_a_lock() -> None:
    assert {file.stem for file in FOLDER.iterdir()} == {*ASKED, "torch"}


@pytest.mark.parametrize("lock", ASKED)
def test_a_lock_holds_each_requirement_at_a_version_that_pyproject_allows(lock: str) -> None:
    assert not not_locked(ASKED[lock], lock, "torch"), "run `make lock`"


@pytest.mark.parametrize("asked", ["pilow", "pillow<1", "pillow>=99", "torch"])
def test_a_requirement_that_is_misspelt_excluded_or_of_another_extra_is_not_locked(
    asked: str,
) -> None:
    assert not_locked([asked, "pillow>=12"], "cpu") == [asked]


@pytest.mark.parametrize("lock", [*ASKED, "torch"])
def test_a_lock_has_nothing_but_pins_with_hashes_and_comments(lock: str) -> None:
    text = PIN.sub("", (FOLDER / f"{lock}.txt").read_text())

    assert all(line.lstrip().startswith("#") for line in text.splitlines())
    assert "://" not in text


def test_a_package_has_one_version_in_all_locks_that_may_be_installed_together() -> None:
    versions: dict[tuple[str, str], set[str]] = {}
    for name, version, marker in pins(*(set(ASKED) - {"audit"}), "torch"):
        versions.setdefault((name, marker), set()).add(version)

    assert {name: found for name, found in versions.items() if len(found) > 1} == {}
