"""IDX files: packed or not, whole or damaged, the full set and the images of the tests."""

import gzip
import hashlib
import struct
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch")

import torch
from PIL import Image

from model.preprocessing import preprocess
from training.data.dataset import Dataset, DatasetError, channel_statistics
from training.data.division import key_of
from training.data.fashion_mnist import FOLDERS, SHA256, has_idx_files, read_fashion_mnist

NAMES = tuple(SHA256)


def _idx(values: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]") -> bytes:
    """The format's description in code: 0, 0, type 8, axes; sizes; bytes."""
    header = struct.pack(f">HBB{values.ndim}I", 0, 8, values.ndim, *values.shape)
    return header + values.tobytes()


@pytest.fixture
def idx(tmp_path: Path) -> Path:
    """A set of 20 + 4 random images, unpacked, to be spoiled."""
    rng = np.random.default_rng(0)
    for prefix, count in (("train", 20), ("t10k", 4)):
        images = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        targets = np.arange(count, dtype=np.uint8) % 10
        (tmp_path / f"{prefix}-images-idx3-ubyte").write_bytes(_idx(images))
        (tmp_path / f"{prefix}-labels-idx1-ubyte").write_bytes(_idx(targets))
    return tmp_path


def _refusal(folder: Path, sha256: dict[str, str] | None = None) -> str:
    with pytest.raises(DatasetError) as refused:
        read_fashion_mnist(folder, sha256)

    assert "\n" not in str(refused.value)
    return str(refused.value)


def test_values_and_targets_come_out_as_they_were_put_in(idx: Path) -> None:
    dataset = read_fashion_mnist(idx, sha256=None)

    content = (idx / NAMES[0]).read_bytes()
    first = np.frombuffer(content, np.uint8, 28 * 28, offset=16).reshape(28, 28)
    assert np.array_equal(dataset.train.images[0, ..., 0].numpy(), first)
    assert dataset.train.targets.tolist() == [at % 10 for at in range(16)]
    assert dataset.validation.targets.tolist() == [at % 10 for at in range(16, 20)]
    assert dataset.test.targets.tolist() == [0, 1, 2, 3]
    assert dataset.train.images.dtype == torch.uint8
    assert dataset.train.targets.dtype == torch.int64


def test_another_size_is_what_preprocess_makes_of_the_images(idx: Path) -> None:
    usual, larger = (read_fashion_mnist(idx, sha256=None, size=size) for size in (None, 40))

    assert larger.preprocessing.crop == larger.preprocessing.resize == 40
    assert larger.train.images.shape == (16, 40, 40, 1)
    for name in ("train", "validation", "test"):
        split, plain = larger.splits[name], usual.splits[name]
        image = Image.fromarray(plain.images[-1, ..., 0].numpy())
        expected = preprocess(image, larger.preprocessing)
        assert np.array_equal(split.images[-1].numpy(), expected)
        assert torch.equal(split.targets, plain.targets)
    assert larger.shorter_sides == (28,) * 4
    assert larger.sha256 == usual.sha256


def test_packed_and_plain_files_are_the_same_data_set(idx: Path, tmp_path: Path) -> None:
    packed = tmp_path / "packed"
    packed.mkdir()
    for name in NAMES:
        (packed / f"{name}.gz").write_bytes(gzip.compress((idx / name).read_bytes()))

    plain, unpacked = read_fashion_mnist(idx, None), read_fashion_mnist(packed, None)

    assert unpacked.sha256 == plain.sha256
    assert torch.equal(unpacked.test.images, plain.test.images)


def test_files_with_the_right_digests_are_taken(idx: Path) -> None:
    digests = {name: hashlib.sha256((idx / name).read_bytes()).hexdigest() for name in NAMES}

    assert len(read_fashion_mnist(idx, digests).test) == 4


def test_a_file_with_another_digest_is_refused_by_name(idx: Path) -> None:
    refusal = _refusal(idx, dict(SHA256))

    assert NAMES[0] in refusal
    assert "is not the published file" in refusal
    assert "dataset-fashion-mnist" in refusal


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_file_is_named_with_the_way_to_get_it(idx: Path, name: str) -> None:
    (idx / name).unlink()

    refusal = _refusal(idx)

    assert f"has no {name} or {name}.gz" in refusal
    assert "dataset-fashion-mnist" in refusal
    assert "--data" in refusal


def test_without_a_folder_the_usual_places_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    places = (tmp_path / "a", tmp_path / "b")
    monkeypatch.setattr("training.data.fashion_mnist.FOLDERS", places)

    with pytest.raises(DatasetError, match=rf"is not in {places[0]} or {places[1]}\. Install"):
        read_fashion_mnist()


def test_without_a_folder_the_first_place_with_files_is_read(
    idx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.fashion_mnist.FOLDERS", (idx / "nowhere", idx))

    assert read_fashion_mnist(sha256=None).source == str(idx)


@pytest.mark.parametrize("cut", [1, 100, 5])
def test_a_truncated_plain_file_is_refused(idx: Path, cut: int) -> None:
    path = idx / NAMES[0]
    path.write_bytes(path.read_bytes()[:-cut])

    assert "should have (20, 28, 28) values" in _refusal(idx)


@pytest.mark.parametrize("kept", [1, 12, 200])
def test_a_truncated_packed_file_is_refused(idx: Path, kept: int) -> None:
    packed = gzip.compress((idx / NAMES[0]).read_bytes())
    (idx / f"{NAMES[0]}.gz").write_bytes(packed[:kept])
    (idx / NAMES[0]).unlink()

    assert "cannot be unpacked" in _refusal(idx)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0\0\x08",
        b"<html>404</html>",
        b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0",  # floats
        b"\0\0\x08\0",  # no axis
        b"\0\0\x08\x04" + bytes(16),  # four axes
        b"\0\0\x08\x03\0\0\0\x14",  # the header ends early
    ],
)
def test_a_file_that_does_not_begin_as_idx_is_refused(idx: Path, content: bytes) -> None:
    (idx / NAMES[0]).write_bytes(content)

    assert "does not start like an IDX file" in _refusal(idx)


@pytest.mark.parametrize(
    ("name", "values", "cause"),
    [
        (NAMES[1], np.zeros(19, np.uint8), "one target per image"),
        (NAMES[0], np.zeros(20, np.uint8), "one target per image"),
        (NAMES[0], np.zeros((20, 27, 28), np.uint8), "not 28 x 28 images of 10 labels"),
        (NAMES[1], np.full(20, 10, np.uint8), "not 28 x 28 images of 10 labels"),
    ],
)
def test_images_and_targets_that_do_not_fit_are_refused(
    idx: Path, name: str, values: "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]", cause: str
) -> None:
    (idx / name).write_bytes(_idx(values))

    assert cause in _refusal(idx)


@pytest.mark.parametrize("count", [0, 1])
def test_a_set_too_small_to_split_is_refused(idx: Path, count: int) -> None:
    (idx / NAMES[0]).write_bytes(_idx(np.zeros((count, 28, 28), np.uint8)))
    (idx / NAMES[1]).write_bytes(_idx(np.zeros(count, np.uint8)))

    assert "at least two" in _refusal(idx)


def test_the_smallest_set_keeps_one_image_for_each_purpose(idx: Path) -> None:
    (idx / NAMES[0]).write_bytes(_idx(np.zeros((2, 28, 28), np.uint8)))
    (idx / NAMES[1]).write_bytes(_idx(np.zeros(2, np.uint8)))

    dataset = read_fashion_mnist(idx, None)

    assert (len(dataset.train), len(dataset.validation)) == (1, 1)


def test_has_idx_files_needs_one_of_the_four(idx: Path, tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()

    assert has_idx_files(idx)
    assert not has_idx_files(empty)


def test_the_arrays_are_what_preprocess_makes_of_the_same_images(fashion: Dataset) -> None:
    for stored in fashion.test.images[:20].numpy():
        image = Image.fromarray(stored[..., 0])

        assert np.array_equal(preprocess(image, fashion.preprocessing), stored)


def test_the_images_of_the_tests_hold_every_label(fashion: Dataset) -> None:
    assert (len(fashion.train), len(fashion.validation), len(fashion.test)) == (480, 120, 300)
    for split in (fashion.train, fashion.validation, fashion.test):
        assert set(split.targets.tolist()) == set(range(10))


@pytest.mark.skipif(
    not has_idx_files(FOLDERS[1]), reason="Debian's package dataset-fashion-mnist is not installed"
)
def test_the_published_set_has_the_published_figures() -> None:
    dataset = read_fashion_mnist(FOLDERS[1])

    assert len(dataset.train) == 55_000
    assert len(dataset.validation) == len(dataset.calibration) == 2_500
    assert len(dataset.test) == 10_000
    assert dataset.test.targets.bincount().tolist() == [1_000] * 10
    every = torch.cat([split.images for name, split in dataset.splits.items() if name != "test"])
    assert channel_statistics(every) == (dataset.preprocessing.mean, dataset.preprocessing.std)
    assert dataset.preprocessing.mean == (0.2860,)
    assert dataset.preprocessing.std == (0.3530,)


def test_half_of_the_validation_images_calibrate_by_their_content(
    idx: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("training.data.fashion_mnist.MIN_TO_HALVE", 4)

    whole, halves = (read_fashion_mnist(idx, None, calibrate=each) for each in (False, True))

    assert (len(whole.validation), len(whole.calibration)) == (4, 0)
    assert (len(halves.validation), len(halves.calibration)) == (2, 2)
    divided = [*halves.validation.digests(), *halves.calibration.digests()]
    assert sorted(divided) == sorted(whole.validation.digests())
    keys = [key_of(image.tobytes())[8:] for image in halves.calibration.images.numpy()]
    assert max(keys) < min(
        key_of(image.tobytes())[8:] for image in halves.validation.images.numpy()
    )


def test_a_split_that_is_not_asked_for_is_empty(idx: Path) -> None:
    whole, part = (
        read_fashion_mnist(idx, sha256=None, size=40, splits=splits)
        for splits in (("train", "validation", "test"), ("test",))
    )

    assert (len(part.train), len(part.validation)) == (0, 0)
    assert torch.equal(part.test.images, whole.test.images)
    assert part.sha256 == whole.sha256
