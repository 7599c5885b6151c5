"""Counters and histograms that a request costs no more than an addition or an append.

prometheus-client takes a lock for each value and looks for its bucket one by one: with five
histograms that is a tenth of a request to a small network. These keep values aside and count many
at once, when they are read or flushed. It uses attributes that prometheus-client does not document;
they are checked when this module is imported.
"""

from collections import deque
from collections.abc import Iterable

import numpy as np
from prometheus_client import Counter, Histogram
from prometheus_client.samples import Sample

USED = ("_metric_init", "_child_samples")
"""Overridden below; `_buckets`, `_sum` and `_upper_bounds` are set by the first, or before it."""


class BufferedCounter(Counter):
    """A counter; for one thread, besides that which reads.

    Attributes:
        more: Add to it in place of `inc`.
    """

    def _metric_init(self) -> None:
        super()._metric_init()
        self.more = 0

    def flush(self) -> None:
        """Count what was added."""
        if self.more:
            more, self.more = self.more, 0
            self.inc(more)

    def _child_samples(self) -> Iterable[Sample]:
        self.flush()
        return super()._child_samples()


class BufferedHistogram(Histogram):
    """A histogram.

    Attributes:
        values: Append to it in place of `observe`.
    """

    def _metric_init(self) -> None:
        super()._metric_init()
        self.values: deque[float] = deque()

    def flush(self) -> None:
        """Count what was appended. Any thread."""
        values = []
        while self.values:
            values.append(self.values.popleft())
        if not values:
            return
        places = np.searchsorted(self._upper_bounds, values)  # the first bound not below it
        for place, count in zip(*np.unique(places, return_counts=True), strict=True):
            self._buckets[place].inc(int(count))
        self._sum.inc(sum(values))

    def _child_samples(self) -> Iterable[Sample]:
        self.flush()
        return super()._child_samples()


def check_hooks(kinds: Iterable[type] = (Counter, Histogram)) -> None:
    """Check the installed prometheus-client.

    Raises:
        RuntimeError: If it lacks what is used here.
    """
    missing = [
        f"{kind.__name__}.{name}" for kind in kinds for name in USED if name not in vars(kind)
    ]
    one = Histogram("check", "", registry=None)
    missing += [name for name in ("_buckets", "_sum", "_upper_bounds") if not hasattr(one, name)]
    if missing:
        raise RuntimeError(
            f"The installed prometheus-client lacks {', '.join(missing)}, which this service uses. "
            "Install the version in requirements."
        )


check_hooks()
