"""Batches of files through as many threads as cores, and their rows in the files' order.

Each thread decodes a batch and runs it by itself, with a session of one thread: no core waits for
another, neither within a run nor between decoding and running. What is in flight is bounded, so
memory does not grow with the number of files.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

Row = TypeVar("Row")

IN_FLIGHT = 4
"""Batches for each thread: the threads are busy while rows are written."""
BATCH_PIXELS = 8 * 224 * 224
"""Pixels of a batch's images. A run of large images gains nothing by more of them, and each thread
holds its activations."""
MAX_BATCH = 32


def batch_size(image_size: int) -> int:
    """Choose how many square images of a size are run at once."""
    return max(1, min(MAX_BATCH, BATCH_PIXELS // image_size**2))


def predict_files(
    files: Iterable[str],
    predict: Callable[[Sequence[str]], list[Row]],
    write: Callable[[list[Row]], None],
    *,
    threads: int,
    batch: int,
) -> None:
    """Predict all files, and write their rows in order.

    Args:
        files: Paths; read as they are needed.
        predict: A batch of paths -> a row for each; called in several threads.
        write: Called in this thread with the rows of one or more batches.
        threads: That predict.
        batch: Files in a batch.

    Raises:
        Exception: The first that `predict` or `write` raises; rows before it are written.
    """
    pool = ThreadPoolExecutor(threads, thread_name_prefix="predict")
    waiting: deque[Future[list[Row]]] = deque()
    try:
        for chunk in _batches(files, batch):
            waiting.append(pool.submit(predict, chunk))
            if len(waiting) >= IN_FLIGHT * threads:
                write(_finished(waiting))
        while waiting:
            write(_finished(waiting))
    finally:
        pool.shutdown(cancel_futures=True)


def _batches(files: Iterable[str], size: int) -> Iterator[list[str]]:
    left = iter(files)
    while chunk := list(islice(left, size)):
        yield chunk


def _finished(waiting: deque[Future[list[Row]]]) -> list[Row]:
    """Wait for the first batch; take those behind it that are finished too."""
    rows = waiting.popleft().result()
    while waiting and waiting[0].done() and waiting[0].exception() is None:
        rows += waiting.popleft().result()
    return rows
