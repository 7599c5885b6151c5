"""The code of docs/residual-learning.md runs as it stands, and its drawing is the network's."""

import re
from pathlib import Path

from model.architecture.family import get_architecture
from model.architecture.summary import summarize
from model.drawing.svg import draw

ROOT = Path(__file__).parents[2]


def test_the_code_on_the_page_runs_in_its_order() -> None:
    text = (ROOT / "docs/residual-learning.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.M | re.S)

    assert len(blocks) >= 5
    exec(compile("\n".join(blocks), "residual-learning.md", "exec"), {"__name__": "page"})  # noqa: S102  # its asserts are the test


def test_the_drawing_on_the_page_is_that_of_the_network() -> None:
    architecture = get_architecture("mini_resnet")

    drawn = draw(architecture.name, summarize(architecture, 28, 28))

    assert (ROOT / "docs/images/mini_resnet.svg").read_text(encoding="utf-8") == drawn
