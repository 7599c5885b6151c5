"""The model card: what a model is for and what it was measured to be worth, in Markdown.

`card` turns a manifest into the README.md of its artifact, in Hugging Face's model card
format; the service answers `GET /card.md` with the same text. A figure that was never
measured is printed as "not recorded", and a part of the manifest that this module does
not know is listed as it is: nothing is dropped. No torch, no templates, no YAML library:
JSON strings are YAML strings.

Source:
    The sections of hub-docs' `modelcard.md` and of Mitchell et al., "Model Cards for
    Model Reporting", 2019 (arXiv 1810.03993).
"""

import json
from typing import Any

from model.artifact.card_figures import (
    NOT_RECORDED,
    bullets,
    evaluation,
    few_images,
    has_top5,
    literal,
    precisions,
    trust,
)
from model.artifact.card_start import start
from model.artifact.manifest import Manifest
from model.artifact.provenance import Cost, Provenance

KNOWN = frozenset(
    {
        "schema_version",
        "name",
        "version",
        "architecture",
        "summary",
        "labels",
        "input",
        "preprocessing",
        "temperature",
        "files",
        "metrics",
        "golden",
        "provenance",
        "data",
        "calibration",
        "refusal",
        "reference",
        "head_bias",
    }
)
"""Parts of the manifest that have a section of their own, or none because they are data."""


def card(manifest: Manifest) -> str:
    """Write the whole card: metadata, then the sections, each with all that is known."""
    sections = (
        _title(manifest),
        _uses(manifest),
        evaluation(manifest),
        precisions(manifest),
        trust(manifest),
        _training(manifest),
        _technical(manifest),
        _further(manifest),
        start(manifest),
    )
    return _metadata(manifest) + "\n\n".join(sections) + "\n"


def _metadata(manifest: Manifest) -> str:
    """YAML front matter; a key whose value is not known is left out, as the hub expects."""
    lines = [
        "---",
        "library_name: onnx",
        "pipeline_tag: image-classification",
        f"tags: {json.dumps(['resnet', 'onnxruntime', manifest.architecture.name])}",
    ]
    metrics = manifest.metrics
    if metrics is not None:
        dataset = json.dumps(metrics.dataset)
        lines += [
            f"datasets: [{dataset}]",
            "metrics: [accuracy]",
            "model-index:",
            f"  - name: {json.dumps(manifest.name)}",
            "    results:",
            "      - task: {type: image-classification}",
            f"        dataset: {{name: {dataset}, type: {dataset}, "
            f"split: {json.dumps(metrics.split)}}}",
            "        metrics:",
            *(
                f"          - {{type: {kind}, name: {json.dumps(name)}, value: {value:.6f}}}"
                for kind, name, value in (
                    ("accuracy", "top-1", metrics.top1),
                    *((("accuracy", "top-5", metrics.top5),) if has_top5(manifest) else ()),
                    ("loss", "cross-entropy", metrics.loss),
                    ("ece", "expected calibration error", metrics.ece),
                )
            ),
        ]
    return "\n".join([*lines, "---", "", ""])


def _title(manifest: Manifest) -> str:
    summary, warning = manifest.summary, few_images(manifest)
    return (
        f"# {manifest.name}, version {manifest.version}\n\n"
        f"{warning + chr(10) * 2 if warning else ''}"
        f"A {manifest.architecture.name} with {summary.parameters:,} parameters and "
        f"{summary.macs:,} multiply-adds that sorts a {_image(manifest)} into "
        f"{len(manifest.labels)} labels."
    )


def _image(manifest: Manifest) -> str:
    colours = "grey" if manifest.input.channels == 1 else "colour"
    return f"{colours} image of {manifest.input.size} x {manifest.input.size} pixels"


def _uses(manifest: Manifest) -> str:
    labels = ", ".join(map(literal, manifest.labels[:20]))
    more = len(manifest.labels) - 20
    source = manifest.metrics.dataset if manifest.metrics else None
    kind = f"of the kind in {source}" if source else "of the kind it was trained on"
    spec = manifest.preprocessing
    return (
        "## Uses\n\n"
        f"Made for images {kind}, each showing one of: {labels}"
        f"{f', and {more} more' if more > 0 else ''}.\n\n"
        "### Out of scope\n\n"
        "Images of anything else, images that show several of these, and decisions about "
        "people.\n\n"
        "## Bias, risks and limitations\n\n"
        "- It always answers with one of its labels, also when the image shows none of them.\n"
        f"- It sees the centre square alone ({spec.crop} of {spec.resize} parts of the shorter "
        f"side), brought to {spec.crop} x {spec.crop} pixels; what lies outside does not count.\n"
        f"{_averages(manifest)}"
        f"- {_weights(manifest)}"
    )


def _averages(manifest: Manifest) -> str:
    if manifest.metrics is None:
        return ""
    return (
        f"- The figures below are averages over one {manifest.metrics.split} split; on other "
        "images, and for a single label, they may be far worse.\n"
    )


def _weights(manifest: Manifest) -> str:
    origin = manifest.provenance
    if origin.recipe is None and origin.weights is None:
        return "Its weights are random: it was never trained, and its answers mean nothing."
    return "Which people, places or makers its training images favour was not examined."


def _training(manifest: Manifest) -> str:
    provenance, data = manifest.provenance, manifest.data
    dataset = manifest.metrics.dataset if manifest.metrics else None
    return "## Training\n\n" + bullets(
        {
            "data": dataset,
            "licence of the data": data and data.licence,
            "images": data and ", ".join(f"{n:,} {name}" for name, n in data.splits.items()),
            "SHA-256 of the data": provenance.dataset_sha256,
            "weights from elsewhere" if provenance.recipe is None else "first weights": (
                provenance.weights or "none"
            ),
            "recipe": provenance.recipe and _recipe(provenance),
            "cost": provenance.cost and _cost(provenance.cost, provenance.weights),
            "seed": provenance.seed,
            "commit": provenance.commit,
            "torch": provenance.torch,
            "created": provenance.created,
        }
    )


def _recipe(provenance: Provenance) -> str:
    changes = [f"{name}={json.dumps(value)}" for name, value in provenance.changes.items()]
    return f"{provenance.recipe}{', with ' if changes else ''}{', '.join(changes)}"


def _cost(cost: Cost, first_weights: str | None) -> str:
    minutes = cost.seconds / 60
    time = f"{minutes:,.0f} minutes" if minutes >= 10 else f"{minutes:.1f} minutes"
    return (
        f"{cost.epochs} {'epoch' if cost.epochs == 1 else 'epochs'}, {time}, "
        f"{cost.cpu_seconds:,.0f} CPU seconds, {cost.threads} "
        f"{'thread' if cost.threads == 1 else 'threads'} of {cost.processor}"
        f"{', after what the first weights had cost' if first_weights else ''}"
    )


def _technical(manifest: Manifest) -> str:
    spec = manifest.preprocessing
    size = manifest.input.size
    return "## Technical specification\n\n" + bullets(
        {
            "architecture": manifest.architecture.name,
            "blocks in each stage": ", ".join(map(str, manifest.architecture.depths)),
            "input": f"uint8 (N, {size}, {size}, {manifest.input.channels}), RGB order",
            "outputs": f"`logits` and `probabilities`, float32 (N, {len(manifest.labels)}), and "
            "what the service may be asked for: features, maps, a score where there is one",
            "preprocessing": f"centre square, {spec.crop}/{spec.resize} of the shorter side, "
            f"{spec.interpolation}; mean {list(spec.mean)}, std {list(spec.std)} in the graph",
            "calibration": _calibration(manifest),
            "ONNX opset": manifest.provenance.onnx_opset,
        }
    )


def _calibration(manifest: Manifest) -> str | None:
    found = manifest.calibration
    if found is not None and found.left_out is not None:
        return "none: the plain softmax"
    if manifest.temperature is not None:
        return f"a temperature of {manifest.temperature:.4f}, in the graph"
    method = found and found.method
    return f"`{method}`, in the graph" if method else None


def _further(manifest: Manifest) -> str:
    """List what a newer exporter may have measured, whatever it is."""
    parts = manifest.model_dump(mode="json", exclude=set(KNOWN))
    known = {name: _short(value) for name, value in parts.items()}
    listed = bullets(known) if known else f"Nothing else: {NOT_RECORDED}."
    return f"## Further measurements\n\n{listed}"


def _short(value: Any) -> str | None:
    """JSON on one line; long lists as their length, since the manifest has them whole."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) > 12:
        return f"{len(value)} values, in `manifest.json`"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(inner) or NOT_RECORDED}" for name, inner in value.items())
    return json.dumps(value, ensure_ascii=False)
