"""The model card: nothing invented, nothing dropped, metadata that a YAML reader takes."""

import hashlib
from pathlib import Path

import pytest

from model.architecture.family import get_architecture
from model.artifact.card import card
from model.artifact.card_figures import NOT_RECORDED, wilson
from model.artifact.folder import read_manifest
from model.artifact.manifest import Manifest, Metrics
from model.artifact.provenance import Cost, Data
from model.artifact.trust import Calibration, OodFigures
from model.artifact.writing import CARD
from model.preprocessing import Preprocessing
from tests.manifests import PROVENANCE, build_manifest

METRICS = Metrics(
    top1=0.9, top5=0.99, loss=0.25, ece=0.0125, dataset="fashion-mnist", split="test", n=100
)


MODEL = b"m" * 1_234_567


def manifest(metrics: Metrics | None = METRICS, recipe: str | None = "default") -> Manifest:
    origin = {"recipe": recipe, "seed": 7, "commit": "abc123", "torch": "2.13.0", "onnx_opset": 20}
    return build_manifest(
        {"float32": MODEL},
        image_size=28,
        version="3",
        labels=("dark", '<b>bright</b> "white"'),
        preprocessing=Preprocessing(resize=32, crop=28, channels=1, mean=(0.5,), std=(0.5,)),
        temperature=0.75,
        metrics=metrics,
        provenance=PROVENANCE.model_copy(update=origin),
    )


@pytest.mark.parametrize(
    ("share", "n", "low", "high"),
    [  # Newcombe, "Two-sided confidence intervals for the single proportion", 1998, table I
        (81 / 263, 263, 0.2553, 0.3662),
        (15 / 148, 148, 0.0624, 0.1605),
        (0 / 20, 20, 0.0, 0.1611),
        (1 / 29, 29, 0.0061, 0.1718),
    ],
)
def test_the_interval_is_that_of_the_literature(
    share: float, n: int, low: float, high: float
) -> None:
    assert wilson(share, n) == pytest.approx((low, high), abs=5e-5)


def test_the_card_holds_every_figure_of_the_manifest() -> None:
    text = card(manifest())

    for figure in ("90.00%", "0.2500", "1.25%", "1,234,567", "0.7500", "abc123", "100"):
        assert figure in text
    assert "82.56% to 94.48%" in text
    assert hashlib.sha256(MODEL).hexdigest() in text
    assert "28 of 32 parts of the shorter side" in text
    assert "top-5" not in text  # of two labels it is always 100 %


def test_the_metadata_stand_between_two_lines_of_dashes() -> None:
    _, metadata, body = card(manifest()).split("---\n", 2)

    assert "pipeline_tag: image-classification" in metadata
    assert 'datasets: ["fashion-mnist"]' in metadata
    assert "{type: accuracy, name: \"top-1\", value: 0.900000}" in metadata  # fmt: skip
    assert body.lstrip().startswith("# tiny, version 3")


def test_what_was_never_measured_is_said_and_not_dropped() -> None:
    text = card(manifest(metrics=None, recipe=None))

    assert f"## Evaluation\n\n{NOT_RECORDED}" in text
    assert f"- SHA-256 of the data: {NOT_RECORDED}" in text
    assert f"- recipe: {NOT_RECORDED}" in text
    assert "Its weights are random" in text
    assert "model-index" not in text
    assert "None" not in text


def test_the_card_tells_what_the_data_are_and_what_training_took() -> None:
    cost = Cost(epochs=85, seconds=6_000, cpu_seconds=11_000, threads=2, processor="AVX512")
    whole = manifest()
    provenance = whole.provenance.model_copy(update={"cost": cost})
    data = Data(licence="MIT", splits={"train": 55_000, "test": 10_000})

    text = card(whole.model_copy(update={"data": data, "provenance": provenance}))

    assert "- licence of the data: MIT\n- images: 55,000 train, 10,000 test\n" in text
    assert "- cost: 85 epochs, 100 minutes, 11,000 CPU seconds, 2 threads of AVX512\n" in text


def _with_trust(whole: Manifest, ood: OodFigures, **changes: object) -> Manifest:
    calibration = Calibration(
        method="temperature",
        coefficients={"scale": (0.5,)},
        split="validation",
        n=184,
        wrong=2,
        max_probability=1 - 3 / 184,
        folds=5,
        cross_validated_nll={"softmax": 0.11, "temperature": 0.05},
    ).model_copy(update=changes)
    file = whole.files["float32"].model_copy(update={"refusal": ood})
    return whole.model_copy(update={"calibration": calibration, "files": {"float32": file}})


@pytest.mark.parametrize(
    ("accepted", "words"),
    [(0.95, "5.0% (1.2% to 9.6% was to be expected), which chance explains"),
     (0.865, "13.5% (1.2% to 9.6% was to be expected), **more than chance explains**")],
)  # fmt: skip
def test_the_card_says_first_that_images_are_few_and_what_the_threshold_flags(
    accepted: float, words: str
) -> None:
    ood = OodFigures(
        threshold=-2.5,
        accepted=accepted,
        sets={},
        n=184,
        flagged_interval=(0.024, 0.088),
        flagged_interval_measured=(0.012, 0.096),
    )

    text = card(_with_trust(manifest(), ood))

    assert (
        "# tiny, version 3\n\n**All figures were measured on only 100 images** (split `test`)"
        in text
    )
    assert "90.0%, with a 95 % confidence interval from 82.56% to 94.48%." in text
    assert f"it flags 2.4% to 8.8%; of the 100 images of `test` it flags {words}" in text
    assert "184 images of `validation`, 2 of them answered wrongly: softmax 0.1100" in text
    assert "no probability is above 0.9837" in text


def test_the_card_says_why_something_is_not_offered() -> None:
    ood = OodFigures(threshold=None, accepted=None, sets={}, left_out="its mean AUROC is 0.63")

    text = card(_with_trust(manifest(), ood, left_out="it raised the cross-entropy"))

    assert "- `in_distribution`, float32: not offered: its mean AUROC is 0.63\n" in text
    assert "the plain softmax is served: calibration was left out, as it raised the cross" in text
    assert "- calibration: none: the plain softmax\n" in text


def test_figures_of_the_validation_split_are_called_that() -> None:
    text = card(manifest(METRICS.model_copy(update={"split": "validation"})))

    assert "There is no test split: the validation split also chose the weights" in text
    assert "The figures below are averages over one validation split" in text


def test_weights_from_elsewhere_are_not_called_random() -> None:
    whole = manifest(recipe=None)
    origin = whole.provenance.model_copy(update={"weights": "resnet50.pth, SHA-256 abc"})

    text = card(whole.model_copy(update={"provenance": origin}))

    assert "- weights from elsewhere: resnet50.pth, SHA-256 abc" in text
    assert "random" not in text


def test_the_included_artifacts_readme_is_its_card_but_for_how_to_start() -> None:
    shipped = Path(__file__).parents[3] / "artifacts/fashion-mnist/1"

    written, start, _ = (shipped / CARD).read_text(encoding="utf-8").partition("## How to get")
    assert start
    assert card(read_manifest(shipped)).startswith(written)


def test_a_card_names_what_the_model_is_not_for() -> None:
    text = card(manifest())

    assert r'showing one of: dark, \<b>bright\</b> "white".' in text
    assert "### Out of scope" in text
    assert "decisions about people" in text.replace("\n", " ")


def test_many_labels_are_counted_after_the_first_twenty() -> None:
    architecture = get_architecture("mini_resnet", num_classes=30)
    many = manifest().model_copy(
        update={"architecture": architecture, "labels": tuple(f"kind {n}" for n in range(30))}
    )

    text = card(many)

    assert "kind 19, and 10 more" in text
    assert "kind 20" not in text


def test_a_part_of_the_manifest_that_the_card_does_not_know_is_listed() -> None:
    class Later(Manifest):
        afterthought: dict[str, object]

    part = {"threshold": 0.87, "auroc": None, "scores": list(range(20))}
    later = Later(**dict(manifest()), afterthought=part)

    assert (
        "- afterthought: threshold 0.87, auroc not recorded, scores 20 values, in `manifest.json`"
        in card(later)
    )
