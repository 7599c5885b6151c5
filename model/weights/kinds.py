"""What a file is that was given as weights, by its first bytes.

`model.weights.file` checks before it reads, so that the error names a web page or a Git LFS
pointer as such.
"""

import json
import re
import stat
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

HEAD = 4096
"""Bytes that are compared."""

SAVE = "Save `network.state_dict()` as .pth or .safetensors where it was trained."
UNPACK = "Unpack it, and name the file of weights in it."
AGAIN = "Download it again."


class Kind(NamedTuple):
    """What a file is.

    Attributes:
        what: With its article.
        way: What to do.
    """

    what: str
    way: str


WEIGHTS = (".safetensors", ".pth", ".pt", ".th", ".bin", ".ckpt")
"""Endings of the names of weights, to name one in a folder or an archive."""

MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file, as Keras writes weights", SAVE),
    (b"\x08\x01\x12", "a SavedModel of TensorFlow", SAVE),
    (b"\x93NUMPY", "a NumPy array", SAVE),
    (b"GGUF", "a GGUF file", SAVE),
    (b"\x1f\x8b", "a gzip archive", UNPACK),
    (b"BZh", "a bzip2 archive", UNPACK),
    (b"\xfd7zXZ\x00", "an xz archive", UNPACK),
    (b"\x28\xb5\x2f\xfd", "a zstd archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x89PNG", "a PNG image", SAVE),
    (b"\xff\xd8\xff", "a JPEG image", SAVE),
    (b"GIF8", "a GIF image", SAVE),
    (b"RIFF", "a RIFF file, such as a WebP image", SAVE),
    (b"BM", "a BMP image", SAVE),
    (b"%PDF", "a PDF document", SAVE),
    (b"\x7fELF", "a program", SAVE),
)
ONNX = re.compile(rb"\x08[\x03-\x1f](?:[\x12\x1a\x22\x32]|\x28.|\x3a)|[\s\S]*ai\.onnx")
TENSORFLOW = re.compile(rb"\x0a[\s\S]{0,400}(?:Placeholder|Const|IteratorV2|VariableV2)")
TORCH = (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
"""Begins the files of `torch.save` before there were zip files."""
PROTOCOLS = (b"\x02", b"\x03", b"\x04", b"\x05")
PAGE = re.compile(rb"(?:\xef\xbb\xbf)?\s*<(?:!doctype|html|head|body|\?xml|error)", re.IGNORECASE)


def check_place(path: Path) -> Kind | None:
    """Say what stands at a path if it is no regular file with something in it.

    Raises:
        OSError: If its status cannot be read.
    """
    found = path.stat()
    if stat.S_ISDIR(found.st_mode):
        inside = (
            *sorted(each for each in path.glob("checkpoints/best.ckpt")),
            *sorted(each for each in path.iterdir() if each.suffix in WEIGHTS),
        )
        return Kind("a folder", f"Name {inside[0]}." if inside else "Name a file in it.")
    if not stat.S_ISREG(found.st_mode):
        return Kind("no regular file, but a pipe or a device", "Name a file.")
    if not found.st_size:
        return Kind("empty", AGAIN)
    return None


def foreign_kind(path: Path) -> Kind | None:
    """Say what a regular file is if it is none of weights; None if it may be.

    Raises:
        OSError: If it cannot be read.
    """
    with path.open("rb") as file:
        head = file.read(HEAD)
    size = path.stat().st_size
    if head.startswith(b"version https://git-lfs"):
        return Kind(
            f"a Git LFS pointer of {size} bytes, which stands for the file",
            "Fetch the file itself with `git lfs pull`, or download it.",
        )
    if PAGE.match(head):
        return Kind("a web page (HTML or XML)", "Download the file itself, not the page about it.")
    for magic, what, way in MAGIC:
        if head.startswith(magic):
            return Kind(what, way)
    if head.startswith(b"PK"):
        return _zipped(path)
    if head[257:262] == b"ustar":
        return _tarred(path)
    if head.startswith(b"\x80") and head[1:2] in PROTOCOLS and TORCH not in head[:32]:
        return Kind("a pickle that `torch.save` did not write", SAVE)
    return None if is_safetensors(head) else _graph(head) or _text(head)


def _graph(head: bytes) -> Kind | None:
    """Tell files that hold a program as well as its weights."""
    if head[4:8] == b"TFL3":
        return Kind("a TensorFlow Lite model", SAVE)
    if ONNX.match(head):
        return Kind("an ONNX model", f"Its weights are part of the graph. {SAVE}")
    if TENSORFLOW.match(head):
        return Kind("a graph of TensorFlow", SAVE)
    return None


def is_safetensors(head: bytes) -> bool:
    """Tell by its first bytes whether a file is in the format of safetensors."""
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") < 10**8


def missing_bytes(path: Path) -> int:
    """Tell how many bytes a file of safetensors lacks at its end; 0 if it says nothing."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        raw = file.read(length)
    if len(raw) < length:
        return length - len(raw)
    try:
        header = json.loads(raw)
        ends = [each["data_offsets"][1] for key, each in header.items() if key != "__metadata__"]
        return max(0, 8 + length + max(ends, default=0) - path.stat().st_size)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return 0


def _zipped(path: Path) -> Kind | None:
    """Tell torch's own zip files from others."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, LookupError, NotImplementedError):
        return Kind("a zip file that is cut short or damaged", AGAIN)
    leaves = {name.split("/", 1)[-1] for name in names}
    if "model.weights.h5" in leaves:
        return Kind("a model of Keras", SAVE)
    if "archive_format" in leaves or any(leaf.startswith("models/") for leaf in leaves):
        return Kind("a program of `torch.export`", SAVE)
    if "constants.pkl" in leaves or any(leaf.startswith("code/") for leaf in leaves):
        return Kind(
            "a TorchScript program",
            "Save `torch.jit.load(file).state_dict()` as .pth where you trust it.",
        )
    if "data.pkl" in leaves:
        return None
    if names and all(name.endswith(".npy") for name in names):
        return Kind("an archive of NumPy arrays (.npz)", SAVE)
    inside = [name for name in names if name.endswith(WEIGHTS) and name.isprintable()]
    return Kind(f"a zip archive{f' with {inside[0][:80]} in it' if inside else ''}", UNPACK)


def _tarred(path: Path) -> Kind:
    try:
        with tarfile.open(path) as archive:
            first = {archive.next().name for _ in range(4)}  # type: ignore[union-attr]
    except (tarfile.TarError, AttributeError, ValueError, OSError):
        first = set()
    if "storages" in first or "pickle" in first:
        return Kind("a checkpoint of PyTorch before 0.2 (tar)", SAVE)
    return Kind("a tar archive", UNPACK)


def _text(head: bytes) -> Kind | None:
    """Tell files of text, JSON among them."""
    try:
        text = head.decode("utf-8") if len(head) < HEAD else head[:-4].decode("utf-8", "ignore")
    except UnicodeDecodeError:
        return None
    if not all(character.isprintable() or character in "\r\n\t\f" for character in text):
        return None
    if '"weight_map"' in text:
        shard = re.search(r'"([^"]{1,80}\.(?:safetensors|bin))"', text)
        where = f" such as {shard[1]}" if shard else ""
        return Kind(
            f"a list of shards (index.json); the weights are in files{where}",
            "Join them to one file, or take a checkpoint in one file.",
        )
    if text.lstrip().startswith(("{", "[")):
        return Kind("a file of JSON", "Name the file of weights beside it.")
    return Kind("a file of text", "Download the file of weights itself.")
