"""The window's totals are those of its images, whenever they are read."""

import time

import numpy as np
import pytest

from service.postprocessing.window import BRIGHTNESS, CONFIDENCE, FOLD, SIDE_COLUMN, Window

EDGES = {CONFIDENCE: (0.5, 0.9), BRIGHTNESS: (0.3,), SIDE_COLUMN: (24.0, 48.0, 96.0)}
LABELS = 5


def traffic(count: int, seed: int = 0) -> list[tuple[float, float, float, float, float]]:
    rng = np.random.default_rng(seed)
    return [
        (
            float(rng.integers(LABELS)),
            float(rng.random()),
            float(rng.integers(-1, 2)),
            float(rng.random()),
            float(rng.choice([-1, 20, 24, 50, 500])),
        )
        for _ in range(count)
    ]


@pytest.mark.parametrize("size", [1, 3, FOLD - 1, FOLD, 2 * FOLD + 7])
@pytest.mark.parametrize("every", [1, 5, FOLD, 10_000])
def test_totals_are_those_of_the_last_images(size: int, every: int) -> None:
    window, rows = Window(size, LABELS, EDGES), traffic(3 * FOLD)

    for number, row in enumerate(rows):
        window.add(row)
        if number % every == 0:
            window.fold()
    window.fold()

    last = np.array(rows[-size:])
    assert len(window) == len(last)
    assert window.labels.tolist() == [int((last[:, 0] == label).sum()) for label in range(LABELS)]
    assert window.outside == int((last[:, 2] == 0).sum())
    for column, edges in EDGES.items():
        known = last[:, column][last[:, column] >= 0]
        counts = np.bincount(np.searchsorted(edges, known, side="right"), minlength=len(edges) + 1)
        assert window.bins[column].tolist() == counts.tolist()
        assert window.known(column) == len(known)
        mean = window.mean(column)
        assert mean == (pytest.approx(known.mean()) if len(known) else None)


def test_an_empty_window_has_no_mean() -> None:
    window = Window(9, LABELS, {})
    window.fold()

    assert (len(window), window.mean(SIDE_COLUMN)) == (0, None)


def test_a_large_window_is_not_walked_over_to_be_read() -> None:
    took: list[float] = []
    window = Window(1_000_000, LABELS, EDGES)
    window._rows[:] = 1.0
    window._folded = 1_000_000  # full
    for row in traffic(20):
        began = time.thread_time()
        window.add(row)
        window.fold()
        window.mean(SIDE_COLUMN)
        took.append(time.thread_time() - began)

    assert min(took) < 0.005  # to copy it takes four times as long
