"""What `auto` chooses: figures that were found by hand, and bounds that hold for every folder."""

import itertools

import pytest

pytest.importorskip("torch")

from training.recipe.auto import SIZES, Facts, choose

SIGNS = Facts(1_670, tuple("0123456789"), 100, 3, cores=2, free_bytes=8 * 2**30)
INSECTS = Facts(221, ("ants", "bees"), 375, 3, cores=2, free_bytes=8 * 2**30)


def test_hand_signs_get_the_size_and_batch_that_were_found_by_hand() -> None:
    recipe, reasons = choose(SIGNS)

    assert (recipe.image_size, recipe.batch_size, recipe.flip) == (48, 32, False)
    assert recipe.epochs >= 10
    assert "not mirrored" in reasons[-1]


def test_few_photographs_keep_their_details_and_get_small_batches() -> None:
    recipe, reasons = choose(INSECTS)

    assert (recipe.image_size, recipe.batch_size, recipe.epochs) == (224, 8, 30)
    assert recipe.rrc_min_area < 1
    assert recipe.flip
    assert len(reasons) == 5
    assert "--set flip=false" in reasons[-1]


def test_first_weights_choose_the_architecture_and_a_gentle_rate() -> None:
    facts = Facts(221, ("ants", "bees"), 375, 3, 2, 8 * 2**30, architecture="resnet18")

    recipe, _ = choose(facts)

    assert (recipe.architecture, recipe.image_size) == ("resnet18", 224)
    assert recipe.backbone_lr_scale < 1


@pytest.mark.parametrize("has_gpu", [False, True])
def test_no_size_enlarges_and_epochs_have_twenty_steps(has_gpu: bool) -> None:
    counts, sides = (200, 999, 5_000, 60_000, 1_200_000), (20, 33, 64, 65, 111, 240, 3_000)
    for images, side in itertools.product(counts, sides):
        facts = Facts(images, ("a cat", "a dog"), side, 3, 2, 4 * 2**30, has_gpu=has_gpu)

        recipe, _ = choose(facts)

        assert recipe.image_size is not None
        assert recipe.image_size <= side
        assert recipe.image_size in SIZES or side < min(SIZES)
        assert 8 <= recipe.batch_size <= 512
        assert images / recipe.batch_size >= 20


def test_memory_limits_the_batch() -> None:
    roomy, narrow = (
        choose(Facts(5_000, ("a cat", "a dog"), 64, 3, 2, free))[0] for free in (2**33, 2**26)
    )

    assert (roomy.batch_size, narrow.batch_size) == (64, 16)
