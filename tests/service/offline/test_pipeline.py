import threading
import time
from collections.abc import Iterator, Sequence

import pytest

from service.offline.pipeline import IN_FLIGHT, batch_size, predict_files
from service.offline.results import Row


@pytest.mark.parametrize(("image_size", "images"), [(28, 32), (64, 32), (224, 8), (4096, 1)])
def test_a_batch_has_fewer_images_the_larger_they_are(image_size: int, images: int) -> None:
    assert batch_size(image_size) == images


def test_rows_keep_the_files_order_and_few_batches_are_in_flight() -> None:
    files = [str(number) for number in range(100)]
    read, rows, ahead = 0, list[Row](), 0
    threads = set()

    def names() -> Iterator[str]:
        nonlocal read, ahead
        for read, name in enumerate(files, 1):
            ahead = max(ahead, read - len(rows))
            yield name

    def predict(names: Sequence[str]) -> list[Row]:
        threads.add(threading.get_ident())
        time.sleep(0.002 if int(names[0]) % 2 else 0.0001)
        return [[name] for name in names]

    predict_files(names(), predict, rows.extend, threads=3, batch=4)

    assert rows == [[name] for name in files]
    assert len(threads) == 3
    assert ahead <= 4 * IN_FLIGHT * 3


def test_a_failure_ends_it_after_the_rows_before_it() -> None:
    rows: list[Row] = []

    def predict(names: Sequence[str]) -> list[Row]:
        if "5" in names:
            raise MemoryError
        return [[name] for name in names]

    with pytest.raises(MemoryError):
        predict_files(map(str, range(50)), predict, rows.extend, threads=2, batch=2)

    assert rows == [["0"], ["1"], ["2"], ["3"]]
