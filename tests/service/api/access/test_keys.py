import hashlib
from pathlib import Path

import pytest

from service.api.access.keys import KeyRing, read_keys
from service.errors import StartError

DIGEST = hashlib.sha256(b"second").hexdigest()


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.touch(mode=0o640)
    return path


def test_a_key_is_found_by_itself_or_by_its_digest(file: Path) -> None:
    file.write_text(
        f"# ours\n\nshop: first\n  app :sha256:{DIGEST} predict \nops: third read admin"
    )

    keys = KeyRing(file)

    found = [keys.find(key) for key in (b"first", b"second", b"third")]
    assert [(key.name, sorted(key.scopes)) for key in found if key] == [
        ("shop", ["predict", "read"]),
        ("app", ["predict"]),
        ("ops", ["admin", "read"]),
    ]


@pytest.mark.parametrize(
    "key", [b"", b"firs", b"first1", b"First", b"first ", DIGEST.encode(), b"\xff" * 9]
)
def test_what_is_like_a_key_is_none(key: bytes, file: Path) -> None:
    file.write_text(f"shop: first\napp: sha256:{DIGEST}")

    assert KeyRing(file).find(key) is None


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "no key"),
        ("# shop: first\n", "no key"),
        ("first", "line 1 .* malformed"),
        ("shop: first\nshop 2: second", "line 2 .* malformed"),
        ("shop:", "malformed"),
        ("shop: first write", "unknown scope; scopes are predict, read, admin"),
        ("shop: kéy", "malformed|unknown scope"),
        ("shop: sha256:12", "64 hexadecimal digits"),
        ("shop: first\nshop: second", "line 2 .* repeats"),
        ("shop: first\napp: first", "line 2 .* repeats"),
        (f"shop: second\napp: sha256:{DIGEST.upper()}", "line 2 .* repeats"),
    ],
)
def test_a_malformed_file_is_refused_without_telling_a_key(
    content: str, why: str, file: Path
) -> None:
    file.write_text(content, encoding="utf-8")

    with pytest.raises(StartError, match=why) as caught:
        read_keys(file)

    assert not {"first", "second", "kéy"} & set(str(caught.value).split())


@pytest.mark.parametrize("mode", [0o644, 0o642, 0o604])
def test_a_file_that_others_may_read_or_write_is_refused(mode: int, file: Path) -> None:
    file.write_text("shop: first")
    file.chmod(mode)

    with pytest.raises(StartError, match=rf"mode {mode:o}\); run chmod 640"):
        read_keys(file)


def test_a_file_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StartError, match=r"RESNET_API_KEYS_FILE .*cannot be read: No such file"):
        read_keys(tmp_path / "keys")


def test_a_reload_that_fails_leaves_the_keys(file: Path) -> None:
    file.write_text("shop: first")
    keys = KeyRing(file)
    file.write_text("shop")

    with pytest.raises(StartError):
        keys.reload()

    assert keys.find(b"first")
