"""Scores of OOD images against plain NumPy and counting by hand."""

import pytest

pytest.importorskip("torch")

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from model.artifact.trust import Kind
from model.preprocessing import Preprocessing
from training.data.dataset import DatasetError
from training.trust import ood as module
from training.trust.ood import (
    SCORES,
    Distances,
    Measured,
    Score,
    auroc,
    find_threshold,
    flagged_interval,
    measure_ood,
    threshold_rank,
)
from training.trust.ood_sets import MAX_DISTORTED, distort, ood_sets

SPEC = Preprocessing(resize=8, crop=8, channels=3, mean=(0.0,) * 3, std=(1.0,) * 3)


def _features(count: int = 400, width: int = 12) -> tuple[torch.Tensor, torch.Tensor]:
    rng = torch.Generator().manual_seed(0)
    targets = torch.arange(count) % 4
    spread = torch.linspace(0.2, 3, width)
    return 3 * targets[:, None] + spread * torch.randn(count, width, generator=rng), targets


def test_distances_are_mahalanobis_as_numpy_has_it() -> None:
    features, targets = _features()
    exact, labels = features.double().numpy(), targets.numpy()

    distances = Distances(features, targets, 4)(features[:20])

    means = np.stack([exact[labels == label].mean(0) for label in range(4)])
    covariance = np.cov((exact - means[labels]).T, bias=True)
    covariance += module.RIDGE * np.trace(covariance) / 12 * np.eye(12)
    inverse = np.linalg.inv(covariance)
    for row, found in zip(exact[:20], distances, strict=True):
        expected = [(row - mean) @ inverse @ (row - mean) / 12 for mean in means]
        np.testing.assert_allclose(found, expected, rtol=1e-3)


def test_of_many_features_the_rest_counts_as_one(monkeypatch: pytest.MonkeyPatch) -> None:
    features, targets = _features(2_000, 40)
    monkeypatch.setattr(module, "MAX_RANK", 8)

    distances = Distances(features, targets, 4)
    reduced = distances(features).amin(1)

    assert distances.get_buffer("whiten").shape == (40, 8)
    assert float(distances(features + 50).amin()) > float(reduced.max())


def test_a_label_without_images_gets_the_mean_of_all() -> None:
    features, targets = _features()

    distances = Distances(features, targets, 5)(features)

    assert distances.shape == (400, 5)
    assert torch.isfinite(distances).all()


def test_one_image_of_each_label_still_has_distances() -> None:
    features = torch.eye(3)

    distances = Distances(features, torch.arange(3), 3)(features)

    assert distances.isfinite().all()
    assert distances.argmin(1).tolist() == [0, 1, 2]


@pytest.mark.parametrize("name", SCORES)
def test_every_score_is_higher_for_ordinary_features(name: str) -> None:
    features, targets = _features()
    distances = Distances(features, targets, 4)
    head = torch.linalg.lstsq(features, torch.eye(4)[targets]).solution
    score = Score(name, features, targets, 4)
    ood = -features if name != "mahalanobis" else features + 40

    inside, odd = (score(x @ head, x, distances(x)) for x in (features, ood))

    assert inside.shape == (400,)
    assert inside.mean() > odd.mean()


def test_the_area_is_the_share_of_pairs_in_the_right_order() -> None:
    inside, ood = torch.tensor([3.0, 5.0, 5.0, 90.0]), torch.tensor([1.0, 3.0, 5.0])
    pairs = [(a > b) + 0.5 * (a == b) for a in inside for b in ood]

    assert auroc(inside, ood) == pytest.approx(float(sum(pairs)) / 12)
    assert auroc(ood - 1e6, inside + 1e6) == 0


def test_the_threshold_is_an_order_statistic_and_counts_the_rest() -> None:
    scores = torch.arange(1.0, 101.0)

    known = Measured(scores, torch.arange(100) != 2)
    figures = measure_ood(scores, known, {"low": ("far", torch.tensor([0.0, 2.0, 4.0, 5.0]))}, {})

    assert figures.threshold == 5  # a new score is under the 5th of 100 with a chance of 5 / 101
    assert figures.accepted == pytest.approx(0.96)
    assert figures.flagged_top1 == 0.75  # of the four that are flagged, the third is wrong
    low = figures.sets["low"]
    assert (low.kind, low.flagged) == ("far", 0.75)
    assert low.flagged_interval == pytest.approx((0.1941, 0.9937), abs=5e-5)  # published, 3 of 4


@pytest.mark.parametrize("images", [25, 184, 1_000])
def test_new_images_are_flagged_as_often_as_the_interval_says(images: int) -> None:
    rng = torch.Generator().manual_seed(0)
    shares, counted, new = [], [], 208
    for _ in range(1_000):
        threshold = find_threshold(torch.randn(images, generator=rng))
        assert threshold is not None
        shares.append(float(torch.special.ndtr(torch.tensor(threshold))))  # of a normal score
        counted.append(float((torch.randn(new, generator=rng) < threshold).double().mean()))

    for found, (low, high) in (
        (shares, flagged_interval(images)),
        (counted, flagged_interval(images, new)),
    ):
        inside = np.mean([low <= share <= high for share in found])
        assert 0.93 <= inside <= 0.985  # discrete counts: a little more than 95 %
    assert np.mean(shares) == pytest.approx(threshold_rank(images) / (images + 1), abs=0.003)


@pytest.mark.parametrize(
    ("images", "areas", "reason"),
    [
        (18, {"noise": 1.0}, "18 images"),
        (19, {"noise": 1.0}, None),
        (184, {"noise": 0.9, "inverted": 0.6}, "mean AUROC is 0.75"),
        (184, {"noise": 1.0, "inverted": 0.7}, None),
        (184, {"noise": 1.0, "inverted": 1.0, "photographs": 0.7}, "--ood-images"),
    ],
)
def test_no_threshold_is_set_where_it_would_tell_nothing(
    images: int, areas: dict[str, float], reason: str | None
) -> None:
    scores = torch.linspace(0, 1, images)
    ood: dict[str, tuple[Kind, Tensor]] = {
        name: ("far", scores.quantile(torch.tensor(1 - area)).repeat(50))
        for name, area in areas.items()
        if name != "noise"
    }
    chose = {"noise": areas["noise"]}

    figures = measure_ood(scores, Measured(scores, scores > 0), ood, chose)

    if reason is None:
        assert figures.threshold is not None
        assert figures.left_out is None
    else:
        assert reason in (figures.left_out or "")
        assert (figures.threshold, figures.accepted, figures.n) == (None, None, None)
        assert all(each.flagged is None for each in figures.sets.values())


def test_photographs_of_any_kind_are_read_and_broken_ones_are_left_out(tmp_path: Path) -> None:
    for number, name in enumerate(("a.jpg", "b.PNG", "c.webp", "d.gif", "e.bmp")):
        Image.new("RGB", (20, 10), (40 * number, 0, 0)).save(tmp_path / name)
    (tmp_path / "broken.png").write_bytes(b"no image")
    (tmp_path / "notes.txt").write_text("none either")

    found = ood_sets(SPEC, tmp_path)["photographs"]

    assert found.images.shape == (5, 8, 8, 3)
    assert found.kind == "given"


@pytest.mark.parametrize("name", ["empty", "missing"])
def test_a_folder_without_images_is_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()

    with pytest.raises(DatasetError, match="has no readable image"):
        ood_sets(SPEC, tmp_path / name)


def test_ood_images_come_from_all_over_a_sorted_split() -> None:
    images = torch.arange(200, dtype=torch.uint8).repeat_interleave(30)[:, None, None, None]

    found = distort(images.expand(-1, 4, 4, 1))

    assert len(found["inverted"]) == MAX_DISTORTED
    assert len(set(found["inverted"].flatten().tolist())) > 190


def test_what_is_reported_is_of_no_kind_that_chose_and_near_is_the_networks_format() -> None:
    grey = Preprocessing(resize=28, crop=28, channels=1, mean=(0.0,), std=(1.0,))

    for spec, near in ((SPEC, {"scenes"}), (grey, {"digits", "digits_inverted", "letters"})):
        found = ood_sets(spec, None)

        assert not found.keys() & distort(torch.zeros((1, 8, 8, 3), dtype=torch.uint8)).keys()
        assert {name for name, each in found.items() if each.kind == "near"} == near
        assert {each.images.shape[1:] for each in found.values()} == {
            (spec.crop, spec.crop, spec.channels)
        }
    letters = found["letters"].images
    assert len(letters) == len({image.tobytes() for image in letters.numpy()}) == 208


def test_distorted_images_have_the_networks_shape_and_differ() -> None:
    images = torch.randint(0, 256, (30, 8, 8, 3), dtype=torch.uint8)

    found = distort(images, seed=1)

    assert all(each.shape[1:] == (8, 8, 3) for each in found.values())
    shuffled = found["shuffled"][0].reshape(-1, 3).tolist()
    assert sorted(shuffled) == sorted(images[0].reshape(-1, 3).tolist())
    assert not torch.equal(found["noise"], distort(images, seed=0)["noise"])
