"""Names of labels: readable text that no other label looks like."""

import os
import unicodedata
from collections import defaultdict
from collections.abc import Collection, Iterable, Sequence

from model.printable import as_seen, hidden_in
from training.data.dataset import DatasetError
from training.data.splits import plain


def label_of(folder: str) -> str:
    """Return the label of a folder's name: in one Unicode form, with single blanks.

    Raises:
        DatasetError: If it is no text, or has an invisible character.
    """
    label = _text(folder).strip(" ")
    if hidden := hidden_in(label):
        raise DatasetError(
            f"The label {plain(folder)} contains U+{ord(hidden):04X}, which is "
            "invisible; rename it."
        )
    label = " ".join(label.split())
    if not as_seen(label):
        raise DatasetError(f"The label `{plain(folder)}` is blank; rename it.")
    return label


def check_labels_differ(folders: Iterable[str], known: Collection[str] = ()) -> None:
    """Refuse folders' names that differ only in case, blanks or look-alike characters.

    Args:
        folders: Their names; those that differ only in Unicode form are the same.
        known: Labels of an earlier run, which are accepted as they are.

    Raises:
        DatasetError: If two are alike.
    """
    groups: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        groups[as_seen(label_of(folder), fold=True)].add(_text(folder))
    for alike in groups.values():
        if len(alike) > 1 and not alike <= set(known):
            first, second, *_ = sorted(alike)
            raise DatasetError(
                f"The labels `{plain(first)}` and `{plain(second)}` look the same; "
                "give them one name, or names that differ in more than case or blanks."
            )


def in_order_of(known: Sequence[str], labels: Sequence[str]) -> list[int] | None:
    """Return each label's position among an earlier run's; None if the run lacks one of them."""
    exactly = {label: index for index, label in enumerate(known)}
    alike = {as_seen(label, fold=True): index for index, label in reversed(list(enumerate(known)))}
    positions = [exactly.get(label, alike.get(as_seen(label, fold=True))) for label in labels]
    found = [index for index in positions if index is not None]
    return found if len(set(found)) == len(labels) else None


def _text(folder: str) -> str:
    try:
        text = os.fsencode(folder).decode()  # whatever encoding the locale has
    except UnicodeDecodeError:
        raise DatasetError(f"The label {plain(folder)} must be valid UTF-8; rename it.") from None
    return unicodedata.normalize("NFC", text)
