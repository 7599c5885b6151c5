"""A network as an SVG drawing, to be read downwards.

The dark line is the main path; each arc is a shortcut. A row is a group with a title, in the
order of the layers, so that a screen reader reads a list. Colours follow the
reader's light or dark setting; form and label repeat what the colour says. No torch, no
file, no other host.
"""

from html import escape
from typing import Literal

from model.architecture.layers import Costed, Shape, Summary
from model.drawing.glyphs import STYLE, arc, box, image_square, pill, rectangle, spine, text
from model.drawing.outline import Row, outline

WIDTH, LEFT = 1180, 24
RIGHT = WIDTH - LEFT
NAME, SQUARE, SHAPE, PARAMETERS, BAR = 250, 760, 890, 980, 994
BAR_WIDTH = 86
HEIGHTS = {"input": 34, "output": 34, "heading": 40, "layer": 36, "block": 48}
PILE_HEIGHT = 58
LEGEND = (
    ("conv", "Kernel sizes of the branch; wider: more channels"),
    ("pile", "A pile: blocks that are all alike, drawn once"),
    ("identity", "Identity shortcut: x is added unchanged"),
    ("projection", "Projection: a 1×1 convolution changes the shape"),
    ("padding", "Padding: zeros for the new channels, no weights"),
    ("concat", "Concatenation: channels side by side, then mixed"),
    ("norm", "Batch norm after a layer"),
    ("activation", "ReLU after a layer"),
)


def draw(name: str, summary: Summary) -> str:
    """Draw a network, from the image to the logits.

    Args:
        name: Of the network, for the title.
        summary: Its rows.

    Returns:
        A whole SVG file.
    """
    rows = outline(summary)
    parts = [_strip(summary, 92, "macs"), _strip(summary, 146, "parameters"), _columns(216)]
    top = 224.0
    largest = max(row.macs for row in rows if row.kind == "heading") or 1
    groups = []
    for row in rows:
        height = PILE_HEIGHT if row.count > 1 else HEIGHTS[row.kind]
        groups.append(_row(row, top, height, largest, rows))
        top += height
    legend, bottom = _legend(rows, top + 16)
    heading = headline(name, summary)
    explanation = (
        f"Read it downwards: the line is the way of the image, each arc a shortcut. "
        f"Input {dimensions(summary.input_shape)}."
    )
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {bottom:g}" '
            f'width="{WIDTH}" height="{bottom:g}" role="group" aria-labelledby="t d">',
            f'<title id="t">{escape(heading)}</title>',
            f'<desc id="d">{escape(explanation)}</desc>',
            f"<style>{STYLE}</style>",
            rectangle(0, 0, WIDTH, bottom, "paper"),
            text(LEFT, 44, heading, "title"),
            text(LEFT, 70, explanation + _sees(summary), "small muted"),
            *parts,
            '<g role="list">',
            *groups,
            "</g>",
            legend,
            "</svg>\n",
        ]
    )


def headline(name: str, summary: Summary) -> str:
    """Say what a network is and costs, in a line."""
    blocks = sum(len(stage.blocks) for stage in summary.stages)
    kind = "plain" if _is_plain(summary) else "residual"
    noun = "block" if blocks == 1 else "blocks"
    return (
        f"{name}: {blocks} {kind} {noun}, {short(summary.parameters)} parameters, "
        f"{short(summary.macs)} multiply-adds"
    )


def _is_plain(summary: Summary) -> bool:
    return all(block.shortcut == "none" for stage in summary.stages for block in stage.blocks)


def _sees(summary: Summary) -> str:
    field = summary.receptive_field
    return f" A place of the last map sees {field} × {field} pixels." if field else ""


def short(number: int) -> str:
    """Write a number in three figures: 231 M, 11.5 k."""
    for size, unit in ((10**9, " G"), (10**6, " M"), (10**3, " k")):
        if number >= size:
            value = number / size
            digits = 0 if value >= 99.95 else 1 if value >= 9.995 else 2
            return f"{value:.{digits}f}{unit}"
    return str(number)


def dimensions(shape: Shape) -> str:
    """Write a shape as `64×56×56`."""
    return "×".join(map(str, shape))


def _columns(y: float) -> str:
    titles = ((SHAPE, "output"), (PARAMETERS, "parameters"), (RIGHT - 4, "multiply-adds"))
    return "".join(text(x, y, title, "tiny muted", anchor="end") for x, title in titles)


def _strip(summary: Summary, top: float, cost: Literal["macs", "parameters"]) -> str:
    """Draw where the cost lies: a bar cut into stem, stages and head by their shares."""
    named: list[tuple[str, Costed]] = [("Stem", summary.stem)]
    named += [(f"Stage {number}", stage) for number, stage in enumerate(summary.stages, 1)]
    named += [("Head", summary.head)]
    total = getattr(summary, cost) or 1
    words = {"macs": "Multiply-adds", "parameters": "Parameters"}[cost]
    drawn, x = [], float(LEFT)
    for title, part in named:
        share = getattr(part, cost) / total
        width = share * (RIGHT - LEFT)
        kind = {"Stem": "pool", "Head": "linear"}.get(title, "conv")
        drawn.append(rectangle(x, top, max(width - 2, 0.75), 24, kind, radius=min(2, width / 4)))
        label = f"{title} {100 * share:.2g} %" if share < 0.995 else title
        if width > 110:
            drawn.append(text(x + width / 2, top + 16, label, "in", anchor="middle"))
        x += width
    shares = ", ".join(
        f"{title} {100 * getattr(part, cost) / total:.1f} %" for title, part in named
    )
    spoken = f"{words}: {shares}"
    return (
        f'<g role="img" aria-label="{escape(spoken)}">'
        f"{''.join(drawn)}{text(LEFT, top + 40, words, 'small muted')}</g>"
    )


def _row(row: Row, top: float, height: float, largest: int, rows: list[Row]) -> str:
    """Draw one row: gutter, name, shape, bar and figure."""
    middle, bottom = top + height / 2, top + height
    drawn = []
    if row.kind == "heading":
        drawn.append(rectangle(LEFT, top + 1, RIGHT - LEFT, height - 2, "band", radius=3))
    first, last = row is rows[0], row is rows[-1]
    drawn.append(spine(middle if first else top, middle if last else bottom))
    centre = middle - 3 if row.count > 1 else middle - (1 if row.kind == "block" else 0)
    if row.kind in ("input", "output"):
        drawn.append(pill(middle))
    elif row.kind == "block":
        drawn += [arc(row, top, bottom), box(row, centre)]
    elif row.kind == "layer":
        drawn.append(box(row, middle))
    drawn += _figures(row, middle, largest)
    identity = f' id="{escape(row.path.split(" ")[0])}"' if row.kind == "block" else ""
    return f'<g role="listitem"{identity}><title>{escape(_spoken(row))}</title>{"".join(drawn)}</g>'


def _figures(row: Row, middle: float, largest: int) -> list[str]:
    weight = "b" if row.kind == "heading" else "muted" if row.kind == "layer" else ""
    drawn = [text(NAME, middle + 5, row.title, weight, path=row.path)]
    drawn.append(text(SHAPE, middle + 5, dimensions(row.shape), weight, anchor="end"))
    if len(row.shape) == 3:
        drawn.append(image_square(SQUARE, middle, row.shape[1]))
    if row.parameters:
        count = short(row.parameters)
        drawn.append(text(PARAMETERS, middle + 5, count, weight, anchor="end"))
    if row.macs:
        width = max(BAR_WIDTH * row.macs / largest, 1)
        kind = "linear" if row.layer == "linear" else "conv"
        drawn.append(rectangle(BAR + BAR_WIDTH - width, middle - 5, width, 10, kind))
        drawn.append(text(RIGHT - 4, middle + 5, short(row.macs), weight, anchor="end"))
    return drawn


def _spoken(row: Row) -> str:
    """Say a row in words."""
    where = f", {row.path}" if row.path else ""
    each = "each " if row.count > 1 else ""
    words = [f"{row.title}{where}."]
    if row.kind == "block":
        kind = "No shortcut" if row.shortcut == "none" else f"{row.shortcut.capitalize()} shortcut"
        words.append(f"{each}{kind} {row.shortcut_label}".strip().capitalize() + ".")
    words.append(f"Output {dimensions(row.shape)}.")
    if row.kind not in ("input", "output"):
        words.append(f"{row.parameters:,} parameters and {short(row.macs)} multiply-adds.")
    return " ".join(words)


def _legend(rows: list[Row], top: float) -> tuple[str, float]:
    """Explain the strokes that occur; give where it ends, too."""
    seen: set[str] = {row.shortcut for row in rows if row.kind == "block"}
    seen |= {"pile"} if any(row.count > 1 for row in rows) else set()
    seen.update(*(row.ends for row in rows))
    seen |= {"conv"} if any(row.layer == "conv" and row.kind == "block" for row in rows) else set()
    drawn = [f'<path class="rule" d="M{LEFT} {top:g}H{RIGHT}"/>']
    entries = [entry for entry in LEGEND if entry[0] in seen]
    for place, (kind, words) in enumerate(entries):
        x, y = LEFT + (RIGHT - LEFT) / 2 * (place % 2), top + 28 + 28 * (place // 2)
        if kind in ("conv", "pile"):
            if kind == "pile":
                drawn.append(rectangle(x + 6, y - 4, 38, 14, "ghost", radius=3))
            drawn.append(rectangle(x + 2, y - 8, 38, 14, "conv", radius=3))
        elif kind in ("norm", "activation"):
            drawn.append(rectangle(x + 2, y - 1, 38, 2, kind))
        else:
            drawn.append(f'<path class="line {kind}" d="M{x:g} {y:g}h44"/>')
        drawn.append(text(x + 56, y + 4, words, "small"))
    bottom = top + 28 + 28 * ((len(entries) + 1) // 2) + 8
    return f"<g>{''.join(drawn)}</g>", bottom
