"""Weights that do not fit: refused, with the member of the family that they were trained for."""

from collections.abc import Iterator

from model.architecture.family import ARCHITECTURES
from model.architecture.spec import Architecture
from model.weights.file import Weights, WeightsError
from model.weights.loading import fit_to_weights, match_weights
from model.weights.names import COUNTER, name_keys, shapes_of, shown
from model.weights.report import LoadReport


def check_fit(
    architecture: Architecture,
    weights: Weights,
    report: LoadReport,
    option: str,
    spared: frozenset[str] = frozenset(),
) -> None:
    """Refuse weights that leave gaps outside the head, or are of a deeper network.

    Args:
        architecture: What they are to be loaded into.
        weights: The file's.
        report: Of loading them.
        option: Names the architecture on the command line, up to its value.
        spared: Tensors that may keep their initial values.

    Raises:
        WeightsError: If they do not fit; names the member of the family that they do fit.
    """
    gaps = [key for key in report.gaps if key not in spared]
    if not gaps and not report.beyond:
        return
    name = architecture.name
    if not report.loaded:
        seen = f"it begins with {shown(weights)}, and no tensor of it fits {name}"
    elif gaps:
        seen = (
            f"it lacks {len(gaps)} of {report.total} tensors of {name} outside the head, or has "
            f"them in other shapes: {shown(gaps)}"
        )
    else:
        count = len(report.beyond)
        seen = f"it has {count} tensors of layers that {name} lacks: {shown(report.beyond)}"
    whole, nearest = closest(weights)
    if whole and whole != name:
        raise WeightsError(
            f"This file looks like a {whole}; add {option}{whole}. {seen[0].upper()}{seen[1:]}."
        )
    way = f"Name the architecture that it was trained for with {option.rstrip(' =')}; {nearest}"
    raise WeightsError(f"The file does not fit: {seen}. {way}.")


def check_trained(
    architecture: Architecture, weights: Weights, report: LoadReport, *, new_head: bool
) -> None:
    """Refuse to export tensors that nobody trained, or less than what was trained.

    Raises:
        WeightsError: If the body does not fit, or the head does not and no new one is wanted.
    """
    check_fit(architecture, weights, report, "--architecture ")
    if report.head_gap and not new_head:
        raise WeightsError(
            f"The file gives {architecture.name} no head: {report.head_gap}. Export a network with "
            "one linear layer as its head, or ask for one of random weights with --new-head."
        )
    if report.beside and not new_head:
        raise WeightsError(
            f"The file has layers that {architecture.name} lacks: {shown(report.beside)}. Answers "
            "may depend on them; export a network of the family without them."
        )


def closest(weights: Weights) -> tuple[str, str]:
    """Name the member that weights fit whole, if there is one, and say which is the nearest."""
    fits = dict(_fits(weights))
    name = max(fits, key=lambda name: fits[name], default="")
    if not name:
        return "", "no member of the family is like it"
    gaps, beyond = (-part for part in fits[name])
    if not gaps and not beyond:
        return name, ""
    return "", f"the nearest is {name}, with {gaps} tensors lacking and {beyond} too many"


def _fits(weights: Weights) -> Iterator[tuple[str, tuple[int, int]]]:
    """Give what each member lacks and what is too much, as negative numbers."""
    for name, member in ARCHITECTURES.items():
        shapes = shapes_of(member)
        trained = sum(not key.endswith(COUNTER) for key in shapes)
        if 2 * name_keys(weights, shapes).score[1] < trained:
            continue
        try:
            _, report = match_weights(fit_to_weights(member, weights), weights)
        except (ValueError, WeightsError):
            continue
        yield name, (-len(report.gaps), -len(report.beyond))
