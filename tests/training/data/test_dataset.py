"""Splits, loaders, statistics, and the choice of a reader."""

from collections.abc import Callable
from itertools import zip_longest
from pathlib import Path

import pytest

pytest.importorskip("torch")

import torch

from training.data.dataset import Dataset, DatasetError, MemorySplit, channel_statistics
from training.data.loader import eval_batch_size, loader
from training.data.open import read_dataset

NUMBERED = MemorySplit(torch.zeros(10, 2, 2, 1, dtype=torch.uint8), torch.arange(10))


def _order(seed: int | None, epoch: int) -> list[int]:
    batches = loader(NUMBERED, 5, seed)
    if seed is not None:
        batches.sampler.set_epoch(epoch)  # type: ignore[attr-defined]  # as Lightning does
    return [target for _, targets in batches for target in targets.tolist()]


@pytest.mark.parametrize(
    ("size", "images"), [(28, 500), (32, 500), (64, 125), (224, 10), (2_000, 1)]
)
def test_as_many_pixels_are_looked_at_together(size: int, images: int) -> None:
    assert eval_batch_size(size) == images


def test_the_loader_gives_whole_batches_and_the_rest() -> None:
    batches = list(loader(NUMBERED, 4))

    assert [tuple(images.shape) for images, _ in batches] == [
        (4, 2, 2, 1),
        (4, 2, 2, 1),
        (2, 2, 2, 1),
    ]
    assert _order(None, 0) == list(range(10))


@pytest.mark.parametrize(
    ("images", "seed", "sizes"),
    [(9, 0, [4, 4]), (10, 0, [4, 4, 2]), (9, None, [4, 4, 1]), (1, 0, [1])],
)
def test_a_last_batch_of_one_image_is_not_learnt_from(
    images: int, seed: int | None, sizes: list[int]
) -> None:
    batches = list(loader(NUMBERED[:images], 4, seed))

    assert [len(targets) for _, targets in batches] == sizes


def test_shuffling_gives_every_image_once() -> None:
    order = _order(5, 0)

    assert sorted(order) == list(range(10))
    assert order != list(range(10))


def test_the_order_depends_on_the_seed_and_the_epoch_alone() -> None:
    torch.manual_seed(1)
    first = _order(5, 3)
    torch.manual_seed(2)
    again = _order(5, 3)

    assert first == again
    assert _order(5, 4) != first
    assert _order(6, 3) != first


Steps = list[list[list[int]]]
"""Targets that each process takes, by step and rank."""


def _steps(
    monkeypatch: pytest.MonkeyPatch, images: int, world_size: int, seed: int | None = 5
) -> Steps:
    """Let each process in turn take batches; twelve images are a batch of all together."""
    split = MemorySplit(torch.zeros(images, 1, 1, 1, dtype=torch.uint8), torch.arange(images))
    monkeypatch.setenv("WORLD_SIZE", str(world_size))
    by_rank = []
    for rank in range(world_size):
        monkeypatch.setenv("RANK", str(rank))
        batches = loader(split, 12 // world_size, seed, share=True)
        by_rank.append([targets.tolist() for _, targets in batches])
    return [list(step) for step in zip_longest(*by_rank, fillvalue=[])]


@pytest.mark.parametrize("world_size", [2, 3, 6, 12])
@pytest.mark.parametrize("images", [48, 49, 50, 53, 59])
def test_processes_take_together_what_one_takes_alone_in_each_step(
    images: int, world_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    alone = [step[0] for step in _steps(monkeypatch, images, 1)]

    shared = _steps(monkeypatch, images, world_size)

    assert len(shared) == len(alone)
    for whole, parts in zip(alone, shared, strict=True):
        taken = [target for part in parts for target in part]
        assert set(taken) >= set(whole)  # a last batch that is too small is filled up
        assert len(taken) == max(len(whole), min(2, 12 // world_size) * world_size)
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


def test_processes_validate_each_image_once(monkeypatch: pytest.MonkeyPatch) -> None:
    steps = _steps(monkeypatch, 53, 6, seed=None)

    assert sorted(target for step in steps for part in step for target in part) == list(range(53))


def test_a_split_can_be_cut_by_slice_and_by_positions() -> None:
    assert NUMBERED[2:4].targets.tolist() == [2, 3]
    assert NUMBERED[[7, 1]].targets.tolist() == [7, 1]
    assert len(NUMBERED[:3]) == 3


def test_limited_keeps_the_first_images_of_each_split(fashion: Dataset) -> None:
    limited = fashion.limited(7)

    assert [len(split) for split in (limited.train, limited.validation, limited.test)] == [7] * 3
    assert torch.equal(limited.test.images, fashion.test.images[:7])
    assert limited.labels == fashion.labels


def test_channel_statistics_are_numpys() -> None:
    images = torch.randint(0, 256, (5, 4, 4, 3), dtype=torch.uint8)

    mean, std = channel_statistics(images)

    pixels = images.numpy() / 255
    assert mean == pytest.approx(pixels.mean((0, 1, 2)), abs=5e-5)
    assert std == pytest.approx(pixels.std((0, 1, 2)), abs=5e-5)


def test_channel_statistics_of_one_flat_colour_can_be_divided_by() -> None:
    mean, std = channel_statistics(torch.full((2, 2, 2, 1), 51, dtype=torch.uint8))

    assert mean == (0.2,)
    assert std == (round(1 / 255, 4),)


def test_read_dataset_takes_a_folder_of_images(make_images: Callable[..., Path]) -> None:
    dataset = read_dataset(make_images(), size=16)

    assert dataset.labels == ("boot", "coat")
    assert dataset.train.images.shape[1:] == (16, 16, 1)


def test_read_dataset_takes_idx_files_for_fashion_mnist_and_wants_the_published_ones() -> None:
    cut_down = Path(__file__).parents[2] / "data" / "fashion-mnist"

    with pytest.raises(DatasetError, match="is not the published file"):
        read_dataset(cut_down)


def test_read_dataset_without_a_source_means_fashion_mnist(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("training.data.fashion_mnist.FOLDERS", (tmp_path,))

    with pytest.raises(DatasetError, match="Fashion-MNIST is not in"):
        read_dataset(None)
