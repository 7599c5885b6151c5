"""The reason that clients see of a candidate that failed to load."""

from pathlib import Path

import pytest

from service.registry.failed import FailedLoad


@pytest.mark.parametrize(
    ("reason", "public"),
    [
        ("/srv/my models/tiny/2/model.onnx has 1 bytes.", "tiny/2/model.onnx has 1 bytes."),
        ("/srv/my models/tiny/2 ended its process.", "tiny/2 ended its process."),
        (
            "it is a link out of its folder, to /etc/passwd",
            "it is a link out of its folder, to passwd",
        ),
        ("It fails: /onnxruntime_src/core/graph.cc:16 no", "It fails: graph.cc:16 no"),
        (
            "onnxruntime cannot load it: [ONNXRuntimeError] : 1 : FAIL",
            "onnxruntime cannot load it.",
        ),
        ("[Errno 2] No such file: '/usr/bin/python3'", "[Errno 2] No such file: 'python3'"),
        ("must be named tiny/2 and/or T-shirt/top", "must be named tiny/2 and/or T-shirt/top"),
    ],
)
def test_a_reason_is_public_without_the_paths_of_this_machine(reason: str, public: str) -> None:
    failed = FailedLoad(Path("/srv/my models/tiny/2"), "", reason)

    assert failed.name == "tiny/2"
    assert failed.public_reason == public


def test_a_folder_at_the_root_has_its_own_name() -> None:
    assert FailedLoad(Path("/model"), "", "").name == "model"
