"""What an export says at its end, and what it does with a precision that fails."""

from pathlib import Path

import pytest

pytest.importorskip("torch")

from model.artifact.folder import read
from model.artifact.manifest import Precision
from tests.conftest import Command
from tests.service.conftest import SHIPPED
from tests.training.export.test_quantize_gate import _blind
from training.cli import export as cli
from training.cli.main import export_script
from training.data.dataset import Dataset
from training.evaluation.predict import onnx_session
from training.export.verdict import verdict
from training.fit.loop import Outcome


def test_three_lines_say_what_is_served_where_what_it_costs_and_what_to_look_at() -> None:
    manifest = read(SHIPPED).manifest

    served, costs, look_at = verdict(manifest, ("float16",))

    assert served.startswith("served:  int8 on processors with VNNI or AMX (0.8 MB, ")
    assert served.endswith("; float16 on CUDA (1.5 MB); float32 on everything else (2.9 MB)")
    assert costs.startswith(
        "costs:   top-1 95.49 % on 10,000 test images, float16 ".replace(" %", "%")
    )
    assert look_at == "look at: float16 lost too much accuracy and is left out (see above)"


def test_figures_of_few_images_and_a_calibration_that_harms_are_named() -> None:
    manifest = read(SHIPPED).manifest
    assert manifest.metrics is not None
    full = manifest.files["float32"]
    assert full.calibration is not None
    after = full.calibration.after.model_copy(update={"nll": 0.9})
    calibration = full.calibration.model_copy(update={"after": after})
    weak = manifest.model_copy(
        update={
            "metrics": manifest.metrics.model_copy(
                update={"n": 24, "top1": 15 / 24, "split": "validation"}
            ),
            "files": {"float32": full.model_copy(update={"calibration": calibration})},
        }
    )

    served, _, look_at = verdict(weak)

    assert served == "served:  float32 on every machine (2.9 MB)"
    assert "24 images put top-1 between 43% and 79%" in look_at  # Wilson's, by another program
    assert "of the validation split, which also chose the weights" in look_at
    assert "calibration made NLL worse" in look_at


def test_all_precisions_are_made_and_one_that_fails_its_gate_is_left_out_in_words(
    command: Command,
    trained: Outcome,
    small_fashion: Dataset,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(cli, "dataset_to_evaluate", lambda *_, **__: small_fashion)
    monkeypatch.setattr("training.export.precisions.to_float16", _blind)
    monkeypatch.setattr("training.export.precisions.range_estimators", lambda _: ("minmax",))
    monkeypatch.setattr("training.export.checkpoint.speed_of", lambda *_: None)
    out = tmp_path / "a" / "1"

    finished = command(
        export_script, trained.folder.path, "--out", out, "--gate", "int8=100", "--no-samples"
    )

    assert finished.code == 0, finished.err
    assert list(read(out).manifest.files) == ["float32", "int8"]
    lines = finished.out.splitlines()
    (why,) = [line for line in lines if line.startswith("float16 is left out: float16 loses ")]
    assert why.endswith("change it with --gate float16=POINTS).")
    starts = [line.split(":")[0] for line in lines[-5:]]
    assert starts == ["written", "served", "costs", "look at", "tables"]
    assert "float16 lost too much accuracy and is left out" in lines[-2]
    assert [line for line in lines if line.endswith(": converting and measuring")] == [
        f"{name}: converting and measuring" for name in ("float32", "float16", "int8")
    ]
    images = read(out).golden_images()
    assert len(images) == 10
    assert all(golden.generated for golden in read(out).manifest.golden)
    known = {
        image.tobytes() for split in small_fashion.splits.values() for image in split.images.numpy()
    }
    assert not known & {image.tobytes() for image in images}
    precisions: tuple[Precision, ...] = ("float32", "int8")
    for precision in precisions:
        session = onnx_session(read(out).model(precision))
        (probabilities,) = session.run(["probabilities"], {"images": images})
        assert probabilities.argmax(1).tolist() == [each.top1 for each in read(out).manifest.golden]
        about = session.get_modelmeta()
        assert about.custom_metadata_map["version"] == "1"
        assert about.graph_description.startswith("Images uint8 (N, 14, 14, 1), grey, 0 to 255")
