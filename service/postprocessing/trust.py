"""Whether an answer can be trusted, and other optional results.

Prediction sets, the flag for images unlike the training data, activation maps and embeddings come
from the graph's outputs and the manifest's thresholds. Knows neither queues nor HTTP.
"""

from dataclasses import dataclass

import numpy as np

from model.artifact.manifest import Manifest, ModelFile, Precision
from model.artifact.prediction_sets import members
from service.errors import InferenceFailedError, InvalidParameterError
from service.postprocessing.batch import DEFAULT_TOP_K, BatchAnswers
from service.postprocessing.explain import explain
from service.postprocessing.ranking import rank
from service.postprocessing.schemas import Result
from service.preprocessing.prepare import ImageSize


@dataclass(frozen=True)
class PredictOptions:
    """Options of a request.

    Attributes:
        top_k: Labels for each image.
        coverage: Of a prediction set; None: no set.
        per_label: The coverage is that of each label, not of all images.
        explain: The activation map.
        draw: Its PNG overlay, too.
        features: The embedding.
    """

    top_k: int = DEFAULT_TOP_K
    coverage: float | None = None
    per_label: bool = False
    explain: bool = False
    draw: bool = False
    features: bool = False

    @property
    def outputs(self) -> frozenset[str]:
        """Outputs of the graph that only some requests need."""
        wanted = {"maps": self.explain, "features": self.features}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


DEFAULT = PredictOptions()
NO_OUTPUTS: frozenset[str] = frozenset()


class Trust:
    """Reads the optional outputs and applies the manifest's thresholds.

    Args:
        manifest: Thresholds and biases.
        precision: Which of its files is served.
        available: Optional outputs of the graph.
    """

    def __init__(self, manifest: Manifest, precision: Precision, available: frozenset[str]) -> None:
        self.manifest = manifest
        self.file: ModelFile = manifest.files[precision]
        self.available = available
        ood = self.file.refusal
        self.threshold = ood.threshold if ood and "score" in available else None

    def validate(self, options: PredictOptions) -> None:
        """Check that the artifact supports the options of a request.

        Raises:
            InvalidParameterError: If an output or thresholds are missing.
        """
        if options.coverage is not None and self.file.prediction_sets is None:
            raise InvalidParameterError(
                "`coverage`: this artifact has no thresholds for prediction sets. "
                "Leave it out, or serve an artifact that `export-model` made with "
                "data."
            )
        self._validate_coverage(options.coverage)
        if options.per_label:
            self._validate_per_label(options.coverage)
        missing = options.outputs - self.available
        if missing:
            raise InvalidParameterError(
                f"This artifact's graph has no {' and no '.join(sorted(missing))}. "
                "Leave `explain` and `features` out, or export the artifact again."
            )

    def _validate_coverage(self, coverage: float | None) -> None:
        """Check that there were images enough for a coverage."""
        sets = self.file.prediction_sets
        if coverage is None or sets is None or coverage <= sets.coverages[-1] + 1e-9:
            return
        raise InvalidParameterError(
            f"`coverage` (={coverage:g}) must be at most {sets.coverages[-1]:g}: the "
            f"{sets.n:,} {sets.split} images of this artifact are too few for more."
        )

    def _validate_per_label(self, coverage: float | None) -> None:
        """Check that there are thresholds for each label, and images enough for a coverage."""
        sets = self.file.prediction_sets
        if coverage is None:
            raise InvalidParameterError(
                "`per_label` needs `coverage`: how often each label must be in its sets."
            )
        own = sets.per_label if sets is not None else None
        if own is None:
            raise InvalidParameterError(
                "`per_label`: this artifact has no thresholds for each label, because "
                "an earlier version exported it, or because some labels had too few "
                "images. Leave it out, or export again."
            )
        if coverage > own.coverages[-1] + 1e-9:
            fewest = min(range(len(own.n)), key=own.n.__getitem__)
            raise InvalidParameterError(
                f"`coverage` (={coverage:g}) must be at most {own.coverages[-1]:g} with "
                f"`per_label`: the {own.n[fewest]:,} images of {self.manifest.labels[fewest]!r} "
                "that set its thresholds are too few for more."
            )

    def check_finite(
        self, answers: BatchAnswers, row: int, index: int, outputs: frozenset[str]
    ) -> None:
        """Check that all numbers in the result for one image are finite.

        Args:
            answers: Of the image's batch.
            row: Of the image in the batch.
            index: Of the image in its request.
            outputs: Optional outputs that the result shows.

        Raises:
            InferenceFailedError: If a number is infinite or not a number.
        """
        if not answers.finite[row] or any(
            not np.isfinite(getattr(answers, name)[row]).all() for name in outputs
        ):
            raise InferenceFailedError(
                "The network's outputs are not finite. Try another image.",
                index=index,
            )

    def result(
        self, answers: BatchAnswers, row: int, size: ImageSize, options: PredictOptions
    ) -> Result:
        """Build the result for one image.

        Args:
            answers: Of the image's batch.
            row: Of the image in it.
            size: Of the image as sent.
            options: What to show.
        """
        result: Result = {
            "predictions": rank(answers, row, self.manifest.labels, options.top_k),
        }
        if answers.in_distribution is not None and answers.score is not None:
            result["in_distribution"] = answers.in_distribution[row]
            result["score"] = float(answers.score[row])
        if options is not DEFAULT:
            self._add_optional(result, answers, row, size, options)
        return result

    def _add_optional(
        self,
        result: Result,
        answers: BatchAnswers,
        row: int,
        size: ImageSize,
        options: PredictOptions,
    ) -> None:
        """Add the optional fields that were requested."""
        sets = self.file.prediction_sets
        if options.coverage is not None and sets is not None:
            (chosen,) = members(
                answers.probabilities[row : row + 1],
                sets,
                options.coverage,
                per_label=options.per_label,
            )
            ranked = rank(answers, row, self.manifest.labels, len(self.manifest.labels))
            result["prediction_set"] = [each for each in ranked if chosen[each["index"]]]
        if options.explain and answers.maps is not None:
            top, biases = answers.top[row], self.manifest.head_bias
            result["explanation"] = explain(
                answers.maps[row, : options.top_k],
                float(answers.logits[row, top]),
                None if biases is None else biases[top],
                size,
                self.manifest.preprocessing,
                draw=options.draw,
            )
        if options.features and answers.features is not None:
            result["features"] = answers.features[row].tolist()
