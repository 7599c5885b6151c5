"""An export in three lines: what is served where, what it costs, and what to look at."""

from model.artifact.card_figures import wilson
from model.artifact.manifest import Manifest, ModelFile

WHERE = {
    "int8": "processors with VNNI or AMX",
    "float16": "CUDA",
    "float32": "everything else",
}
FEW_IMAGES = 1_000
"""Below so many, the interval of top-1 is wider than most differences that people look for."""
WORSE_NLL = 1.02
WEAK_AUROC = 0.8


def verdict(manifest: Manifest, left_out: tuple[str, ...] = ()) -> list[str]:
    """Write the three lines.

    Args:
        manifest: Of the artifact.
        left_out: Precisions that failed their gates.
    """
    files = manifest.files
    served = [
        f"{name} on {WHERE[name] if len(files) > 1 else 'every machine'} "
        f"({_size(file.bytes)}{_speed(file) if name == 'int8' else ''})"
        for name, file in reversed(list(files.items()))
    ]
    return [
        f"served:  {'; '.join(served)}",
        f"costs:   {_costs(manifest)}",
        f"look at: {'; '.join(_look_at(manifest, left_out)) or 'nothing that stands out'}",
    ]


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"


def _speed(file: ModelFile) -> str:
    return f", {file.speed.ratio:.1f} times as fast as float32 on a core here" if file.speed else ""


def _costs(manifest: Manifest) -> str:
    """Compare the precisions' accuracy, and calibration before and after."""
    metrics, full = manifest.metrics, manifest.files["float32"]
    if metrics is None:
        return "not known; no images measured it"
    parts = [f"top-1 {metrics.top1:.2%} on {metrics.n:,} {metrics.split} images"]
    for name, file in manifest.files.items():
        if name != "float32" and file.top1 is not None and full.top1 is not None:
            parts.append(f"{name} {100 * (file.top1 - full.top1):+.2f} points")
    if full.calibration is not None:
        before, after = full.calibration.before, full.calibration.after
        parts.append(f"calibration error {before.ece:.2%} before, {after.ece:.2%} served")
    return ", ".join(parts)


def _look_at(manifest: Manifest, left_out: tuple[str, ...]) -> list[str]:
    """Name what makes the figures or the answers weaker than they look."""
    found = [f"{name} lost too much accuracy and is left out (see above)" for name in left_out]
    metrics, full = manifest.metrics, manifest.files["float32"]
    if metrics is not None:
        if metrics.n < FEW_IMAGES:
            low, high = wilson(metrics.top1, metrics.n)
            found.append(
                f"{metrics.n} images put top-1 between {low:.0%} and {high:.0%} (95 % interval)"
            )
        if metrics.split != "test":
            found.append(
                f"the figures are those of the {metrics.split} split, which also chose the weights"
            )
    calibration, ood = full.calibration, full.refusal
    if manifest.calibration and manifest.calibration.left_out:
        found.append(f"calibration is left out: {manifest.calibration.left_out}")
    elif calibration and calibration.after.nll > WORSE_NLL * calibration.before.nll:
        found.append(
            f"calibration made NLL worse, {calibration.before.nll:.3f} to "
            f"{calibration.after.nll:.3f}"
        )
    if ood is not None and ood.left_out:
        found.append(f"`in_distribution` is not offered: {ood.left_out}")
    elif ood is not None:
        weak = [name for name, figures in ood.sets.items() if figures.auroc < WEAK_AUROC]
        if weak:
            found.append(f"`in_distribution` hardly detects {', '.join(weak)}")
    return found
