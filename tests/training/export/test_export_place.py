"""Where an artifact may be written is known before any work, and what lies beside it is extra."""

import shutil
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")

from model.architecture.family import get_architecture
from model.artifact.folder import ArtifactExistsError, read
from tests.conftest import Command
from training.cli.main import export_script
from training.data.dataset import Dataset, DatasetError
from training.errors import ExportError
from training.evaluation.predict import TrainedNetwork, load_network
from training.export import checkpoint as export
from training.export.checkpoint import CALIBRATED_DIAGRAM, export_checkpoint
from training.export.options import Options
from training.export.uncalibrated import export_random
from training.fit.loop import Outcome


@pytest.fixture
def network(trained: Outcome) -> TrainedNetwork:
    return load_network(trained.folder.path)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fail a test that goes on to predict, which is the first work of an export."""

    def begin(*_: Any) -> None:
        raise AssertionError("the export has begun")

    monkeypatch.setattr(export, "predict_split", begin)


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("place", "cause"),
    [
        ("shoes/latest", r"the version \(='latest'\), the last part of --out, must be a whole num"),
        ("shoes/0", "the version"),
        ("shoes/01", "the version"),
        ("brown shoes/1", r"the name \(='brown shoes'\), the part of --out before the version"),
        (f"{'n' * 65}/1", "1 to 64 English letters"),
    ],
)
def test_a_place_whose_name_cannot_be_an_artifacts_is_refused_before_any_work(
    network: TrainedNetwork, small_fashion: Dataset, tmp_path: Path, place: str, cause: str
) -> None:
    with pytest.raises(ExportError, match=cause) as refused:
        export_checkpoint(network, small_fashion, tmp_path / place)
    with pytest.raises(ExportError, match=cause):
        export_random(get_architecture("mini_resnet"), tmp_path / place)

    assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize("name", ["missing", "empty", "broken"])
def test_ood_images_that_are_not_there_are_refused_before_any_work(
    network: TrainedNetwork, small_fashion: Dataset, tmp_path: Path, name: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "0.png").write_bytes(b"no image")
    options = Options(ood_images=tmp_path / name)

    with pytest.raises(DatasetError, match=f"{name} has no readable image"):
        export_checkpoint(network, small_fashion, tmp_path / "a" / "1", options)


@pytest.mark.parametrize(
    ("more", "cause"),
    [
        (("--out", "a/latest"), "a/latest: the version (='latest')"),
        (("--out", "a/1", "--ood-images", "none"), "none has no readable image"),
    ],
)
def test_the_command_refuses_before_run_and_data_are_read(
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    more: tuple[str, ...],
    cause: str,
) -> None:
    monkeypatch.chdir(tmp_path)

    finished = command(export_script, "run", "--data", "nowhere", *more)

    assert finished.code == 1
    assert finished.err.startswith(f"error: {cause}")
    assert finished.err.count("\n") == 1


def test_a_place_that_is_taken_is_refused_before_any_work(
    network: TrainedNetwork, small_fashion: Dataset, tmp_path: Path
) -> None:
    taken = tmp_path / "shoes" / "1"
    taken.mkdir(parents=True)

    with pytest.raises(ArtifactExistsError, match="--overwrite"):
        export_checkpoint(network, small_fashion, taken)
    with pytest.raises(ArtifactExistsError, match="--overwrite"):
        export_random(get_architecture("mini_resnet"), taken)

    assert list(taken.iterdir()) == []


def test_a_run_folder_that_takes_no_figure_does_not_fail_the_export(
    trained: Outcome,
    small_fashion: Dataset,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    run = tmp_path / "run"
    shutil.copytree(trained.folder.path, run)
    (run / CALIBRATED_DIAGRAM).unlink(missing_ok=True)
    (run / CALIBRATED_DIAGRAM).mkdir()  # no file can take its place

    artifact = export_checkpoint(load_network(run), small_fashion, tmp_path / "shoes" / "1")

    assert read(tmp_path / "shoes").manifest == artifact.manifest
    ours = [each.getMessage() for each in caplog.records if each.name.startswith("training")]
    assert ours == [f"note: {run / CALIBRATED_DIAGRAM} cannot be drawn: Is a directory"]
