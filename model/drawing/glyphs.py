"""The strokes of the drawing: boxes, arcs, piles, bars, as SVG text.

Coordinates are pixels of the desktop layout; `model.drawing.svg` puts the rows in order.
"""

import math
from html import escape

from model.drawing.outline import Row

SPINE, ARC = 84, 182
"""X of the main path and of the shortcuts, in pixels."""

BOX, VECTOR_WIDTH = 22, 68
"""Height of a box; its width where there is no feature map, and so no channels."""

STYLE = """
text{font:15px system-ui,-apple-system,"Segoe UI",Roboto,"DejaVu Sans",sans-serif;fill:#1B1F24}
.title{font-size:22px;font-weight:700}.b{font-weight:700}.muted{fill:#57606A}
.code{font:12px ui-monospace,"DejaVu Sans Mono",monospace;fill:#57606A}
.small{font-size:13px}.tiny{font-size:12px}
.in{font-size:12px;font-weight:700;fill:#FFF}.paper{fill:#FFF}.band{fill:#F3F4F8}
.line{fill:none;stroke:#1B1F24;stroke-width:2}.ring{fill:#FFF;stroke:#1B1F24;stroke-width:2}
.square{fill:none;stroke:#57606A;stroke-width:1.5}.dot{fill:#57606A}.rule{stroke:#D0D4DA}
.conv{fill:#0072B2}.pool,.flatten{fill:#007F5F}.linear{fill:#9C4A7D}.norm{fill:#8A6A00}
.activation,.dropout{fill:#6E7781}.ghost{fill:#FFF;stroke:#0072B2;stroke-width:1.5}
.ghost.linear{stroke:#9C4A7D}.projection{stroke:#C44E00;stroke-dasharray:6 3}
.padding{stroke-dasharray:2 4}.tag{fill:#FFF;stroke:#1B1F24;stroke-width:1.5}
.tag.projection{stroke:#C44E00;stroke-dasharray:none}.tagtext{font-size:11px;font-weight:700}
@media (prefers-color-scheme:dark){text{fill:#E6EDF3}.muted,.code{fill:#9AA4AF}.in{fill:#0D1117}
.paper{fill:#0D1117}.band{fill:#161B22}.line{stroke:#E6EDF3}.ring,.tag{fill:#0D1117;stroke:#E6EDF3}
.square{stroke:#9AA4AF}.dot{fill:#9AA4AF}.rule{stroke:#30363D}.conv{fill:#56B4E9}
.pool,.flatten{fill:#2FBF93}.linear{fill:#E19CC6}.norm{fill:#D9B23A}
.activation,.dropout{fill:#8B949E}.ghost{fill:#0D1117;stroke:#56B4E9}
.ghost.linear{stroke:#E19CC6}.projection,.tag.projection{stroke:#F0883E}}
""".strip()


def text(  # noqa: PLR0913  # where, what, how
    x: float, y: float, content: str, kind: str = "", *, anchor: str = "", path: str = ""
) -> str:
    """Write a line, with the name of its weights behind it in a smaller type."""
    kinds = f' class="{kind}"' if kind else ""
    anchored = f' text-anchor="{anchor}"' if anchor else ""
    code = f'<tspan class="code" dx="8">{escape(path)}</tspan>' if path else ""
    return f'<text x="{x:g}" y="{y:g}"{kinds}{anchored}>{escape(content)}{code}</text>'


def rectangle(  # noqa: PLR0913  # a box has as many sides
    x: float, y: float, width: float, height: float, kind: str, *, radius: float = 0
) -> str:
    """Draw a box."""
    rounded = f' rx="{radius:g}"' if radius else ""
    return (
        f'<rect class="{kind}" x="{x:g}" y="{y:g}" width="{width:g}" height="{height:g}"{rounded}/>'
    )


def spine(top: float, bottom: float) -> str:
    """Draw a piece of the main path."""
    return f'<path class="line" d="M{SPINE} {top:g}V{bottom:g}"/>'


def box_width(channels: int) -> float:
    """Width of a box over a feature map: the more channels, the wider."""
    return 44 if channels < 32 else 60 + 8 * (math.log2(channels) - 5)


def box(row: Row, middle: float) -> str:
    """Draw what a row computes, on the spine; a pile with two cards behind it."""
    width = box_width(row.shape[0]) if len(row.shape) == 3 else VECTOR_WIDTH
    left, top = SPINE - width / 2, middle - BOX / 2
    if row.layer == "dropout":
        return rectangle(left, middle - 1.5, width, 3, "dropout")
    kind = row.layer if row.layer in ("conv", "pool", "linear", "norm", "flatten") else "dropout"
    ghosts = ""
    if row.count > 1:
        ghosts = "".join(
            rectangle(left + 3 * step, top + 4 * step, width, BOX, f"ghost {kind}", radius=3)
            for step in (2, 1)
        )
    lines = "".join(
        rectangle(left, top + BOX - 3 * (len(row.ends) - place), width, 2, end)
        for place, end in enumerate(row.ends)
    )
    lifted = 3 if row.ends else 0
    label = text(SPINE, middle + 4 - lifted / 2, row.glyph, "in", anchor="middle")
    return ghosts + rectangle(left, top, width, BOX, kind, radius=3) + lines + label


def arc(row: Row, top: float, bottom: float) -> str:
    """Draw the shortcut beside a block, from a dot above it to the sign where both meet."""
    if row.shortcut == "none":
        return ""
    kind = f"line {row.shortcut}"
    leave, back = top + 5, bottom - 6
    way = (
        f'<path class="{kind}" d="M{SPINE} {leave:g}H{ARC - 8}Q{ARC} {leave:g} {ARC} {leave + 8:g}'
        f'V{back - 8:g}Q{ARC} {back:g} {ARC - 8} {back:g}H{SPINE + 6}"/>'
    )
    sign = "M{0} {1}h8m-4 -4v8" if row.shortcut != "concat" else "M{0} {1}m2 -4v8m4 -8v8"
    cross = sign.format(SPINE - 4, f"{back:g}")
    meet = (
        f'<circle class="ring" cx="{SPINE}" cy="{back:g}" r="6"/>'
        f'<path class="line" style="stroke-width:1.5" d="{cross}"/>'
    )
    dot = f'<circle class="dot" cx="{SPINE}" cy="{leave:g}" r="3"/>'
    return way + dot + meet + _tag(row, (leave + back) / 2)


def _tag(row: Row, middle: float) -> str:
    if not row.shortcut_label:
        return ""
    width = 54 if len(row.shortcut_label) < 8 else 66
    kind = f"tag {row.shortcut}" if row.shortcut == "projection" else "tag"
    return rectangle(ARC - width / 2, middle - 9, width, 18, kind, radius=3) + text(
        ARC, middle + 4, row.shortcut_label, "tagtext", anchor="middle"
    )


def image_square(centre: float, middle: float, height: int) -> str:
    """Draw a square for the image's size."""
    side = 4 + 2 * math.log2(height)
    return rectangle(centre - side / 2, middle - side / 2, side, side, "square")


def pill(middle: float) -> str:
    """Draw where the image enters or the answer leaves."""
    return rectangle(SPINE - 32, middle - 11, 64, 22, "ring", radius=11)
