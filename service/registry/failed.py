"""A candidate that is not served: the whole reason for the log, a sentence for clients."""

import re
from dataclasses import dataclass
from pathlib import Path

_PATH = re.compile(r"(?<![\w.])/[^\s'\",;:)]*/(?=[^\s/])")
"""The folders of an absolute path, up to its last part."""


@dataclass(frozen=True)
class FailedLoad:
    """A candidate that is not served, and why.

    Attributes:
        folder: Where it is.
        digest: Its state when it was tried; it is tried again once that changes.
        reason: Why, as in the log.
    """

    folder: Path
    digest: str
    reason: str

    @property
    def name(self) -> str:
        """`<name>/<version>`: all that clients may know of its path."""
        return "/".join(self.folder.parts[1:][-2:])

    @property
    def public_reason(self) -> str:
        """The reason without the paths of this machine, and without onnxruntime's own words."""
        reason, was_cut, _ = self.reason.partition(": [ONNXRuntimeError]")
        return _PATH.sub("", reason.replace(str(self.folder), self.name)) + "." * bool(was_cut)
