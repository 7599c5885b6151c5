"""The figures of a model card: evaluation, precisions and trust, in Markdown.

What was never measured is printed as "not recorded".
"""

import math
from collections.abc import Iterable, Mapping

from model.artifact.manifest import Manifest

NOT_RECORDED = "not recorded"
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
        ("top-5", f"{metrics.top5:.2%}", _interval(metrics.top5, metrics.n)),
        ("cross-entropy", f"{metrics.loss:.4f}", NOT_RECORDED),
        ("expected calibration error, 15 bins", f"{metrics.ece:.2%}", NOT_RECORDED),
    ]
    return (
        f"## Evaluation\n\nMeasured on {metrics.n:,} images of {metrics.dataset}, split "
        f"`{metrics.split}`, with float32. Intervals are Wilson's, 95 %.\n\n"
        + table(("figure", "value", "interval"), rows)
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
    """Report the calibration errors and the out-of-distribution score."""
    calibration, refusal = manifest.calibration, manifest.refusal
    figures = {}
    for precision, file in manifest.files.items():
        if file.calibration is not None:
            before, after = file.calibration.before, file.calibration.after
            figures[f"calibration error, {precision}"] = f"{after.ece:.2%} ({before.ece:.2%} raw)"
        if file.refusal is not None:
            sets = (f"{name} {one.auroc:.3f}" for name, one in file.refusal.sets.items())
            figures[f"AUROC against OOD images, {precision}"] = ", ".join(sets)
    return "## Trust\n\n" + bullets(
        {
            "calibrator": calibration and calibration.method,
            "out-of-distribution (OOD) score": refusal and refusal.score,
            **figures,
        }
    )


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
