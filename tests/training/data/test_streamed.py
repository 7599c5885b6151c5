"""Folders of more images than are held in memory: the same images, decoded when needed."""

import logging
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from tests.conftest import MakeImages
from training.data import memory
from training.data.dataset import Dataset, DatasetError
from training.data.duplicates import find_duplicates
from training.data.folder import read_image_folder
from training.data.loader import StreamingLoader, in_batches, loader, worker_died
from training.data.streamed import StreamedSplit


@pytest.fixture
def root(make_images: MakeImages) -> Path:
    return make_images(labels={"boot": 30, "coat": 30}, image_size=14)


def _streamed(root: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    with monkeypatch.context() as patch:
        patch.setattr(memory, "MAX_FILES", 0)
        return read_image_folder(root)


def _train(dataset: Dataset) -> StreamedSplit:
    assert isinstance(dataset.train, StreamedSplit)
    return dataset.train


def test_a_streamed_folder_holds_what_it_would_hold_in_memory(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = read_image_folder(root)

    streamed = _streamed(root, monkeypatch)

    assert streamed.preprocessing == whole.preprocessing
    assert streamed.files == whole.files
    for name, split in streamed.splits.items():
        assert split.is_streamed == (name != "calibration")  # too few for one
        assert torch.equal(split.targets, whole.splits[name].targets)
        assert torch.equal(split.images, whole.splits[name].images)
        assert torch.equal(torch.cat(list(in_batches(split))), split.images)
    assert torch.equal(streamed.train[[3, 1]].images, whole.train.images[[3, 1]])


def test_either_way_of_reading_knows_the_digest_of_the_other(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, streamed = read_image_folder(root), _streamed(root, monkeypatch)
    (root / "boot" / "0.png").write_bytes((root / "coat" / "0.png").read_bytes())

    other = read_image_folder(root)

    assert streamed.sha256 != whole.sha256
    assert whole.has_digest(streamed.sha256)
    assert not other.has_digest(streamed.sha256)
    assert not other.has_digest(whole.sha256)


def test_the_digest_of_a_run_in_memory_is_found_by_reading_all_files(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert _streamed(root, monkeypatch).has_digest(read_image_folder(root).sha256)


def test_copies_of_files_are_found_without_decoding(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (root / "coat" / "copy.png").write_bytes((root / "boot" / "0.png").read_bytes())

    dataset = _streamed(root, monkeypatch)

    (group,) = find_duplicates(dataset)
    names = {dataset.files[place.split][place.position] for place in group}
    assert names == {"boot/0.png", "coat/copy.png"}


def test_the_next_image_of_its_label_takes_the_place_of_a_broken_one(
    root: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    split = _train(_streamed(root, monkeypatch))
    before, last = split.images, int((split.targets == 0).sum()) - 1
    path = split.paths[last]  # of its label: the first of them follows
    path.write_bytes(path.read_bytes()[:-60])  # its header is whole

    batches = loader(split, 16)
    with caplog.at_level(logging.WARNING, "training"):
        images = [torch.cat([batch for batch, _ in batches]) for _ in range(2)]

    assert torch.equal(images[0], images[1])
    assert torch.equal(images[0][last], before[0])
    kept = [position for position in range(len(split)) if position != last]
    assert torch.equal(images[0][kept], before[kept])
    (message,) = caplog.messages
    assert message.startswith(f"left out: {path}: ")


def test_a_label_without_a_readable_image_stops_the_run(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = _train(_streamed(root, monkeypatch))
    for position in (split.targets == 1).nonzero().flatten().tolist():
        split.paths[position].unlink()

    with pytest.raises(DatasetError, match=r"No readable image can replace .*coat"):
        list(loader(split, 16))


def test_workers_change_neither_order_nor_images_and_an_epoch_can_start_in_the_middle(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    split = _train(_streamed(root, monkeypatch))
    whole = _epochs(loader(split, 8, 5), (0, 1))
    monkeypatch.setattr("training.data.loader.MIN_IMAGES_FOR_WORKERS", 0)
    torch.manual_seed(0)
    state = torch.get_rng_state()

    batches = loader(split, 8, 5)

    assert isinstance(batches, StreamingLoader)
    assert batches.num_workers > 0
    assert _same(_epochs(batches, (0, 1)), whole)
    begun = iter(batches)  # as Lightning does, before it tells the epoch
    batches.sampler.set_epoch(1)  # type: ignore[attr-defined]
    batches.sampler.seen = 16  # type: ignore[attr-defined]
    per_epoch = len(whole) // 2
    assert _same(list(begun), whole[per_epoch + 2 :])
    assert torch.equal(torch.get_rng_state(), state)  # none of the run's numbers is used
    assert "images/s" in batches.pace.describe()


def test_a_worker_that_died_is_one_line_and_other_errors_are_not_explained() -> None:
    bus = "DataLoader worker (pid 7) is killed by signal: Bus error. It is possible that\nmore"

    assert worker_died(RuntimeError(bus)).startswith(
        "A process that decodes images has ended (DataLoader worker (pid 7) is killed by signal: "
        "Bus error). In a container, give it more shared memory"
    )
    assert not worker_died(RuntimeError("Caught RuntimeError in DataLoader worker process 0."))


def _epochs(
    batches: "torch.utils.data.DataLoader[object]", epochs: tuple[int, ...]
) -> list[object]:
    found: list[object] = []
    for epoch in epochs:
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]
        found += list(batches)
    return found


def _same(some: list[object], others: list[object]) -> bool:
    return len(some) == len(others) and all(
        torch.equal(one[0], other[0]) and torch.equal(one[1], other[1])  # type: ignore[index]
        for one, other in zip(some, others, strict=True)
    )
