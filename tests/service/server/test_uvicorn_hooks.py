"""A uvicorn that lacks what the server uses stops the start."""

import tomllib

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.supervisors.multiprocess import Process

from service.server import uvicorn_hooks
from service.server.uvicorn_hooks import ATTRIBUTES, SUPPORTED, USES, check_hooks
from tests.service.process import ROOT

METHODS = [
    (owner, name)
    for owner, names in ATTRIBUTES.items()
    for name in names.split()
    if name in vars(owner)
]


class Empty:
    """What a constructor sets is gone."""

    def __init__(self) -> None: ...


def test_the_installed_uvicorn_has_all() -> None:
    check_hooks()


@pytest.mark.parametrize(("owner", "name"), METHODS)
def test_a_method_that_is_missing_is_named(
    owner: type, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(owner, name)

    with pytest.raises(RuntimeError, match=rf"\b{owner.__name__}\.{name}\b"):
        check_hooks()


def test_an_attribute_that_no_constructor_sets_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(HttpToolsProtocol, "__init__", Empty.__init__)

    with pytest.raises(RuntimeError, match=r"HttpToolsProtocol\.pipeline"):
        check_hooks()


@pytest.mark.parametrize(("owner", "method"), USES)
def test_a_hook_that_uvicorn_does_not_call_any_more_is_named(
    owner: type, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(owner, method, Empty.__init__)

    with pytest.raises(RuntimeError, match=rf" in {owner.__name__}\.{method}"):
        check_hooks()


def test_the_message_names_both_versions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(Process, "pong")

    with pytest.raises(RuntimeError) as failed:
        check_hooks()

    assert str(failed.value) == (
        f"uvicorn {uvicorn.__version__} lacks Process.pong, which this service uses. "
        f"Install uvicorn{SUPPORTED}."
    )


def test_the_supported_versions_are_those_of_the_dependency() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = [each for group in project["optional-dependencies"].values() for each in group]

    required = [each for each in [*project["dependencies"], *extras] if "uvicorn" in each]

    assert required
    assert all(each.partition("]")[2] == uvicorn_hooks.SUPPORTED for each in required)
