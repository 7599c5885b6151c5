"""How an artifact is refused: what the tests of reading share."""

import json
from pathlib import Path

import pytest

from model.artifact.folder import Artifact, ArtifactError, read


def refusal_of(path: Path) -> ArtifactError:
    """Give what `read` raises, after a check of its form."""
    with pytest.raises(ArtifactError) as refused:
        read(path)

    assert "\n" not in str(refused.value)
    assert str(path) in str(refused.value)
    return refused.value


def change_manifest(artifact: Artifact, **changes: object) -> None:
    """Set fields of a manifest that was written."""
    path = artifact.folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
