"""The images of a run: read for the first time, or again as the run had them.

What is found is logged. Whether images may measure a run, and whether a run may go on with
them, is decided here.
"""

import json
import logging
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from model.preprocessing import Preprocessing
from training.data.dataset import SPLIT_NAMES, Dataset, DatasetError
from training.data.open import read_dataset
from training.data.splits import as_path, plain
from training.runs.folder import RunFolder
from training.runs.record import RunRecord

MAX_NAMED = 10
"""Lines about what was left out that are printed."""

log = logging.getLogger(__name__)


def open_dataset(  # noqa: PLR0913  # which files, how they are divided, which to decode
    source: Path | None,
    image_size: int | None = None,
    held: Mapping[str, Sequence[str]] | None = None,
    known: Sequence[str] = (),
    *,
    splits: Collection[str] = SPLIT_NAMES,
    group_by: str | None = None,
    labels_csv: Path | None = None,
    like: Preprocessing | None = None,
    calibrate: bool = True,
) -> Dataset:
    """Read a data set, and log how it was read, what was found and what was left out.

    Args:
        source: A folder; None means Fashion-MNIST, wherever it is installed.
        image_size: In pixels, as the recipe has it; None takes the images' usual one.
        held: Files of each split, as an earlier reading held them.
        known: Labels of the run whose data they are, which keep their order.
        splits: The splits to decode; the others come out empty.
        group_by: A regular expression; files whose paths match alike stay in one split.
        labels_csv: A table of files and labels, see `training.data.labels_csv`.
        like: Preprocessing of a network that is there already, see `choose_preprocessing`.
        calibrate: Take half of many validation images for a calibration split.

    Raises:
        DatasetError: If the images cannot be used; the message says why.
    """
    dataset = read_dataset(
        source,
        image_size,
        held,
        known,
        splits=splits,
        group_by=group_by,
        labels_csv=labels_csv,
        like=like,
        calibrate=calibrate,
    )
    for note in dataset.notes:
        log.info(note)
    log.info(dataset.describe())
    if dataset.unreadable:
        log.info("left out:")
        for reason in dataset.unreadable[:MAX_NAMED]:
            log.info(f"  {reason}")
        if len(dataset.unreadable) > MAX_NAMED:
            log.info(f"  and {len(dataset.unreadable) - MAX_NAMED:,} more such lines")
    return dataset


def dataset_to_evaluate(
    record: RunRecord,
    source: Path | None,
    checkpoint: Path,
    splits: Collection[str] = SPLIT_NAMES,
    labels_csv: Path | None = None,
) -> Dataset:
    """Read images that may measure a run: its own, or others that it never saw.

    Args:
        record: Of the run.
        source: Where the images are now; None takes the run's own folder.
        checkpoint: Of the run, or its folder, which has the list of its splits.
        splits: The splits to decode; all without that list, as only decoding tells then which
            files can be read.
        labels_csv: Where the run's table of labels is now; None: where it was, if it had one.

    Raises:
        DatasetError: If the images do not fit the network, or the run may have been trained on
            those that would measure it.
    """
    for line in record.notes(checkpoint):
        log.info(line)
    held = held_files(checkpoint)
    decoded = splits if held else SPLIT_NAMES
    dataset = _open_as_the_run_did(record, source, held, decoded, labels_csv)
    if not dataset.has_digest(record.dataset_sha256):
        if dataset.is_drawn:
            raise DatasetError(
                f"{dataset.source} does not contain the run's images under their "
                "names. It is not known which of them the run was trained on, so "
                "figures measured on them may be too good. Name the run's own data "
                "with --data, or another folder with `train`, `val` and `test`, the "
                "last two with images that it has never seen."
            )
        log.info("note: these are not the images of the run")
    return dataset


def dataset_to_resume(
    record: RunRecord, source: Path | None, run: Path, labels_csv: Path | None = None
) -> Dataset:
    """Read the files that a run began with, without those that were added since.

    Args:
        record: Of the run.
        source: Where the images are now; None takes the run's own folder.
        run: Its folder.
        labels_csv: Where the run's table of labels is now; likewise.

    Raises:
        DatasetError: If one of them is missing, or they do not fit the network.
    """
    held = held_files(run)
    dataset = _open_as_the_run_did(record, source, held, labels_csv=labels_csv)
    found = {name for files in dataset.files.values() for name in files}
    missing = [plain(name) for files in held.values() for name in files if name not in found]
    if missing:
        more = f" and {len(missing) - 5:,} more" if len(missing) > 5 else ""
        raise DatasetError(
            f"{dataset.source} lacks files of {run}, or they can no longer be read: "
            f"{', '.join(missing[:5])}{more}. Restore them, or start a new run in "
            "another folder."
        )
    return dataset


def _open_as_the_run_did(
    record: RunRecord,
    source: Path | None,
    held: Mapping[str, Sequence[str]],
    splits: Collection[str] = SPLIT_NAMES,
    labels_csv: Path | None = None,
) -> Dataset:
    """Read a run's data in its splits and at its image size.

    Raises:
        DatasetError: If the images do not fit the network.
    """
    spec = record.preprocessing
    where = source or as_path(record.dataset_source)
    table = labels_csv or record.table
    dataset = open_dataset(
        where,
        spec.crop,
        held,
        record.labels,
        splits=splits,
        labels_csv=table,
        like=spec,
        calibrate=record.calibration_images > 0,
    )
    if dataset.labels != record.labels:
        raise DatasetError(
            f"{dataset.source} has the labels {', '.join(dataset.labels[:5])}..., but "
            f"the run was trained on {', '.join(record.labels[:5])}.... Name the "
            "run's own data with --data."
        )
    found = dataset.preprocessing
    if (found.crop, found.channels) != (spec.crop, spec.channels):
        raise DatasetError(
            f"{dataset.source} gives images of {found.crop} pixels and "
            f"{found.channels} channels, but the run was trained on {spec.crop} and "
            f"{spec.channels}."
        )
    return dataset


def held_files(path: Path) -> dict[str, list[str]]:
    """Read which files a run had in each split; none if its data come split, or are unknown.

    Args:
        path: A checkpoint of the run, or its folder.
    """
    try:
        held = json.loads(RunFolder.of(path).splits.read_bytes())
    except (OSError, ValueError):
        return {}
    return held if isinstance(held, dict) else {}
