"""The model card: what a model is for and what it was measured to be worth, in Markdown.

`card` turns a manifest into the README.md of its artifact, in Hugging Face's model card
format; the service answers `GET /card.md` with the same text. A figure that was never
measured is printed as "not recorded", and a part of the manifest that this room does not
know is listed as it is: nothing is dropped. No torch, no templates, no YAML library:
JSON strings are YAML strings.

Source:
    The sections of hub-docs' `modelcard.md` and of Mitchell et al., "Model Cards for
    Model Reporting", 2019 (arXiv 1810.03993).
"""

import json
import math
from collections.abc import Iterable, Mapping
from typing import Any

from model.manifest import Manifest

NOT_RECORDED = "not recorded"
Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""
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
        "calibration",
        "refusal",
        "reference",
        "head_bias",
    }
)
"""Parts of the manifest that have a section of their own, or none because they are data."""


def wilson(share: float, n: int) -> tuple[float, float]:
    """Give the 95 % interval of a share that was counted on `n` cases.

    Args:
        share: Successes / n, in [0, 1].
        n: At least 1.

    Source:
        Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", 1927.
    """
    weight = Z_95**2 / n
    centre = (share + weight / 2) / (1 + weight)
    half = Z_95 / (1 + weight) * math.sqrt(share * (1 - share) / n + Z_95**2 / (4 * n * n))
    return (max(0.0, centre - half), min(1.0, centre + half))


def card(manifest: Manifest) -> str:
    """Write the whole card: metadata, then the sections, each with all that is known."""
    sections = (
        _title(manifest),
        _uses(manifest),
        _evaluation(manifest),
        _precisions(manifest),
        _trust(manifest),
        _training(manifest),
        _technical(manifest),
        _further(manifest),
        _start(manifest),
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
                    ("accuracy", "top-5", metrics.top5),
                    ("loss", "cross-entropy", metrics.loss),
                    ("ece", "expected calibration error", metrics.ece),
                )
            ),
        ]
    return "\n".join([*lines, "---", "", ""])


def _title(manifest: Manifest) -> str:
    summary = manifest.summary
    return (
        f"# {manifest.name}, version {manifest.version}\n\n"
        f"A {manifest.architecture.name} with {summary.parameters:,} parameters and "
        f"{summary.macs:,} multiply-adds that sorts a {_picture(manifest)} into "
        f"{len(manifest.labels)} labels."
    )


def _picture(manifest: Manifest) -> str:
    colours = "grey" if manifest.input.channels == 1 else "colour"
    return f"{colours} picture of {manifest.input.size} x {manifest.input.size} pixels"


def _uses(manifest: Manifest) -> str:
    labels = ", ".join(manifest.labels[:20])
    more = len(manifest.labels) - 20
    source = manifest.metrics.dataset if manifest.metrics else None
    kind = f"of the kind in {source}" if source else "of the kind it was trained on"
    spec = manifest.preprocessing
    return (
        "## Uses\n\n"
        f"Made for pictures {kind}, each showing one of: {labels}"
        f"{f', and {more} more' if more > 0 else ''}.\n\n"
        "### Out of scope\n\n"
        "Pictures of anything else, pictures that show several of these, and decisions about "
        "people.\n\n"
        "## Bias, risks and limitations\n\n"
        "- It always answers with one of its labels, also when the picture shows none of them.\n"
        f"- It sees the centre square alone ({spec.crop} of {spec.resize} parts of the shorter "
        f"side), brought to {spec.crop} x {spec.crop} pixels; what lies outside does not count.\n"
        "- The figures below are averages over one test split; on other pictures, and for a "
        "single label, they may be far worse.\n"
        f"- {_weights(manifest)}"
    )


def _weights(manifest: Manifest) -> str:
    if manifest.provenance.recipe is None:
        return "Its weights are random: it was never trained, and its answers mean nothing."
    return "Which people, places or makers its training pictures favour was not examined."


def _evaluation(manifest: Manifest) -> str:
    metrics = manifest.metrics
    if metrics is None:
        return f"## Evaluation\n\n{NOT_RECORDED}: the weights were never measured."
    rows = [
        ("top-1", f"{metrics.top1:.2%}", _interval(metrics.top1, metrics.n)),
        ("top-5", f"{metrics.top5:.2%}", _interval(metrics.top5, metrics.n)),
        ("cross-entropy", f"{metrics.loss:.4f}", NOT_RECORDED),
        ("expected calibration error, 15 bins", f"{metrics.ece:.2%}", NOT_RECORDED),
    ]
    return (
        f"## Evaluation\n\nMeasured on {metrics.n:,} pictures of {metrics.dataset}, split "
        f"`{metrics.split}`, with float32. Intervals are Wilson's, 95 %.\n\n"
        + _table(("figure", "value", "interval"), rows)
    )


def _interval(share: float, n: int) -> str:
    low, high = wilson(share, n)
    return f"{low:.2%} to {high:.2%}"


def _precisions(manifest: Manifest) -> str:
    rows = [
        (
            precision,
            f"`{file.path}`",
            f"{file.bytes:,}",
            NOT_RECORDED if file.top1 is None else f"{file.top1:.2%}",
            f"{file.top1_agreement:.2%}",
            f"{file.max_abs_logit_error:.2g}",
            f"`{file.sha256}`",
        )
        for precision, file in manifest.files.items()
    ]
    names = ("precision", "file", "bytes", "top-1", "same answer", "largest logit error", "SHA-256")
    return "## Precisions\n\n" + _table(names, rows)


def _trust(manifest: Manifest) -> str:
    """Tell how honest the probabilities are, and what tells strange pictures."""
    calibration, refusal = manifest.calibration, manifest.refusal
    figures = {}
    for precision, file in manifest.files.items():
        if file.calibration is not None:
            before, after = file.calibration.before, file.calibration.after
            figures[f"calibration error, {precision}"] = f"{after.ece:.2%} ({before.ece:.2%} raw)"
        if file.refusal is not None:
            sets = (f"{name} {one.auroc:.3f}" for name, one in file.refusal.sets.items())
            figures[f"AUROC against strange pictures, {precision}"] = ", ".join(sets)
    return "## Trust\n\n" + _list(
        {
            "calibrator": calibration and calibration.method,
            "score that tells strange pictures": refusal and refusal.score,
            **figures,
        }
    )


def _training(manifest: Manifest) -> str:
    provenance = manifest.provenance
    dataset = manifest.metrics.dataset if manifest.metrics else None
    return "## Training\n\n" + _list(
        {
            "data": dataset,
            "SHA-256 of the data": provenance.dataset_sha256,
            "recipe": provenance.recipe,
            "seed": provenance.seed,
            "commit": provenance.commit,
            "torch": provenance.torch,
            "created": provenance.created,
        }
    )


def _technical(manifest: Manifest) -> str:
    spec = manifest.preprocessing
    size = manifest.input.size
    return "## Technical specification\n\n" + _list(
        {
            "architecture": manifest.architecture.name,
            "blocks in each stage": ", ".join(map(str, manifest.architecture.depths)),
            "input": f"uint8 (N, {size}, {size}, {manifest.input.channels}), RGB order",
            "outputs": f"`logits` and `probabilities`, float32 (N, {len(manifest.labels)})",
            "preprocessing": f"centre square, {spec.crop}/{spec.resize} of the shorter side, "
            f"{spec.interpolation}; mean {list(spec.mean)}, std {list(spec.std)} in the graph",
            "temperature": None
            if manifest.temperature is None
            else f"{manifest.temperature:.4f}, in the graph",
            "ONNX opset": manifest.provenance.onnx_opset,
        }
    )


def _further(manifest: Manifest) -> str:
    """List what a newer exporter may have measured, whatever it is."""
    parts = manifest.model_dump(mode="json", exclude=set(KNOWN))
    known = {name: _short(value) for name, value in parts.items()}
    told = _list(known) if known else f"Nothing else: {NOT_RECORDED}."
    return f"## Further measurements\n\n{told}"


def _short(value: Any) -> str | None:
    """JSON on one line; long lists as their length, since the manifest has them whole."""
    if value is None:
        return None
    if isinstance(value, list) and len(value) > 12:
        return f"{len(value)} values, in `manifest.json`"
    if isinstance(value, dict):
        return ", ".join(f"{name} {_short(inner) or NOT_RECORDED}" for name, inner in value.items())
    return json.dumps(value, ensure_ascii=False)


def _start(manifest: Manifest) -> str:
    return (
        "## How to get started\n\n"
        "```console\n"
        f"$ serve-model artifacts/{manifest.name}/{manifest.version}\n"
        "$ curl -s --data-binary @picture.png -H 'content-type: image/png' "
        "localhost:8000/predict\n"
        "```"
    )


def _list(values: Mapping[str, object]) -> str:
    return "\n".join(
        f"- {name}: {NOT_RECORDED if value is None else value}" for name, value in values.items()
    )


def _table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    head = list(names)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
