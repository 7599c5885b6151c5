"""What one picture's answer holds, beside its labels: how far to trust it, and why.

`Wish` says what a request asked for beyond the labels; it travels with the pictures as the
names of the outputs that the engine must fetch.
"""

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from model.artifact.manifest import Manifest, ModelFile, Precision
from model.artifact.prediction_sets import members
from service.errors import InvalidParameterError
from service.inference.outputs import BatchOutputs, Floats
from service.postprocessing.explain import explain
from service.postprocessing.schemas import Explanation, Prediction, Result
from service.preprocessing.prepare import Sent


@dataclass(frozen=True)
class Wish:
    """What a request wants beyond labels.

    Attributes:
        coverage: Of a prediction set; None: no set.
        explain: The activation map.
        draw: And a layer to lay over the picture.
        features: The embedding.
    """

    coverage: float | None = None
    explain: bool = False
    draw: bool = False
    features: bool = False

    @property
    def outputs(self) -> frozenset[str]:
        """Outputs of the graph that plain requests do without."""
        wanted = {"maps": self.explain, "features": self.features}
        return frozenset(name for name, is_wanted in wanted.items() if is_wanted)


PLAIN = Wish()


class Answer(NamedTuple):
    """One picture among those of a batch."""

    outputs: BatchOutputs
    place: int
    sent: Sent


class Judgement:
    """Reads the outputs that say how far an answer can be trusted.

    Args:
        manifest: Thresholds and biases.
        precision: Which of its files answers.
        held: Optional outputs that the graph has.
    """

    def __init__(self, manifest: Manifest, precision: Precision, held: frozenset[str]) -> None:
        """Look up what belongs to this precision."""
        self.manifest = manifest
        self.file: ModelFile = manifest.files[precision]
        self.held = held
        refusal = self.file.refusal
        self.threshold = refusal.threshold if refusal and "score" in held else None

    def refuse_impossible(self, wish: Wish) -> None:
        """Refuse early what the artifact cannot give.

        Raises:
            InvalidParameterError: If it lacks an output or thresholds.
        """
        if wish.coverage is not None and self.file.prediction_sets is None:
            raise InvalidParameterError(
                "`coverage`: this artifact holds no thresholds for prediction sets. Leave it out, "
                "or serve one that `export-model` made with data."
            )
        missing = wish.outputs - self.held
        if missing:
            raise InvalidParameterError(
                f"This artifact's graph has no {' and no '.join(sorted(missing))}. Leave `explain` "
                "and `features` out, or export the artifact anew."
            )

    def result(
        self, answer: Answer, ranked: Sequence[Prediction], top_k: int, wish: Wish
    ) -> Result:
        """Write the answer for one picture.

        Args:
            answer: What the engine gave.
            ranked: The likeliest labels first; all of them if the wish has a coverage.
            top_k: How many of them to show.
            wish: What else to show.
        """
        result = Result(predictions=list(ranked[:top_k]))
        score = self._score(answer.outputs, answer.place)
        if score is not None:
            result["in_distribution"], result["score"] = self._is_high(score), score
        if wish is not PLAIN:
            self._add_wishes(result, answer, ranked, wish)
        return result

    def _add_wishes(
        self, result: Result, answer: Answer, ranked: Sequence[Prediction], wish: Wish
    ) -> None:
        """Put in what the artifact has of what was asked for."""
        asked = {
            "prediction_set": self._prediction_set(answer, ranked, wish.coverage),
            "explanation": self._explanation(answer, draw=wish.draw) if wish.explain else None,
            "features": _features(answer) if wish.features else None,
        }
        result.update({name: value for name, value in asked.items() if value is not None})  # type: ignore[typeddict-item]

    def is_finite(self, outputs: BatchOutputs, place: int, wanted: Collection[str]) -> bool:
        """Tell whether all that the answer for one picture may show is numbers.

        Args:
            outputs: What the engine gave for its batch.
            place: Of the picture in it.
            wanted: Further outputs that its answer shows.
        """
        score = self._score(outputs, place)
        if score is not None and not math.isfinite(score):
            return False
        if not (_is_finite(outputs.logits[place]) and _is_finite(outputs.probabilities[place])):
            return False
        return all(np.isfinite(getattr(outputs, name)[place]).all() for name in wanted)

    def is_ordinary(self, outputs: BatchOutputs, place: int) -> bool | None:
        """Whether a picture looks like the training data; None where nothing tells."""
        score = self._score(outputs, place)
        return None if score is None else self._is_high(score)

    def _is_high(self, score: float) -> bool:
        return self.threshold is not None and score >= self.threshold

    def _score(self, outputs: BatchOutputs, place: int) -> float | None:
        """Give the picture's score; None if there is no threshold to hold it against."""
        if self.threshold is None or outputs.score is None:
            return None
        return float(outputs.score[place])

    def _prediction_set(
        self, answer: Answer, ranked: Sequence[Prediction], coverage: float | None
    ) -> list[Prediction] | None:
        """Keep the labels that belong into the set."""
        sets, place = self.file.prediction_sets, answer.place
        if coverage is None or sets is None:
            return None
        (chosen,) = members(answer.outputs.probabilities[place : place + 1], sets, coverage)
        return [prediction for prediction in ranked if chosen[prediction["index"]]]

    def _explanation(self, answer: Answer, *, draw: bool) -> Explanation | None:
        """Explain the top label."""
        outputs, place = answer.outputs, answer.place
        if outputs.maps is None:
            return None
        top = int(np.argmax(outputs.probabilities[place]))
        biases = self.manifest.head_bias
        return explain(
            outputs.maps[place],
            float(outputs.logits[place, top]),
            None if biases is None else biases[top],
            answer.sent,
            self.manifest.preprocessing,
            draw=draw,
        )


def _features(answer: Answer) -> list[float] | None:
    features = answer.outputs.features
    if features is None:
        return None
    values: list[float] = features[answer.place].tolist()
    return values


def _is_finite(row: Floats) -> bool:
    """Whether all numbers (K,) are finite; one product costs a third of looking at each."""
    return math.isfinite(row.dot(row)) or bool(np.isfinite(row).all())
