"""A network as a mermaid flowchart, for pages that draw those: the rows of `model.drawing.svg`."""

from model.architecture.layers import Summary
from model.drawing.outline import Row, outline
from model.drawing.svg import dimensions, headline, short


def draw_mermaid(name: str, summary: Summary) -> str:
    """Write a flowchart: stages are boxes, a shortcut leads past its block to where they meet."""
    boxes, links, is_open, before = [], [], False, ""
    for place, row in enumerate(outline(summary)):
        if row.kind in ("heading", "output") and is_open:
            boxes.append("    end")
            is_open = False
        if row.kind == "heading":
            boxes.append(f'    subgraph s{place}["{row.title}"]')
            is_open = True
            continue
        node, joint = f"n{place}", f"j{place}"
        boxes.append(f'    {node}["{_words(row)}"]')
        if before:
            links.append(f"    {before} --> {node}")
        if row.kind == "block" and row.shortcut != "none":
            boxes.append(f'    {joint}(("{"concat" if row.shortcut == "concat" else "+"}"))')
            arrow = "-->" if row.shortcut == "identity" else "-.->"
            links += [f'    {before} {arrow}|"{_way(row)}"| {joint}', f"    {node} --> {joint}"]
            node = joint
        before = node
    head = ["---", f'title: "{headline(name, summary)}"', "---", "flowchart TD"]
    return "\n".join([*head, *boxes, *links]) + "\n"


def _way(row: Row) -> str:
    """Say what a shortcut passes through."""
    if row.shortcut == "projection":
        return f"projection {row.shortcut_label}"
    return row.shortcut_label or row.shortcut


def _words(row: Row) -> str:
    lines = [row.title, row.path, dimensions(row.shape)]
    if row.parameters:
        lines.append(f"{short(row.parameters)} parameters")
    return "<br/>".join(line for line in lines if line)
