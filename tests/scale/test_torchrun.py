"""One run in several processes: exact, stopped, killed, resumed, on one host and on two."""

import csv
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.scale.torchrun import Ended, can_have_hosts, make_images, train, two_hosts, watched
from tests.training.run_files import assert_same_run
from training.runs.folder import RunFolder

pytestmark = pytest.mark.timeout(1800)

SETTINGS = (
    "architecture=resnet20",
    "batch_size=24",
    "class_weights=true",
    "epochs=4",
    "image_size=14",
    "optimizer=sgd",
    "learning_rate=0.002",
    "precision=float32",
)
PLAIN = ("flip=false", "random_erasing=0", "random_shift=0", "resolution_start=1")
needs_hosts = pytest.mark.skipif(not can_have_hosts(), reason="root and `ip` are needed")


def _options(images: Path, *more: str) -> list[object]:
    changes = [part for change in (*SETTINGS, *more) for part in ("--set", change)]
    return ["--data", images, "--out", "run", *changes]


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Unequal labels; the last batch of an epoch cannot be divided equally."""
    return make_images(tmp_path_factory.mktemp("images") / "images", {"a": 45, "b": 60, "c": 84})


@pytest.fixture(scope="module")
def alone(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One process, without augmentation, and norms that do not look at the batch."""
    folder = tmp_path_factory.mktemp("alone")
    ended = train(folder, 1, *_options(images, *PLAIN), GROUP_NORM=1, WATCH="seen")
    assert ended.codes == (0,), ended.err
    return folder


@pytest.fixture(scope="module")
def whole(images: Path, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """Two processes to the end, with augmentation, averaged weights and batch norms."""
    folder = tmp_path_factory.mktemp("whole")
    ended = train(folder, 2, *_options(images))
    assert ended.codes == (0,), ended.err
    return RunFolder(folder / "run")


def _assert_exact(folder: Path, reference: Path) -> None:
    seen, expected = watched(folder, "seen"), watched(reference, "seen")
    assert len(expected.losses) >= 20
    assert seen.losses == pytest.approx(expected.losses, abs=1e-3)
    assert seen.images == expected.images
    assert seen.validated == expected.validated
    figures = [_figures(place / "run") for place in (folder, reference)]
    assert figures[0] == pytest.approx(figures[1], abs=1e-3)


def _figures(run: Path) -> list[float]:
    with (run / "metrics.csv").open(newline="") as file:
        names = ("train_loss", "train_acc", "val_loss", "val_acc")
        return [float(row[name]) for row in csv.DictReader(file) for name in names]


@pytest.mark.parametrize("processes", [2, 4])
def test_processes_have_the_losses_of_one(
    processes: int, images: Path, alone: Path, tmp_path: Path
) -> None:
    ended = train(tmp_path, processes, *_options(images, *PLAIN), GROUP_NORM=1, WATCH="seen")

    assert ended.codes == (0,), ended.err
    assert ended.out.count("done after 4 epochs") == 1
    _assert_exact(tmp_path, alone)


def test_a_streamed_folder_is_shared_alike(images: Path, alone: Path, tmp_path: Path) -> None:
    options = _options(images, *PLAIN)

    ended = train(tmp_path, 2, *options, GROUP_NORM=1, WATCH="seen", MAX_FILES=10)

    assert ended.codes == (0,), ended.err
    assert "too many to hold in memory" in ended.out
    _assert_exact(tmp_path, alone)


def test_a_run_whose_second_process_was_told_to_stop_goes_on_bit_for_bit(
    images: Path, whole: RunFolder, tmp_path: Path
) -> None:
    sent = f"1:9:{signal.SIGTERM.value}"  # within the second epoch

    stopped = train(tmp_path, 2, *_options(images), SEND=sent)

    assert stopped.codes == (1,)  # torchrun's own
    assert "interrupted after 1 epoch;" in stopped.out
    assert "exitcode: 143" in stopped.err
    last = RunFolder(tmp_path / "run").last
    assert torch.load(last, weights_only=True)["global_step"] == 10
    resumed = train(tmp_path, 2, "--resume", "--out", "run")
    assert resumed.codes == (0,), resumed.err
    assert_same_run(RunFolder(tmp_path / "run"), whole)


def test_a_run_goes_on_with_another_number_of_processes(images: Path, tmp_path: Path) -> None:
    train(tmp_path, 2, *_options(images), SEND=f"0:9:{signal.SIGTERM.value}")

    refused = train(tmp_path, 5, "--resume", "--out", "run")
    resumed = train(tmp_path, 3, "--resume", "--out", "run")

    assert refused.errors() == [
        "error: `batch_size` (=24) is that of all processes together and must be a multiple of 5 "
        "for 5 of them. Start 4, or use --set batch_size=20 or 25."
    ]
    assert resumed.codes == (0,), resumed.err
    last = torch.load(RunFolder(tmp_path / "run").last, weights_only=True)
    assert (last["global_step"], last["epoch"]) == (4 * 7, 3)
    assert len(last["random_by_rank"]["torch"]) == 3


def test_a_killed_process_ends_the_run_with_one_line_and_it_goes_on(
    images: Path, whole: RunFolder, tmp_path: Path
) -> None:
    killed = train(tmp_path, 2, *_options(images), SEND=f"1:9:{signal.SIGKILL.value}")

    _assert_lost(killed)
    resumed = train(tmp_path, 2, "--resume", "--out", "run")
    assert resumed.codes == (0,), resumed.err
    assert_same_run(RunFolder(tmp_path / "run"), whole)


def _assert_lost(ended: Ended) -> None:
    (line,) = ended.errors()
    assert "Another process of the run has ended, or did not answer" in line
    assert line.endswith("with any number of processes: run/checkpoints/last.ckpt is intact.")
    assert set(ended.codes) == {1}
    assert "Unable to shutdown" not in ended.err  # torchrun had to kill nobody


def test_torchruns_restart_goes_on_from_the_last_checkpoint(
    images: Path, whole: RunFolder, tmp_path: Path
) -> None:
    sent, launch = f"1:9:{signal.SIGKILL.value}", ["--max-restarts=1"]

    # torch 2.13 would give the new processes the addresses of the old ones.
    ended = train(
        tmp_path,
        2,
        *_options(images),
        SEND=sent,
        TORCH_DISABLE_SHARE_RDZV_TCP_STORE=1,
        launch=launch,
    )

    assert ended.codes == (0,), ended.err
    assert_same_run(RunFolder(tmp_path / "run"), whole)


def test_a_process_that_does_not_answer_is_given_up(images: Path, tmp_path: Path) -> None:
    sent, launch = f"1:9:{signal.SIGSTOP.value}", ["--shutdown-timeout=2"]

    ended = train(tmp_path, 2, *_options(images), SEND=sent, launch=launch, TIMEOUT_S=20)

    (line,) = ended.errors()
    assert "did not answer for 0.333 minutes" in line
    assert ended.codes == (1,)


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two network namespaces."""
    with two_hosts() as names:
        yield names


@needs_hosts
def test_two_hosts_have_the_losses_of_one(
    images: Path, alone: Path, hosts: tuple[str, str], tmp_path: Path
) -> None:
    options = _options(images, *PLAIN)

    ended = train(tmp_path, 1, *options, hosts=hosts, GROUP_NORM=1, WATCH="seen")

    assert ended.codes == (0, 0), ended.err
    assert ended.out.count("done after 4 epochs") == 1
    _assert_exact(tmp_path, alone)


@needs_hosts
def test_a_host_that_loses_its_process_ends_the_other_and_one_host_goes_on(
    images: Path, hosts: tuple[str, str], tmp_path: Path
) -> None:
    sent = f"1:9:{signal.SIGKILL.value}"

    killed = train(tmp_path, 1, *_options(images), hosts=hosts, SEND=sent)

    _assert_lost(killed)
    resumed = train(tmp_path, 1, "--resume", "--out", "run")
    assert resumed.codes == (0,), resumed.err


@needs_hosts
def test_hosts_with_different_images_are_refused(
    images: Path, hosts: tuple[str, str], tmp_path: Path
) -> None:
    other = make_images(tmp_path / "other", {"a": 45, "b": 60, "c": 83})
    _, _, *options = _options(images)

    ended = train(tmp_path, 1, "--data", [images, other], *options, hosts=hosts)

    (line,) = ended.errors()
    assert "error: Rank 1, on " in line
    assert "has another dataset_sha256 (" in line
    assert not (tmp_path / "run").exists()
