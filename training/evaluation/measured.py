"""Measure a run or an artifact on labelled images, wherever these are."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch import Tensor

from model.artifact.files import MANIFEST, versions
from model.artifact.folder import read
from model.artifact.manifest import FILE_NAMES, Manifest
from model.preprocessing import Preprocessing
from training.data.dataset import Dataset, DatasetError, Split
from training.data.decode import decode_files
from training.data.fashion_mnist import has_idx_files, read_fashion_mnist
from training.data.splits import LabelledFile, inside
from training.evaluation.labelled import (
    Answers,
    LabelledFolder,
    labelled_folder,
    predict_folder,
)
from training.evaluation.overlap import is_own_data, split_copies
from training.evaluation.predict import (
    Predict,
    Predictions,
    TrainedNetwork,
    load_network,
    onnx_outputs,
    onnx_session,
    predict_split,
    with_mirror,
)
from training.runs.dataset import dataset_to_evaluate
from training.runs.record import RunRecord

MAX_NAMED = 5
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Files:
    """Files that are decoded when their images are needed."""

    root: Path
    files: tuple[LabelledFile, ...]
    spec: Preprocessing


@dataclass(frozen=True)
class Measured:
    """A model's predictions on one split.

    Attributes:
        labels: Of the model.
        dataset: Name of the data.
        split: Name of the split.
        predictions: Of all its images.
        files: Their names; empty if one file holds them all.
        source: The images, or where they are.
        out: Default folder of the report.
        mirrored: Predictions with each image's mirror image, if the run mirrored images.
    """

    labels: tuple[str, ...]
    dataset: str
    split: str
    predictions: Predictions
    files: tuple[str, ...]
    source: Split | Files
    out: Path
    mirrored: Predictions | None = None

    def images(self, positions: Sequence[int]) -> Tensor:
        """Return some of the images, uint8 (M, S, S, C)."""
        if not isinstance(self.source, Files):
            return self.source[list(positions)].images
        files = [self.source.files[position] for position in positions]
        return decode_files(files, self.source.spec, self.source.root).split.images


def is_artifact(path: Path) -> bool:
    """Whether a path is an artifact's folder, `<name>/<version>` or `<name>`."""
    return path.is_dir() and ((path / MANIFEST).exists() or bool(versions(path)))


def measure_run(checkpoint: Path, data: Path | None, labels_csv: Path | None = None) -> Measured:
    """Measure a run on its own test split, or on images that it never saw.

    Raises:
        CheckpointError: If the run cannot be read.
        DatasetError: If the images cannot be used.
    """
    trained = load_network(checkpoint)
    out = checkpoint if checkpoint.is_dir() else checkpoint.parent
    record, predict = trained.record, trained.predict()
    own_table = labels_csv is None or record.is_table(labels_csv)
    if labels_csv is not None and not own_table:
        data = data or labels_csv.parent
    if data is None or (own_table and _is_own(record, data, checkpoint)):
        dataset = dataset_to_evaluate(record, data, checkpoint, splits=("test",))
        found = _of_dataset(dataset, predict, out)
        if not record.recipe.flip:
            return found
        split = dataset.splits[found.split]
        return replace(found, mirrored=predict_split(with_mirror(predict), split))
    folder = _never_seen(labelled_folder(data, record.labels, labels_csv), trained)
    return _of_folder(
        folder,
        lambda images: Predictions(predict(images), torch.empty(0)),
        record.labels,
        record.preprocessing,
        out / "evaluations" / folder.name,
    )


def _is_own(record: RunRecord, data: Path, checkpoint: Path) -> bool:
    return has_idx_files(data) or is_own_data(record, data, checkpoint)


def measure_artifact(
    path: Path, data: Path | None, precision: str, labels_csv: Path | None = None
) -> Measured:
    """Measure an artifact as it is served, in one of its precisions.

    Raises:
        ArtifactError: If the artifact cannot be read, or has no such precision.
        DatasetError: If the images cannot be used.
    """
    data = data or (labels_csv and labels_csv.parent)
    if data is None:
        raise DatasetError(
            f"{path} is an artifact, which does not know its data. With --data, name the "
            "images to measure it on."
        )
    artifact = read(path)
    manifest = artifact.manifest
    name = next((name for name in FILE_NAMES if name == precision), None)
    if name is None:
        raise DatasetError(f"--precision {precision} must be one of {', '.join(FILE_NAMES)}.")
    session = onnx_session(artifact.model(name))

    def answers(images: Tensor) -> Predictions:
        found = onnx_outputs(session, images, ("logits", "probabilities"))
        return Predictions(found["logits"], torch.empty(0), found["probabilities"])

    out = Path("evaluations") / f"{manifest.name}-{manifest.version}"
    if labels_csv is None and has_idx_files(data):
        return _of_idx(data, manifest, answers, out)
    folder = labelled_folder(data, manifest.labels, labels_csv)
    log.info("%s/%s in %s", manifest.name, manifest.version, name)
    return _of_folder(folder, answers, manifest.labels, manifest.preprocessing, out / folder.name)


def _of_idx(data: Path, manifest: Manifest, answers: Answers, out: Path) -> Measured:
    """Measure on the test split of Fashion-MNIST's four files.

    Raises:
        DatasetError: If the artifact is for other labels or images.
    """
    dataset = read_fashion_mnist(data, size=manifest.input.size, splits=("test",))
    seen = dataset.preprocessing
    if dataset.labels != manifest.labels or seen.channels != manifest.input.channels:
        raise DatasetError(f"{data} holds {dataset.name}; the artifact has other labels.")
    test = dataset.test
    found = answers(test.images)
    predictions = Predictions(found.logits, test.targets, found.probabilities)
    return Measured(
        manifest.labels, dataset.name, "test", predictions, (), test, out / dataset.name
    )


def _of_dataset(dataset: Dataset, predict: Predict, out: Path) -> Measured:
    name = dataset.measuring
    split = dataset.splits[name]
    return Measured(
        dataset.labels,
        dataset.name,
        name,
        predict_split(predict, split),
        tuple(dataset.files.get(name, ())),
        split,
        out,
    )


def _of_folder(
    folder: LabelledFolder,
    answers: Answers,
    labels: tuple[str, ...],
    spec: Preprocessing,
    out: Path,
) -> Measured:
    """Predict the files of a folder, and log how it was read."""
    for line in folder.notes:
        log.info(line)
    log.info(
        f"{folder.name}: {len(folder.files):,} images to test, {len(labels)} labels, "
        f"{spec.crop} x {spec.crop} x {spec.channels}"
    )
    predictions, files, unreadable = predict_folder(answers, folder, spec)
    if unreadable:
        log.info(f"left out, {len(unreadable):,} unreadable file{'s' * (len(unreadable) > 1)}:")
        for reason in unreadable[:MAX_NAMED]:
            log.info(f"  {reason}")
    names = tuple(inside(file, folder.root) for file in files)
    source = Files(folder.root, files, spec)
    return Measured(labels, folder.name, folder.split, predictions, names, source, out)


def _never_seen(folder: LabelledFolder, trained: TrainedNetwork) -> LabelledFolder:
    """Leave out copies of images that the run learnt from.

    Raises:
        DatasetError: If nothing is left.
    """
    log.info("note: these are not the images of the run")
    divided = split_copies(trained.record, trained.path, folder.files)
    if divided is None:
        log.info(
            "note: the run's own images are no longer at %s, so it was not checked "
            "whether these contain copies of them",
            trained.record.dataset_source,
        )
        return folder
    kept, copies = divided
    if not kept:
        raise DatasetError(
            f"All {len(copies):,} images in {folder.root} are copies of images that the run was "
            "trained on. Name images that it never saw."
        )
    if copies:
        log.info(
            f"left out: {len(copies):,} images that the run was trained on, or that "
            "chose its weights"
        )
    return replace(folder, files=tuple(kept))
