import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from service.errors import InferenceFailedError, StartError
from service.inference.engine import Engine
from service.registry import loading
from service.registry.candidates import FailedLoad
from service.registry.cores import Cores, share_cores, suits_inline
from service.registry.loading import choose_workers, load_classifier
from service.registry.registry import ModelRegistry
from service.settings import Settings
from tests.service import graphs
from tests.service.conftest import SHIPPED, LoadEngine, MakeArtifact

# load_classifier


def test_the_newest_version_of_an_artifact_is_taken(make_artifact: MakeArtifact) -> None:
    make_artifact(version="9")
    folder = make_artifact(version="10").parent

    loaded = load_classifier(Settings(artifact=folder, intra_op_threads=1))

    assert loaded.info.model_dump() == {
        "name": "tiny",
        "version": "10",
        "precision": "float32",
        "provider": "cpu",
    }


def tampered(folder: Path) -> None:
    content = (folder / "model.float32.onnx").read_bytes()
    (folder / "model.float32.onnx").write_bytes(content[:-1] + bytes([content[-1] ^ 1]))


def longer(folder: Path) -> None:
    with (folder / "model.float32.onnx").open("ab") as file:
        file.write(b"\0")


def without_model(folder: Path) -> None:
    (folder / "model.float32.onnx").unlink()


def without_manifest(folder: Path) -> None:
    (folder / "manifest.json").unlink()


def broken_manifest(folder: Path) -> None:
    (folder / "manifest.json").write_text('{"name": "\n"}')


@pytest.mark.parametrize(
    ("damage", "cause"),
    [
        (tampered, "SHA-256"),
        (longer, "bytes; the manifest says"),
        (without_model, "cannot be read"),
        (without_manifest, "is not an artifact"),
        (broken_manifest, "manifest.json: "),
    ],
)
def test_a_damaged_artifact_is_refused_in_one_line(
    damage: Callable[[Path], None], cause: str, make_artifact: MakeArtifact
) -> None:
    folder = make_artifact()
    damage(folder)

    with pytest.raises(StartError, match=cause) as refused:
        load_classifier(Settings(artifact=folder))

    assert str(refused.value).isprintable()
    assert str(folder) in str(refused.value)


@pytest.mark.parametrize(
    ("model", "cause"),
    [
        (graphs.swapped(), "golden"),
        (graphs.nan_always(), "golden"),
        (graphs.one_row(), "answers for a batch"),
        (graphs.plain(labels=3), "inputs and outputs"),
        (b"\x08\x08", "cannot load"),
    ],
)
def test_a_model_that_cannot_be_trusted_is_refused_in_one_line(
    model: bytes, cause: str, make_artifact: MakeArtifact
) -> None:
    folder = make_artifact(model)

    with pytest.raises(StartError, match=cause) as refused:
        load_classifier(Settings(artifact=folder))

    assert str(refused.value).isprintable()


def test_a_model_that_fails_on_its_golden_images_names_the_cause(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise InferenceFailedError("Try again.") from RuntimeError("bad allocation\nin a node")

    folder = make_artifact()
    monkeypatch.setattr(Engine, "run", fail)

    with pytest.raises(StartError) as refused:
        load_classifier(Settings(artifact=folder))

    assert str(refused.value) == f"{folder} fails on its golden images: bad allocation"


def test_a_precision_that_the_artifact_lacks_is_refused(make_artifact: MakeArtifact) -> None:
    with pytest.raises(StartError, match="has no int8 model; it has float32"):
        load_classifier(Settings(artifact=make_artifact(), precision="int8"))


def test_a_precision_is_loaded_by_its_name(make_artifact: MakeArtifact) -> None:
    loaded = load_classifier(
        Settings(artifact=make_artifact(precision="int8"), precision="int8", intra_op_threads=1)
    )

    assert loaded.info.precision == "int8"


def test_the_shipped_artifact_is_whole() -> None:
    loaded = load_classifier(Settings(artifact=SHIPPED.parent, intra_op_threads=1))

    assert loaded.info.name == "fashion-mnist"
    assert loaded.manifest.labels[9] == "Ankle boot"


def test_the_engine_is_measured_for_each_batch_size(make_artifact: MakeArtifact) -> None:
    settings = Settings(
        artifact=make_artifact(), intra_op_threads=1, concurrent_runs=3, max_batch_size=6
    )

    cost = load_classifier(settings).batcher.cost

    assert [*cost.seconds] == [1, 2, 4, 6]
    assert all(0 < seconds < 1 for seconds in cost.seconds.values())
    assert cost.instances == 3


@pytest.mark.anyio
async def test_a_model_in_a_flat_folder_has_the_name_that_is_set_also_after_a_reload(
    make_artifact: MakeArtifact, tmp_path: Path, trials: list[Path]
) -> None:
    """As KServe mounts it: manifest and files in one folder, whatever the manifest's name."""
    flat = make_artifact().rename(tmp_path / "models")
    models = ModelRegistry(Settings(artifact=flat, model_name="shoes", intra_op_threads=1))
    before = models.find("shoes")
    manifest = flat / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"version":"1"', '"version":"2"'))

    loaded = models.load_if_changed(flat)

    assert (before.info.name, before.info.version) == ("shoes", "1")
    assert loaded is not None
    assert not isinstance(loaded, FailedLoad)
    assert (loaded.classifier.info.name, loaded.classifier.manifest.name) == ("shoes", "shoes")
    assert trials == [flat]


# share_cores and choose_workers


@pytest.mark.parametrize(
    ("usable", "settings", "cores"),
    [
        (1, {}, Cores(1, 1, 1)),
        (2, {}, Cores(1, 2, 1)),
        (3, {}, Cores(1, 2, 1)),
        (4, {}, Cores(1, 2, 2)),
        (64, {}, Cores(1, 2, 32)),
        (4, {"concurrent_runs": 1}, Cores(1, 1, 4)),
        (4, {"concurrent_runs": 8}, Cores(1, 8, 1)),
        (4, {"intra_op_threads": 3}, Cores(1, 2, 3)),
        (4, {"concurrent_runs": 3, "intra_op_threads": 5}, Cores(1, 3, 5)),
        (4, {"workers": 2}, Cores(2, 2, 1)),
        (4, {"workers": 4}, Cores(4, 1, 1)),
        (2, {"workers": 8}, Cores(8, 1, 1)),
        (16, {"workers": 2}, Cores(2, 2, 4)),
        (2, {"workers": "auto"}, Cores(1, 2, 1)),
    ],
)
def test_the_cores_are_shared(usable: int, settings: dict[str, Any], cores: Cores) -> None:
    assert share_cores(Settings(**settings), usable) == cores


@pytest.mark.parametrize(
    ("image_s", "settings", "layout"),
    [
        (0.0049, {}, (1, 4)),
        (0.0051, {}, (2, 2)),
        (0.0001, {"concurrent_runs": 2}, (2, 2)),
        (0.0001, {"intra_op_threads": 1}, (2, 1)),
    ],
)
def test_a_small_network_has_one_run_with_all_cores(
    image_s: float,
    settings: dict[str, Any],
    layout: tuple[int, int],
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda **_: 4)
    monkeypatch.setattr(loading, "measure", lambda *_: {1: image_s})

    loaded = load_classifier(Settings(artifact=make_artifact(), **settings))

    cost = loaded.batcher.cost
    assert (cost.instances, cost.threads) == layout
    assert loaded.engine.threads == layout[0] * (layout[1] - 1) + 1  # of the session they share


def _native_threads() -> int:
    """Count the threads that are not Python's, whose own may be about to begin or end."""
    counts = [-1, -2]
    while counts[-1] != counts[-2]:
        time.sleep(0.05)
        counts.append(len(list(Path("/proc/self/task").iterdir())) - threading.active_count())
    return counts[-1]


@pytest.mark.skipif(sys.platform != "linux", reason="threads are counted in /proc")
def test_runs_side_by_side_have_all_of_their_threads(load_engine: LoadEngine) -> None:
    before = _native_threads()

    engine = load_engine(threads=Cores(1, instances=2, threads=2).session_threads)

    own = _native_threads() - before
    assert own + 2 == 2 * 2  # what the session has, and its two callers
    assert engine.threads == own + 1


@pytest.mark.parametrize(
    ("usable", "cores", "image_s", "suits"),
    [
        (1, Cores(1, 1, 1), 0.001, True),
        (1, Cores(1, 1, 1), 0.0051, False),
        (1, Cores(1, 2, 1), 0.001, False),
        (2, Cores(1, 1, 1), 0.001, False),
        (2, Cores(2, 1, 1), 0.001, True),
        (2, Cores(8, 1, 1), 0.001, True),
    ],
)
def test_the_loop_runs_a_small_network_where_a_worker_has_one_core(
    usable: int, cores: Cores, image_s: float, suits: bool
) -> None:
    assert suits_inline(cores, usable, {1: image_s}) == suits


@pytest.mark.parametrize(
    ("asked", "usable", "image_s", "workers"),
    [
        (1, 8, 0.0001, 1),
        (3, 8, 1.0, 3),
        (3, 1, 1.0, 3),
        ("auto", 1, 0.0001, 1),
        ("auto", 4, 0.0001, 4),
        ("auto", 4, 0.0049, 4),
        ("auto", 4, 0.0051, 1),
    ],
)
def test_a_small_network_gets_a_worker_for_each_core_if_that_is_left_to_us(  # noqa: PLR0913, PLR0917
    asked: Any,
    usable: int,
    image_s: float,
    workers: int,
    make_artifact: MakeArtifact,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda **_: usable)
    monkeypatch.setattr(loading, "measure", lambda *_: {1: image_s})

    assert choose_workers(Settings(artifact=make_artifact(), workers=asked)) == workers


@pytest.mark.parametrize(("gpus", "workers"), [(0, 1), (1, 1), (4, 4)])
def test_on_cuda_a_worker_a_gpu_is_chosen_unseen(
    gpus: int, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda **_: 8)
    settings = Settings(artifact=Path("nothing"), provider="cuda", workers="auto")

    assert choose_workers(settings, gpus=gpus) == workers


def test_gpus_that_the_engine_does_not_get_count_for_nothing(
    make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda **_: 1)

    assert choose_workers(Settings(artifact=make_artifact(), workers="auto"), gpus=2) == 1


@pytest.mark.parametrize("asked", [2, "auto"])
def test_a_model_that_cannot_be_trusted_is_refused_before_any_worker_starts(
    asked: Any, make_artifact: MakeArtifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loading, "usable_cores", lambda **_: 2)

    with pytest.raises(StartError, match="golden"):
        choose_workers(Settings(artifact=make_artifact(graphs.swapped()), workers=asked))
