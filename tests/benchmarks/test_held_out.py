"""Images held out of training: the training split has none of them, and no copy of one."""

import pytest

pytest.importorskip("torch")

import torch

from benchmarks.held_out import hold_out
from training.data.dataset import MemorySplit


def test_what_is_held_out_is_not_trained_on_and_follows_from_the_pixels() -> None:
    images = torch.arange(40, dtype=torch.uint8).reshape(40, 1, 1, 1).repeat(1, 4, 4, 1)
    split = MemorySplit(torch.cat([images, images[:7]]), torch.arange(47))

    train, held = hold_out(split, 20)
    backwards = hold_out(split[torch.arange(46, -1, -1)], 20)[1]

    left, gone = ({int(image[0, 0, 0]) for image in part.images} for part in (train, held))
    assert len(held) == 20
    assert not left & gone
    assert left | gone == set(range(40))
    assert {int(image[0, 0, 0]) for image in backwards.images} == gone
