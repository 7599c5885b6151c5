"""What an artifact offers follows from its manifest."""

import numpy as np
import pytest

from model.artifact.manifest import Manifest
from model.artifact.trust import OodFigures, PerLabelSets, PredictionSets
from service.errors import InvalidParameterError
from service.inference.outputs import BatchOutputs
from service.postprocessing.batch import read_batch
from service.postprocessing.trust import PredictOptions, Trust
from service.preprocessing.prepare import ImageSize
from tests.manifests import build_manifest

SETS = PredictionSets(
    penalty=0,
    free_labels=1,
    n=50,
    coverages=(0.5, 0.9, 0.98),
    thresholds=(0.1, 0.5, 0.7),
    measured=(),
)


def _trust(**changes: object) -> Trust:
    manifest: Manifest = build_manifest({"float32": b"model"})
    file = manifest.files["float32"].model_copy(update=changes)
    whole = manifest.model_copy(update={"files": {"float32": file}})
    return Trust(whole, "float32", frozenset({"score"}))


def test_a_coverage_that_the_validation_split_is_too_small_for_is_refused() -> None:
    trust = _trust(prediction_sets=SETS)

    trust.validate(PredictOptions(coverage=0.98))
    with pytest.raises(InvalidParameterError, match=r"at most 0\.98: the 50 validation images"):
        trust.validate(PredictOptions(coverage=0.99))


def test_sets_for_each_label_need_thresholds_for_each_and_images_enough() -> None:
    own = PerLabelSets(n=(19, 40), coverages=(0.5, 0.95), thresholds=((0, 0), (1, 1)), measured=())
    with_own = _trust(prediction_sets=SETS.model_copy(update={"per_label": own}))

    with_own.validate(PredictOptions(coverage=0.95, per_label=True))
    for trust, coverage, message in (
        (with_own, None, "needs `coverage`"),
        (with_own, 0.97, r"at most 0\.95 with `per_label`: the 19 images of '.+' that set"),
        (
            _trust(prediction_sets=SETS),
            0.9,
            "no thresholds for each label, because an earlier version",
        ),
    ):
        with pytest.raises(InvalidParameterError, match=message):
            trust.validate(PredictOptions(coverage=coverage, per_label=True))


@pytest.mark.parametrize(
    ("options", "indices"),
    [
        (PredictOptions(coverage=0.5), [0]),  # the threshold alone leaves it empty
        (PredictOptions(coverage=0.9), [0]),
        (PredictOptions(coverage=0.9, per_label=True), [0, 1]),
    ],
)
def test_a_set_holds_the_likeliest_label_and_those_under_their_own_thresholds(
    options: PredictOptions, indices: list[int]
) -> None:
    own = PerLabelSets(n=(19, 40), coverages=(0.9,), thresholds=((0.0, 0.9),), measured=())
    trust = _trust(prediction_sets=SETS.model_copy(update={"per_label": own}))
    outputs = BatchOutputs(
        logits=np.zeros((1, 2), np.float32), probabilities=np.array([[0.6, 0.4]], np.float32)
    )
    answers = read_batch(outputs, np.zeros((1, 4, 4, 1), np.uint8), None)

    result = trust.result(answers, 0, ImageSize(4, 4), options)

    assert [each["index"] for each in result["prediction_set"]] == indices


def test_an_artifact_without_a_threshold_has_none() -> None:
    left_out = OodFigures(threshold=None, accepted=None, sets={}, left_out="too few images")

    assert _trust(refusal=left_out).threshold is None
    assert _trust(refusal=OodFigures(threshold=2, accepted=0.9, sets={})).threshold == 2
