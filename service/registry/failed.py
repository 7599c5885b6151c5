"""A candidate that failed to load: the full reason for the log, a short one for clients."""

import re
from dataclasses import dataclass
from pathlib import Path

_PATH = re.compile(r"(?<![\w.])/[^\s'\",;:)]*/(?=[^\s/])")
"""The parent folders of an absolute path."""


@dataclass(frozen=True)
class FailedLoad:
    """A candidate that failed to load, and why.

    Attributes:
        folder: Of the candidate.
        digest: Of the folder when it was tried; a change leads to another try.
        reason: As in the log.
    """

    folder: Path
    digest: str
    reason: str

    @property
    def name(self) -> str:
        """`<name>/<version>`, the part of its path that clients may see."""
        return "/".join(self.folder.parts[1:][-2:])

    @property
    def public_reason(self) -> str:
        """The reason without paths of this machine, and without onnxruntime's message."""
        reason, was_cut, _ = self.reason.partition(": [ONNXRuntimeError]")
        return _PATH.sub("", reason.replace(str(self.folder), self.name)) + "." * bool(was_cut)
