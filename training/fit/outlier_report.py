"""Images worth a look before the first step: in a few lines, and all of them in a file."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence

from model.artifact.durable import replace_synced
from training.data.dataset import Dataset
from training.data.duplicates import Place, across_splits, with_two_labels
from training.data.outliers import MAX_IMAGES, Outliers, few_images, find_outliers
from training.data.splits import plain
from training.runs.folder import RunFolder

MAX_STREAMED = 2_000
"""Images that are looked at where they would be decoded for it."""
COLUMNS = ("kind", "group", "split", "label", "file")


def outlier_lines(
    dataset: Dataset, counts: Mapping[str, Mapping[str, int]], folder: RunFolder
) -> Iterator[str]:
    """Look for images worth a look, write `outliers.csv`, and say what was found.

    Data sets without files are not looked at: nobody can delete one of their images.

    Args:
        dataset: The images.
        counts: Images of each label in each split.
        folder: The run's.
    """
    few = few_images(counts)
    if few:
        yield (
            f"warning: fewer than ten images of {len(few)} labels: {_some(few)}. Too "
            "few to learn or to measure them: add images, or remove the labels"
        )
    if not dataset.files:
        return
    streamed = any(split.is_streamed for split in dataset.splits.values())
    found = find_outliers(dataset, MAX_STREAMED if streamed else MAX_IMAGES)
    yield from _found_lines(dataset, found)
    if found.blank or found.alike:
        replace_synced(folder.outliers, _table(dataset, found).encode())
        total = sum(map(len, dataset.splits.values()))
        part = f", of {found.looked_at:,} images compared" if found.looked_at < total else ""
        yield f"all of these are listed in {folder.outliers}{part}; no file was changed"


def _found_lines(dataset: Dataset, found: Outliers) -> Iterator[str]:
    for kind, places in found.blank.items():
        names = _some([_name(place, dataset) for place in places])
        images = "1 image" if len(places) == 1 else f"{len(places):,} images"
        yield f"warning: {images} {kind}: {names}. Delete images that show nothing to learn"
    if found.alike:
        groups = list(found.alike)
        across = across_splits(groups)
        mixed = with_two_labels(groups, dataset)
        first = (mixed or across or groups)[0]
        example = " ~ ".join(_name(place, dataset) for place in first[:2])
        leaks = (
            f", {len(across):,} in two splits (this makes the accuracy too good)" if across else ""
        )
        doubts = f", {len(mixed):,} under two labels" if mixed else ""
        yield (
            "warning: near-duplicates: groups of images that are almost the same, or mirrored: "
            f"{len(groups):,}{leaks}{doubts}, such as {example}. Delete all but one "
            "of each group, or keep a group in one split with --group-by"
        )


def _table(dataset: Dataset, found: Outliers) -> str:
    """Write all of it as CSV."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(COLUMNS)
    for kind, places in found.blank.items():
        rows.writerows((kind, "", *_cells(place, dataset)) for place in places)
    for number, group in enumerate(found.alike, 1):
        rows.writerows(("near-duplicate", number, *_cells(place, dataset)) for place in group)
    return text.getvalue()


def _cells(place: Place, dataset: Dataset) -> tuple[str, str, str]:
    target = int(dataset.splits[place.split].targets[place.position])
    return place.split, dataset.labels[target], _name(place, dataset)


def _name(place: Place, dataset: Dataset) -> str:
    return plain(dataset.files[place.split][place.position])


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - 3:,} more" if len(names) > 3 else ""
    return f"{', '.join(names[:3])}{more}"
