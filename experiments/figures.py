"""Figures and tables that several experiments share."""

import statistics
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter, PercentFormatter

Rows = Sequence[Mapping[str, str]]
COLOURS = ("#0072B2", "#C44E00", "#007F5F", "#9C4A7D", "#8A6A00", "#6E7781", "#1B1F24")
WIDE, NARROW = (1, 2, 5), (1, 1.2, 1.5, 2, 2.5, 3, 4, 5, 6, 8)
"""Ticks of a logarithmic axis that spans much, and of one that spans little."""
DASHES = ("-", "--", "-.", ":")


def arms_of(rows: Rows) -> list[str]:
    """The arms, in the order of the file."""
    return list(dict.fromkeys(row["arm"] for row in rows))


def mean_and_spread(values: Sequence[float]) -> tuple[float, float]:
    """Mean and standard deviation over seeds; 0 for a single seed."""
    spread = statistics.stdev(values) if len(values) > 1 else 0.0
    return statistics.fmean(values), spread


def by_x(rows: Rows, arm: str, x: str, y: str) -> dict[float, list[float]]:
    """Values over the seeds, for each value of `x`."""
    found: dict[float, list[float]] = defaultdict(list)
    for row in rows:
        if row["arm"] == arm:
            found[float(row[x])].append(float(row[y]))
    return dict(sorted(found.items()))


def draw_lines(rows: Rows, out: Path, x: str, panels: Mapping[str, str], title: str) -> None:
    """Draw one panel for each column of shares: mean over the seeds, with the spread as a band.

    On a logarithmic scale, because the small errors at the end are compared.
    """
    figure = Figure(figsize=(5.2 * len(panels), 4.2), layout="constrained")
    for axes, (column, label) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels.items(), strict=True
    ):
        for place, arm in enumerate(arms_of(rows)):
            values = by_x(rows, arm, x, column)
            means, spreads = zip(*map(mean_and_spread, values.values()), strict=True)
            colour, dash = COLOURS[place % len(COLOURS)], DASHES[place % len(DASHES)]
            axes.plot(list(values), means, dash, color=colour, label=arm)
            floor = [max(m - spread, m / 2) for m, spread in zip(means, spreads, strict=True)]
            high = [mean + spread for mean, spread in zip(means, spreads, strict=True)]
            axes.fill_between(list(values), floor, high, color=colour, alpha=0.15, linewidth=0)
        axes.set(xlabel=x, ylabel=label, yscale="log")
        low, high = axes.get_ylim()
        axes.yaxis.set_major_locator(LogLocator(subs=WIDE if high / low > 4 else NARROW))
        axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=None))
        axes.yaxis.set_minor_formatter(NullFormatter())
        axes.grid(alpha=0.3)
        axes.legend(fontsize=8)
    figure.suptitle(title)
    figure.savefig(out, dpi=120)


def last_epoch_table(rows: Rows, columns: Mapping[str, str]) -> str:
    """Write each arm's figures at its last epoch: mean and spread over the seeds, in per cent."""
    lines = [f"| arm | seeds | epochs | {' | '.join(columns.values())} |", _rule(3 + len(columns))]
    for arm in arms_of(rows):
        own = [row for row in rows if row["arm"] == arm]
        last = max(int(row["epoch"]) for row in own)
        final = [row for row in own if int(row["epoch"]) == last]
        cells = [percent([float(row[column]) for row in final]) for column in columns]
        lines.append(f"| {arm} | {len(final)} | {last} | {' | '.join(cells)} |")
    return "\n".join(lines)


def final(rows: Rows, column: str) -> dict[str, list[float]]:
    """Values of a column at the last epoch, for each arm, over the seeds."""
    return at_epoch(rows, column, max(int(row["epoch"]) for row in rows))


def at_epoch(rows: Rows, column: str, epoch: int) -> dict[str, list[float]]:
    """Values of a column at an epoch, for each arm, over the seeds."""
    return over_arms(rows, column, lambda row: int(row["epoch"]) == epoch)


def percent(values: Sequence[float]) -> str:
    """Write shares as `6.41 ± 0.12 %`."""
    mean, spread = mean_and_spread(values)
    return f"{100 * mean:.2f} ± {100 * spread:.2f} %" if len(values) > 1 else f"{100 * mean:.2f} %"


def table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    """Write a table in Markdown."""
    body = [f"| {' | '.join(line)} |" for line in (head, *lines)]
    return "\n".join([body[0], _rule(len(head)), *body[1:]])


def _rule(columns: int) -> str:
    return f"|{'---|' * columns}"


def over_arms(
    rows: Rows, column: str, choose: Callable[[Mapping[str, str]], bool]
) -> dict[str, list[float]]:
    """Values of a column over the seeds, for each arm, in the rows that are chosen."""
    return {
        arm: [float(row[column]) for row in rows if row["arm"] == arm and choose(row)]
        for arm in arms_of(rows)
    }
