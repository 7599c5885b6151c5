"""The options of an export, and the checks that need no work."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from model.artifact.manifest import Name, Precision, Version
from model.artifact.writing import check_free
from training.errors import ExportError
from training.export.precisions import GATES
from training.trust.ood_sets import check_ood_images

GATE_IMAGES = 1_000
"""Test images on which onnxruntime must agree with torch."""


@dataclass(frozen=True)
class Options:
    """What the user may choose.

    Attributes:
        precisions: float32 first.
        gates: Points of top-1 accuracy that each precision may lose.
        ood_images: A folder of images of anything else, to measure out-of-distribution detection.
        licence: Of the data, for the model card; None: the licence that the data set names.
        optional: Precisions that are left out, with a message, if they fail their gates.
        samples: Whether images of the data become golden images, which the artifact holds and the
            page shows; otherwise they are generated.
    """

    precisions: tuple[Precision, ...] = ("float32",)
    gates: Mapping[Precision, float] = field(default_factory=lambda: GATES)
    ood_images: Path | None = None
    licence: str | None = None
    optional: frozenset[Precision] = frozenset()
    samples: bool = True


def check_early(out: Path, options: Options, *, overwrite: bool) -> None:
    """Raise before any work what would be raised after it.

    Raises:
        ExportError: If the folder's name cannot be an artifact's.
        ArtifactExistsError: If something is there already, and `overwrite` is off.
        DatasetError: If the folder of OOD images holds none.
    """
    check_out_folder(out, overwrite=overwrite)
    if options.ood_images is not None:
        check_ood_images(options.ood_images)


def check_out_folder(out: Path, *, overwrite: bool) -> None:
    """Check that an artifact can be written to a folder.

    Raises:
        ExportError: If the folder's name cannot be an artifact's.
        ArtifactExistsError: If something is there already, and `overwrite` is off.
    """
    name = out.absolute().parent.name
    if not _is_a(Version, out.name):
        raise ExportError(
            f"{out}: the version (={out.name!r}), the last part of --out, must be a "
            "whole number of 1 or more, as in artifacts/shoes/1."
        )
    if not _is_a(Name, name):
        raise ExportError(
            f"{out}: the name (={name!r}), the part of --out before the version, must "
            "be 1 to 64 English letters, digits, '_', '.' and '-', as in "
            "artifacts/shoes/1."
        )
    check_free(out, overwrite=overwrite)


def _is_a(form: Any, text: str) -> bool:
    try:
        TypeAdapter(form).validate_python(text)
    except ValidationError:
        return False
    return True
