"""What became of each key of a file of weights, in lines for people."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from model.weights.names import COUNTER, shown

MAX_LISTED = 5
"""Keys that are listed one a line; of more, some are named in one line."""


@dataclass(frozen=True)
class LoadReport:
    """What became of each key.

    Attributes:
        loaded: How many of the network's tensors came from the file.
        total: How many it has.
        adapted: Loaded, but not as they were; each with what was done.
        mismatched: In both with different shapes; the network keeps its own.
        missing: Of the network, not in the file; the network keeps its own.
        unused: In the file, not in the network.
        doubled: In the file under a second name; the network has the first.
        beyond: Of the unused: of layers within the body that ours lacks.
        beside: Of the unused: of layers that may stand between the body and the head.
        notes: What was found where.
        head: Why the file's head cannot be the network's, where it has one that cannot.
    """

    loaded: int
    total: int
    adapted: tuple[str, ...]
    mismatched: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]
    doubled: tuple[str, ...]
    beyond: tuple[str, ...] = ()
    beside: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    head: str = ""

    @property
    def kept(self) -> tuple[str, ...]:
        """Name the tensors that the file did not give, and why; counters of norms aside."""
        absent = (f"{key}: not in the file" for key in self.missing)
        return tuple(note for note in (*self.mismatched, *absent) if COUNTER not in note)

    @property
    def gaps(self) -> list[str]:
        """Name those of them that are not the head's."""
        return [note.split(": ")[0] for note in self.kept if not _is_head(note)]

    @property
    def head_gap(self) -> str:
        """Say why the head is not the file's; empty where it is."""
        notes = [note for note in self.kept if _is_head(note)]
        return self.head or (notes[0] if notes else "")

    def lines(self, most: int | None = MAX_LISTED) -> Iterator[str]:
        """Say it: a line a key, or one line for more than `most` of a kind."""
        yield self._loaded
        yield from self.notes
        yield from _listed("adapted: ", self.adapted, most)
        if self.head_gap:
            yield f"new head, at its initial value: {self.head_gap}"
        yield from _listed("left at its initial value: ", self._body, most)
        yield from _listed("not used: ", self._spare, most)

    def summary(self, head: str = "") -> str:
        """Say it in one line.

        Args:
            head: What became of the head, where that is known better.
        """
        head = head or (f"new head: {self.head_gap}" if self.head_gap else "")
        parts = [self._loaded, *self.notes, shown(self.adapted, 1), head]
        for what, notes in (("at its initial value", self._body), ("not used", self._spare)):
            parts.append(f"{what}: {shown(notes, 1)}" if notes else "")
        return "; ".join(filter(None, parts))

    @property
    def _loaded(self) -> str:
        counters = sum(key.endswith(COUNTER) for key in self.missing)
        without = f"; the rest are {counters} counters of norms, without effect" if counters else ""
        return f"{self.loaded} of {self.total} tensors loaded{without}"

    @property
    def _body(self) -> list[str]:
        return [note for note in self.kept if not _is_head(note)]

    @property
    def _spare(self) -> tuple[str, ...]:
        return (*self.unused, *self.doubled)


def _is_head(note: str) -> bool:
    return note.startswith(("fc.", "head.fc."))


def _listed(what: str, notes: Sequence[str], most: int | None) -> Iterator[str]:
    if most is None or len(notes) <= most:
        yield from (f"{what}{shown([note])}" for note in notes)
    else:
        names = shown(note.split(": ")[0] for note in notes)
        yield f"{what}{len(notes):,} tensors: {names}"
