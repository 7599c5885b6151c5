"""Parts of the manifest that say where the weights came from: data, recipe, cost, versions."""

from collections.abc import Mapping

from pydantic import Field

from model.artifact.trust import Part
from model.limits import Amount, Count, Number, Whole
from model.printable import Text


class Data(Part):
    """The labelled images that the weights were trained on."""

    licence: Text | None = Field(description="Of the images; None: not known.")
    splits: Mapping[Text, Count] = Field(description="Images in each.")


class Cost(Part):
    """What training took, over all parts of a run that was resumed."""

    epochs: Whole
    seconds: Amount
    cpu_seconds: Amount
    threads: Whole
    processor: Text = Field(description="The instructions that it computed with, or the GPU.")


class Provenance(Part):
    """Where the weights came from."""

    recipe: Text | None = Field(description="None: the weights were not trained here.")
    changes: Mapping[Text, bool | Count | Number | Text | None] = Field(
        {}, description="Fields of the recipe that were set otherwise."
    )
    cost: Cost | None = Field(
        None, description="None: not trained here, or not recorded. Without that of `weights`."
    )
    weights: Text | None = Field(
        None, description="File that training began with, and its SHA-256; None: there was none."
    )
    seed: int = Field(ge=-(2**63), lt=2**64)
    dataset_sha256: Text | None = Field(description="Of what trained the weights.")
    commit: Text | None = Field(description="Of the code that trained them, or else exported them.")
    torch: Text = Field(description="Its version, likewise.")
    onnx_opset: Whole
    created: Text = Field(description="UTC, ISO 8601.")
