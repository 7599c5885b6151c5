"""The accuracies that READMEs and docs show: collected in one file, and written from it.

    python -m benchmarks.published

`docs/results.json` has each with the number of images, seeds, spread, machine, commit and
command. It is collected from the results of `benchmarks.train accuracy`, of `benchmarks.trust`
and the manifest of the included artifact. Between `<!-- results: NAME -->` and
`<!-- end of results -->` a page shows what is written here. A test fails if a page does not, or
if it shows an accuracy that is not in the file. The other tables of docs/trust.md are written
from `benchmarks/results`, see `benchmarks.trust_tables`.
"""

import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from benchmarks.process import RESULTS
from benchmarks.trust_tables import TABLES
from model.artifact.card_figures import table, wilson
from model.artifact.manifest import parse_manifest
from training.export.report import trust_table
from training.export.verdict import verdict

ROOT = RESULTS.parents[1]
FIGURES = ROOT / "docs" / "results.json"
INCLUDED = "artifacts/fashion-mnist/1"
TEST_IMAGES = {"fashion-mnist": 10_000}
"""Of published test splits: earlier results do not name their number."""
BLOCK = re.compile(r"(?<=<!-- results: )(\w+) -->\n(.*?)(?=<!-- end of results -->)", re.DOTALL)
PAGES = ("README.md", "README.zh-CN.md", "docs/artifact.md", "docs/trust.md")


def collect(root: Path = ROOT) -> dict[str, Any]:
    """Collect all figures from where the measurements left them."""
    results = root / "benchmarks" / "results"
    rows = json.loads((results / "train-accuracy.json").read_bytes())["results"]
    over_http = json.loads((results / "trust-fashion-mnist.json").read_bytes())
    manifest, _ = parse_manifest((root / INCLUDED / "manifest.json").read_bytes())
    metrics = manifest.metrics
    assert metrics is not None  # noqa: S101  # for the types: it was trained here
    return {
        "recipes": [_recipe(row) for row in rows],
        "included": {
            "artifact": INCLUDED,
            "recipe": manifest.provenance.recipe,
            "seed": manifest.provenance.seed,
            "commit": manifest.provenance.commit,
            "command": f"export-model RUN --out {INCLUDED} --precision all",
            "dataset": metrics.dataset,
            "split": metrics.split,
            "n": metrics.n,
            "top1": metrics.top1,
            "top1_interval": [round(end, 6) for end in wilson(metrics.top1, metrics.n)],
            "top5": metrics.top5,
            "top5_interval": [round(end, 6) for end in wilson(metrics.top5, metrics.n)],
            "files": {
                name: file.model_dump(mode="json", include={"top1", "top1_agreement"})
                for name, file in manifest.files.items()
            },
        },
        "over_http": {
            "command": "python -m benchmarks.trust",
            "machine": over_http["machine"]["cpu"],
            "commit": over_http["machine"]["commit"],
            **over_http["measured"],
        },
    }


def _recipe(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a recipe's accuracy over its seeds, and all that it takes to repeat it."""
    runs = row["runs"]
    top1 = [run["test_top1"] for run in runs]
    changes = "".join(f" --set {change}" for change in row["changes"])
    place = "" if row["data"] in TEST_IMAGES else f" --data {row['data']}"
    return {
        "recipe": row["recipe"],
        "data": row["data"],
        "split": "test",
        "n": runs[0].get("n") or TEST_IMAGES.get(row["data"]),
        "seeds": [run["seed"] for run in runs],
        "top1": round(mean(top1), 6),
        "top1_of_seeds": top1,
        "spread": round(stdev(top1), 6) if len(top1) > 1 else None,
        "mirrored_top1": [run["mirrored_top1"] for run in runs],
        "cpu_seconds": round(mean(run["cpu_seconds"] for run in runs), 1),
        "machine": f"{runs[0]['processor']}, {runs[0]['threads']} threads",
        "commits": sorted({run["commit"] for run in runs}),
        "command": f"python -m benchmarks.train accuracy {row['recipe']}{place}{changes} "
        f"--seeds {len(runs)}",
    }


TITLES = ("recipe", "test top-1", "seeds", "test images", "CPU s", "machine", "commit")
TITLES_ZH = ("配方", "测试集 top-1", "随机种子数", "测试图片数", "CPU 秒", "机器", "提交")


def recipes(figures: Mapping[str, Any], titles: Sequence[str] = TITLES) -> str:
    """Write the table of the recipes' accuracies."""
    lines = []
    for row in figures["recipes"]:
        spread = "" if row["spread"] is None else f" ± {100 * row['spread']:.2f}"
        lines.append(
            (
                f"`{row['recipe']}`",
                f"{100 * row['top1']:.2f}{spread} %",
                str(len(row["seeds"])),
                f"{row['data']}: {row['n']:,}" if row["n"] else row["data"],
                f"{row['cpu_seconds']:,.0f}",
                row["machine"],
                ", ".join(row["commits"]),
            )
        )
    return table(titles, lines)


def _manifest_tables(_: Mapping[str, Any]) -> str:
    return trust_table(parse_manifest((ROOT / INCLUDED / "manifest.json").read_bytes())[0])


def _verdict(_: Mapping[str, Any]) -> str:
    manifest, _passed = parse_manifest((ROOT / INCLUDED / "manifest.json").read_bytes())
    return "```\n" + "\n".join(verdict(manifest)) + "\n```"


def _over_http(figures: Mapping[str, Any]) -> str:
    """Write what the service answered, precision by precision."""
    found = {name: its for name, its in figures["over_http"].items() if isinstance(its, dict)}
    names = list(found["int8"])
    lines = [(name, *(f"{its.get(name, 0):.4g}" for its in found.values())) for name in names]
    return table(("figure", *found), lines)


def _from_results(write: Callable[[Path], str], _: Mapping[str, Any]) -> str:
    return write(RESULTS)


BLOCKS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "recipes": recipes,
    "recipes_zh": partial(recipes, titles=TITLES_ZH),
    "included": _manifest_tables,
    "verdict": _verdict,
    "over_http": _over_http,
    **{name: partial(_from_results, write) for name, write in TABLES.items()},
}


def written(page: str, figures: Mapping[str, Any]) -> str:
    """Fill the blocks of a page."""
    return BLOCK.sub(lambda found: f"{found[1]} -->\n{BLOCKS[found[1]](figures)}\n", page)


def unknown_accuracies(page: str, figures: Mapping[str, Any]) -> list[str]:
    """Name the accuracies of a page that are not among the figures: 50 % or more, with decimals."""
    known = {f"{100 * value:.{digits}f}" for value in _numbers(figures) for digits in (1, 2)}
    known |= {f"{value:.{digits}f}" for value in _numbers(figures) for digits in (1, 2)}
    return [found for found in re.findall(r"\b([5-9]\d\.\d+) ?%", page) if found not in known]


def _numbers(value: Any) -> Iterator[float]:
    if isinstance(value, float):
        yield value
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _numbers(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _numbers(inner)


def main() -> None:
    """Write the file, then the pages."""
    figures = collect()
    FIGURES.write_text(json.dumps(figures, indent=1) + "\n", encoding="utf-8")
    for name in PAGES:
        path = ROOT / name
        path.write_text(written(path.read_text(), figures), encoding="utf-8")


if __name__ == "__main__":
    main()
