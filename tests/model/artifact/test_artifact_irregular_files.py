"""What is no regular file of the artifact's folder, or too large, is refused unread."""

import contextlib
import os
import re
import socket
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from model.artifact.folder import (
    Artifact,
    read,
)
from tests.model.artifact.refusals import refusal_of


def _as_fifo(path: Path) -> None:
    os.mkfifo(path)


def _as_folder(path: Path) -> None:
    path.mkdir()


def _as_link_out(path: Path) -> None:
    elsewhere = path.parents[1] / "elsewhere"
    elsewhere.write_bytes(b"{}")
    path.symlink_to(elsewhere)


def _as_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


def _as_loop(path: Path) -> None:
    path.symlink_to(path.name)


def _as_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening, contextlib.chdir(path.parent):
        listening.bind(path.name)  # a longer path would be too long for a socket


@pytest.mark.parametrize("name", ["manifest.json", "model.float32.onnx"])
@pytest.mark.parametrize(
    ("replace", "cause"),
    [
        (_as_fifo, "it is a FIFO"),
        (_as_folder, "it is a folder"),
        (_as_link_out, "it is a link out of its folder"),
        (_as_device, "it is a link out of its folder"),
        (_as_loop, "Too many levels of symbolic links"),
        (_as_socket, "it is a socket"),
    ],
)
def test_what_is_no_file_of_the_folder_is_refused_at_once(
    tiny: Artifact, name: str, replace: Callable[[Path], None], cause: str
) -> None:
    (tiny.folder / name).unlink()
    replace(tiny.folder / name)

    refusal = refusal_of(tiny.folder)

    assert f"{name} cannot be read: {cause}" in str(refusal)


def test_a_device_that_takes_the_place_of_a_file_is_found_after_it_is_opened(
    tiny: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open
    monkeypatch.setattr(
        "os.open", lambda path, *flags: opened("/dev/null" if "json" in str(path) else path, *flags)
    )

    assert "it is a device" in str(refusal_of(tiny.folder))


def test_links_within_the_folder_are_followed_as_kubernetes_makes_them(tiny: Artifact) -> None:
    data = tiny.folder / "..2026_01_01"
    data.mkdir()
    (tiny.folder / "..data").symlink_to(data.name)
    for name in ("manifest.json", "model.float32.onnx"):
        (tiny.folder / name).rename(data / name)
        (tiny.folder / name).symlink_to(f"..data/{name}")
    linked = tiny.folder.with_name("2")
    linked.symlink_to(tiny.folder.name)

    assert read(tiny.folder).manifest == read(linked).manifest == tiny.manifest


@pytest.mark.parametrize("name", ["manifest.json", "model.float32.onnx"])
def test_a_file_of_gigabytes_is_refused_unread(tiny: Artifact, name: str) -> None:
    os.truncate(tiny.folder / name, 2**31 + 5)
    tracemalloc.start()
    try:
        refusal = refusal_of(tiny.folder)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert "2,147,483,653 bytes" in str(refusal)
    assert peak < 4 * 2**20


def test_a_declared_length_beyond_what_the_network_has_numbers_for_is_refused_unread(
    tiny: Artifact,
) -> None:
    path = tiny.folder / "manifest.json"
    path.write_text(re.sub(r'"bytes": \d+', '"bytes": 1900000000', path.read_text()))
    os.truncate(tiny.folder / "model.float32.onnx", 1_900_000_000)

    refusal = refusal_of(tiny.folder)

    assert "`files.float32.bytes` (=1,900,000,000) must be at most" in str(refusal)
