"""The figures of a manifest on calibration, coverage and OOD detection, as Markdown tables.

`docs/trust.md` holds the tables of the shipped artifact; `python -m training.cli.report ARTIFACT`
prints them.
"""

from collections.abc import Iterable, Sequence

from model.artifact.manifest import Manifest
from model.artifact.trust import Coverage

Row = Sequence[str]


def trust_table(manifest: Manifest) -> str:
    """Write every table for which the manifest has figures."""
    parts = [_precisions(manifest)]
    if manifest.calibration:
        parts += [_methods(manifest), _calibration(manifest)]
    if any(file.prediction_sets for file in manifest.files.values()):
        parts.append(_sets(manifest))
    if manifest.refusal:
        parts += [_scores(manifest), _ood(manifest)]
    return "\n\n".join(parts)


def _precisions(manifest: Manifest) -> str:
    rows = []
    for name, file in manifest.files.items():
        speed, how = file.speed, file.quantization
        rows.append(
            (
                name,
                "-" if file.top1 is None else f"{100 * file.top1:.2f}",
                f"{100 * file.top1_agreement:.2f}",
                f"{file.max_abs_logit_error:.2g}",
                f"{file.bytes:,}",
                "1" if speed is None else f"{speed.ratio:.2f}",
                "-" if how is None else how.calibrator,
            )
        )
    titles = (
        *("precision", "top-1 %", "same top label %", "largest logit error", "bytes"),
        *("speed beside float32", "range estimator"),
    )
    return _table(titles, rows)


def _methods(manifest: Manifest) -> str:
    calibration = manifest.calibration
    assert calibration is not None  # noqa: S101  # for the types: the caller checks it
    return _table(
        ("calibrator", f"cross-validated NLL, {calibration.split}, {calibration.n:,} images"),
        (
            (f"**{name}**" if name == calibration.method else name, f"{nll:.4f}")
            for name, nll in calibration.cross_validated_nll.items()
        ),
    )


def _calibration(manifest: Manifest) -> str:
    rows = []
    for name, file in manifest.files.items():
        if file.calibration:
            for when in ("before", "after"):
                of = getattr(file.calibration, when)
                errors = (of.ece, of.smooth_ece, of.classwise_ece)
                points = ("-" if each is None else f"{100 * each:.2f}" for each in errors)
                rows.append((name, when, *points, f"{of.brier:.4f}", f"{of.nll:.4f}"))
    titles = ("ECE, points", "without bins", "classwise", "Brier score", "NLL")
    return _table(("precision", "calibration", *titles), rows)


def _sets(manifest: Manifest) -> str:
    rows = [
        (name, which, *_coverage(one))
        for name, file in manifest.files.items()
        if (sets := file.prediction_sets)
        for which, measured in (
            ("all images", sets.measured),
            ("each label", sets.per_label.measured if sets.per_label else ()),
        )
        for one in measured
    ]
    titles = (
        *("precision", "sets for", "wanted %", "measured %", "labels a set"),
        *("by the threshold %", "expected %", "empty without the likeliest %", "lowest label %"),
    )
    return _table(titles, rows)


def _coverage(one: Coverage) -> Row:
    shares = [share for share in one.per_label or () if share is not None]
    ends = one.expected
    return (
        f"{100 * one.wanted:.0f}",
        f"{100 * one.measured:.2f}",
        f"{one.mean_size:.2f}",
        "-" if one.by_threshold is None else f"{100 * one.by_threshold:.2f}",
        "-" if ends is None else f"{100 * ends[0]:.2f} to {100 * ends[1]:.2f}",
        f"{100 * one.empty:.1f}",
        f"{100 * min(shares):.1f}" if shares else "-",
    )


def _scores(manifest: Manifest) -> str:
    detector = manifest.refusal
    assert detector is not None  # noqa: S101  # for the types: the caller checks it
    sets = list(next(iter(detector.compared.values())))
    return _table(
        ("score", *(f"AUROC, {name} (validation)" for name in sets)),
        (
            (
                f"**{score}**" if score == detector.score else score,
                *(f"{by_set[name]:.4f}" for name in sets),
            )
            for score, by_set in detector.compared.items()
        ),
    )


def _ood(manifest: Manifest) -> str:
    rows = []
    split = manifest.metrics.split if manifest.metrics else "test"
    for name, file in manifest.files.items():
        if file.refusal:
            accepted = file.refusal.accepted
            flagged = None if accepted is None else 1 - accepted
            rows.append((name, f"the {split} split", "-", "-", _percent(flagged), ""))
            rows += [
                (
                    *(name, which, of.kind or "-"),
                    f"{of.auroc:.4f}{_ends(of.auroc_interval, 1, 4)}",
                    f"{_percent(of.flagged)}{_ends(of.flagged_interval, 100, 1)}",
                    f"{of.n:,}",
                )
                for which, of in sorted(
                    file.refusal.sets.items(), key=lambda each: each[1].kind or "", reverse=True
                )
            ]
    return _table(("precision", "images", "kind", "AUROC", "flagged %", "n"), rows)


def _ends(interval: tuple[float, float] | None, times: int, digits: int) -> str:
    if interval is None:
        return ""
    return f" ({times * interval[0]:.{digits}f} to {times * interval[1]:.{digits}f})"


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _table(titles: Row, rows: Iterable[Row]) -> str:
    lines = [titles, ["---"] * len(titles), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
