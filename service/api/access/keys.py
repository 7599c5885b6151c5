"""API keys: the file that lists them, and the search for the key of a request.

A file has a line for each key, `name: key` or `name: sha256:<64 hexadecimal digits>`, and after
the key the scopes that it grants. The service keeps digests alone, and names keys by their names.
"""

import hashlib
import hmac
import re
import stat
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from service.errors import StartError

KeyScope = Literal["predict", "read", "admin"]
SCOPES: tuple[KeyScope, ...] = get_args(KeyScope)
DEFAULT_SCOPES: frozenset[str] = frozenset({"predict", "read"})
"""Of a key without scopes of its own."""
MAX_FILE_BYTES = 1_000_000
OTHERS = stat.S_IROTH | stat.S_IWOTH
_LINE = re.compile(r"(?P<name>[A-Za-z0-9_.-]{1,64})[ \t]*:[ \t]*(?P<key>[!-~]+)(?P<scopes>.*)")
_DIGEST = re.compile(r"sha256:([0-9a-f]{64})")
_FORM = "`name: key` or `name: sha256:<64 hexadecimal digits>`, optionally followed by scopes"


class ApiKey(NamedTuple):
    """A key by its SHA-256 digest.

    Attributes:
        name: For the log and metrics.
        digest: 32 bytes.
        scopes: What it allows.
    """

    name: str
    digest: bytes
    scopes: frozenset[str]


class KeyRing:
    """The keys of a file, which can be read again while requests are served.

    Args:
        path: Of the file.

    Raises:
        StartError: If the file cannot be read, others may read it, or it is empty or malformed.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.keys = read_keys(path)

    def reload(self) -> None:
        """Read the file again; if it is refused, the keys stay as they were.

        Raises:
            StartError: As the constructor does.
        """
        self.keys = read_keys(self.path)

    def find(self, key: bytes) -> ApiKey | None:
        """Find a key; the time that it takes does not depend on which one it is like."""
        digest, found = hashlib.sha256(key).digest(), None
        for each in self.keys:
            if hmac.compare_digest(each.digest, digest):
                found = each
        return found


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """Read a file of keys.

    Raises:
        StartError: If the file cannot be read, others may read it, or it is empty or malformed.
            The message never has a key.
    """
    what = f"RESNET_API_KEYS_FILE (={str(path)!r})"
    try:
        with path.open("rb") as file:
            mode, content = path.stat().st_mode, file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StartError(f"{what} cannot be read: {error.strerror}.") from error
    if mode & OTHERS:
        raise StartError(
            f"{what} may be read or written by others (mode {stat.S_IMODE(mode):o}); "
            "run chmod 640 on it."
        )
    if len(content) > MAX_FILE_BYTES:
        raise StartError(f"{what} has more than {MAX_FILE_BYTES:,} bytes.")
    keys: dict[bytes, ApiKey] = {}
    for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        key = _read_line(line, f"line {number} of {what}")
        if key.digest in keys or key.name in {each.name for each in keys.values()}:
            raise StartError(f"line {number} of {what} repeats a name or a key.")
        keys[key.digest] = key
    if not keys:
        raise StartError(f"{what} has no key. Write lines {_FORM}, or unset it.")
    return tuple(keys.values())


def _read_line(line: str, where: str) -> ApiKey:
    match = _LINE.fullmatch(line.strip())
    if match is None:
        raise StartError(f"{where} is malformed: {_FORM}.")
    scopes = match["scopes"].split()
    if (match["scopes"] and not match["scopes"][0].isspace()) or set(scopes) - set(SCOPES):
        raise StartError(f"{where} has an unknown scope; scopes are {', '.join(SCOPES)}.")
    key, digest = match["key"], _DIGEST.fullmatch(match["key"].lower())
    if key.startswith("sha256:") and digest is None:
        raise StartError(f"{where} is malformed: after `sha256:` come 64 hexadecimal digits.")
    value = bytes.fromhex(digest[1]) if digest else hashlib.sha256(key.encode()).digest()
    return ApiKey(match["name"], value, frozenset(scopes) or DEFAULT_SCOPES)
