"""An artifact that an earlier version wrote is served, and the log names what was passed over."""

import json
import logging

import pytest

from service.registry.loading import load_classifier
from service.settings import Settings
from tests.service.conftest import MakeArtifact


def test_what_is_passed_over_in_an_older_manifest_is_logged(
    make_artifact: MakeArtifact, caplog: pytest.LogCaptureFixture
) -> None:
    folder = make_artifact()
    path = folder / "manifest.json"
    older = {"schema_version": 1, "comment": "hello"}
    path.write_text(json.dumps(json.loads(path.read_bytes()) | older))

    with caplog.at_level(logging.WARNING):
        loaded = load_classifier(Settings(artifact=folder, intra_op_threads=1))

    assert loaded.info.name == "tiny"
    (line,) = [record for record in caplog.records if record.message == "manifest fields ignored"]
    assert vars(line)["fields"] == {
        "which": "comment",
        "why": f"An earlier version wrote {folder}.",
    }
