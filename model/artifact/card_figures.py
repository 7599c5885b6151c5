"""The figures of a model card: evaluation, precisions and trust, in Markdown.

What was never measured is printed as "not recorded".
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from model.artifact.manifest import Manifest
from model.artifact.prediction_sets import HIGHEST_COVERAGE
from model.artifact.trust import Coverage, Kind, OodFigures, OodSet, PredictionSets

NOT_RECORDED = "not recorded"
AGAINST: Mapping[Kind | None, str] = MappingProxyType(
    {
        None: "OOD images",
        "near": "near OOD images",
        "far": "far OOD images",
        "given": "the OOD images given",
    }
)
FEW_IMAGES = 500
"""With fewer, the 95 % interval of an accuracy of 80 % is wider than 7 points."""
Z_95 = 1.959963984540054
"""The normal distribution's 97.5 % point."""


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


def evaluation(manifest: Manifest) -> str:
    """Report the figures of the test split, with their confidence intervals."""
    metrics = manifest.metrics
    if metrics is None:
        return f"## Evaluation\n\n{NOT_RECORDED}: the weights were never measured."
    rows = [
        ("top-1", f"{metrics.top1:.2%}", _interval(metrics.top1, metrics.n)),
        *(
            [("top-5", f"{metrics.top5:.2%}", _interval(metrics.top5, metrics.n))]
            if has_top5(manifest)
            else []
        ),
        ("cross-entropy", f"{metrics.loss:.4f}", NOT_RECORDED),
        ("expected calibration error, 15 bins", f"{metrics.ece:.2%}", NOT_RECORDED),
    ]
    fitted = (
        " There is no test split: the validation split also chose the weights and fitted the "
        "calibration, so new images may do worse."
        if metrics.split == "validation"
        else ""
    )
    return (
        f"## Evaluation\n\nMeasured on {metrics.n:,} images of {metrics.dataset}, split "
        f"`{metrics.split}`, with float32. Intervals are Wilson's, 95 %."
        f"{fitted}\n\n" + table(("figure", "value", "interval"), rows)
    )


def few_images(manifest: Manifest) -> str | None:
    """Warn where few images were measured; None: they were many, or none."""
    metrics = manifest.metrics
    if metrics is None or metrics.n >= FEW_IMAGES:
        return None
    return (
        f"**All figures were measured on only {metrics.n:,} images** (split `{metrics.split}`): "
        f"top-1 is {metrics.top1:.1%}, with a 95 % confidence interval from "
        f"{_interval(metrics.top1, metrics.n)}."
    )


def _interval(share: float, n: int) -> str:
    low, high = wilson(share, n)
    return f"{low:.2%} to {high:.2%}"


def precisions(manifest: Manifest) -> str:
    """List the files, and what each cheaper one costs."""
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
    return "## Precisions\n\n" + table(names, rows)


def trust(manifest: Manifest) -> str:
    """Report calibration and the out-of-distribution score, and what is not offered and why."""
    refusal = manifest.refusal
    figures: dict[str, object] = {
        "calibrator": _calibrator(manifest),
        "out-of-distribution (OOD) score": refusal and refusal.score,
    }
    for precision, file in manifest.files.items():
        if file.calibration is not None:
            before, after = file.calibration.before, file.calibration.after
            figures[f"calibration error, {precision}"] = f"{after.ece:.2%} ({before.ece:.2%} raw)"
        if file.refusal is not None:
            for kind, what in AGAINST.items():
                sets = [each for each in file.refusal.sets.items() if each[1].kind == kind]
                if sets:
                    figures[f"AUROC against {what}, {precision}"] = ", ".join(map(_area, sets))
            if file.refusal.n or file.refusal.left_out:  # otherwise an earlier version's
                figures[f"`in_distribution`, {precision}"] = _in_distribution(
                    manifest, file.refusal
                )
        if file.prediction_sets is not None:
            figures |= _sets(precision, file.prediction_sets, manifest.labels)
    return "## Trust\n\n" + bullets(figures)


def _area(named: tuple[str, OodSet]) -> str:
    name, one = named
    if one.auroc_interval is None:
        return f"{name} {one.auroc:.3f}"
    flagged = "" if one.flagged is None else f", {one.flagged:.0%} flagged"
    low, high = one.auroc_interval
    return f"{name} {one.auroc:.3f} ({low:.3f} to {high:.3f}{flagged})"


def _sets(precision: str, sets: PredictionSets, labels: Sequence[str]) -> dict[str, str]:
    """Describe the coverage of prediction sets: wanted, measured, and of the worst label."""
    found = {}
    if sets.coverages[-1] < HIGHEST_COVERAGE:
        found[f"prediction sets, {precision}"] = (
            f"up to a coverage of {sets.coverages[-1]:g}: {sets.n:,} {sets.split} images "
            "are too few for more"
        )
    for which, measured in (
        ("", sets.measured),
        (" for each label", sets.per_label.measured if sets.per_label else ()),
    ):
        for one in measured:
            if one.interval is not None:  # otherwise an earlier version's
                name = f"coverage of {one.wanted:g}{which}, {precision}"
                found[name] = _coverage(one, sets.split, labels)
    return found


def _coverage(one: Coverage, split: str, labels: Sequence[str]) -> str:
    ends = "" if one.interval is None else f" ({_range(one.interval, 2)})"
    text = f"{one.measured:.2%}{ends} measured, {one.mean_size:.2f} labels a set"
    if one.by_threshold is not None:
        text += f"; {one.by_threshold:.2%} by the threshold alone"
        if one.empty:
            text += f", with {one.empty:.1%} of the sets empty, which get the likeliest label"
    if one.expected is not None and one.by_threshold is not None:
        is_inside = one.expected[0] <= one.by_threshold <= one.expected[1]
        inside = "inside" if is_inside else "**outside**"
        text += f"; that is {inside} what is guaranteed, {_range(one.expected, 2)}"
    elif split == "validation":
        text += "; not guaranteed: the validation split set the threshold, and chose the network"
    shares = zip(one.per_label or (), labels, strict=False)
    known = [(share, label) for share, label in shares if share is not None]
    if known:
        share, label = min(known)
        text += f"; lowest of a label {share:.1%} ({literal(label)})"
    return text


def _calibrator(manifest: Manifest) -> str | None:
    """Describe the calibrator: how it was chosen, and its limit."""
    found = manifest.calibration
    if found is None:
        return None
    if found.left_out is not None:
        return f"none, the plain softmax is served: calibration was left out, as {found.left_out}"
    if found.wrong is None:  # an earlier version's
        return found.method
    tried = ", ".join(f"{name} {nll:.4f}" for name, nll in found.cross_validated_nll.items())
    limit = found.max_probability
    return (
        f"{found.method}; cross-validated cross-entropy on {found.n:,} images of `{found.split}`"
        f", {found.wrong:,} of them answered wrongly: {tried}"
        f"{'' if limit is None else f'; no probability is above {limit:.4f}, and none is 0'}"
    )


def _in_distribution(manifest: Manifest, found: OodFigures) -> str:
    """Describe the threshold: what it flags of images that are not strange."""
    if found.threshold is None:
        return f"not offered: {found.left_out or NOT_RECORDED}"
    interval = "" if found.flagged_interval is None else _range(found.flagged_interval)
    text = (
        f"false for scores under {found.threshold:.4g}, set on {found.n or 0:,} {found.split} "
        f"images to flag 5 % of images like them; with 95 % confidence it flags {interval}"
    )
    if manifest.metrics is None or found.accepted is None:
        return text
    flagged, metrics = 1 - found.accepted, manifest.metrics
    text += f"; of the {metrics.n:,} images of `{metrics.split}` it flags {flagged:.1%}"
    if found.flagged_top1 is not None:
        text += f", {found.flagged_top1:.1%} of which are answered rightly"
    if metrics.split == found.split:
        return f"{text}, as was set"
    expected = found.flagged_interval_measured
    if expected is None:
        return text
    low, high = expected
    chance = (
        "which chance explains"
        if low <= flagged <= high
        else (
            "**more than chance explains**: they differ from what set the threshold"
            if flagged > high
            else "less than chance explains: they differ from what set the threshold"
        )
    )
    return f"{text} ({_range(expected)} was to be expected), {chance}"


def _range(ends: tuple[float, float], digits: int = 1) -> str:
    return f"{ends[0]:.{digits}%} to {ends[1]:.{digits}%}"


def has_top5(manifest: Manifest) -> bool:
    """Whether the share of answers in the first five says anything: of two labels it is 100 %."""
    return len(manifest.labels) > 5


def literal(text: str) -> str:
    """Escape what Markdown or HTML would not show as it is written."""
    return re.sub(r"([\\`*<\[\]])", r"\\\1", text)


def bullets(values: Mapping[str, object]) -> str:
    """Write a line for each name and value."""
    return "\n".join(
        f"- {name}: {NOT_RECORDED if value is None else value}" for name, value in values.items()
    )


def table(names: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Write a table of cells; a bar inside a cell would end it."""
    head = list(names)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in row)} |" for row in lines)
