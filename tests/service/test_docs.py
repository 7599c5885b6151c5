"""What the documents name is there."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from service.registry.versions import Entry
from service.settings import Settings
from tests.service.process import ROOT
from tests.test_layering import KNOWS

DOCS = ROOT / "docs"
PAGES = [*sorted(ROOT.glob("*.md")), *sorted(DOCS.rglob("*.md")), ROOT / "examples/README.md"]
CURRENT = [page for page in PAGES if page.name != "CHANGELOG.md" and "decisions" not in page.parts]
"""Decision records and the changelog keep the names of their time."""
CODE = re.compile(r"^```.*?^```$", re.M | re.S)
OTHERS = {
    *("cd", "chmod", "curl", "docker", "echo", "export", "kubectl", "make", "node", "openssl"),
    *("pip", "python", "sbatch", "source", "sudo", "torchrun"),
}
"""Commands that pages show and that are not the project's."""
MAKE = re.compile(r"(?:`|\$ |&& )(?:\w+=\S+ )?make ([a-z][a-z-]*)")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def test_the_documented_table_of_imports_is_the_tested_one() -> None:
    text = (DOCS / "architecture.md").read_text()
    rows = re.findall(r"^\| (`(?:service|training|model)\.[^|]*) \| ([^|]*) \|$", text, re.M)

    documented = {
        package: set(re.findall(r"`(\w+)`", allowed))
        for packages, allowed in rows
        for package in re.findall(r"`([\w.]+)`", packages)
    }
    assert documented == {package: set(allowed.split()) for package, allowed in KNOWS.items()}


@pytest.mark.parametrize(
    ("language", "file"), [("nginx", "nginx/resnet.conf"), ("haproxy", "haproxy/haproxy.cfg")]
)
def test_a_proxys_example_in_the_docs_is_that_of_deploy(language: str, file: str) -> None:
    shown = re.findall(
        rf"^```{language}\n(.*?)^```$", (DOCS / "network.md").read_text(), re.M | re.S
    )

    lines = (ROOT / "deploy" / file).read_text().splitlines()
    assert shown
    assert {line.strip() for line in "".join(shown).splitlines()} <= {
        line.strip() for line in lines
    }


def test_the_newest_version_of_the_changelog_is_the_projects() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    headings = re.findall(r"^## (.+)$", (ROOT / "CHANGELOG.md").read_text(), re.M)

    assert headings[0] == "Unreleased"
    assert re.fullmatch(rf"{re.escape(project['version'])} - \d{{4}}-\d{{2}}-\d{{2}}", headings[1])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_a_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    text = CODE.sub("", page.read_text())
    links = re.findall(r"\]\((?!https?:)([^)#]*)#?([^)]*)\)", text)

    for path, anchor in links:
        target = page.parent / path if path else page
        assert target.exists(), path
        assert not anchor or anchor in anchors(target), f"{path}#{anchor}"


def anchors(page: Path) -> set[str]:
    """Headings as GitHub names them."""
    headings = re.findall(r"^#+ (.+)$", CODE.sub("", page.read_text()), re.M)
    return {re.sub(r"[^\w\- ]", "", each).lower().replace(" ", "-") for each in headings}


def test_the_table_of_contents_has_every_page_and_no_other() -> None:
    contents = (DOCS / "README.md").read_text()
    linked = {(DOCS / path).resolve() for path in re.findall(r"\]\(([^)#]+)", contents)}

    pages = {page for page in DOCS.rglob("*.md") if page.parent.name != "decisions"}
    assert {page for page in linked if page.suffix == ".md" and page.is_relative_to(DOCS)} == (
        pages - {DOCS / "README.md"}
    )


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_a_file_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    roots = "model|service|training|tests|benchmarks|experiments|docs|deploy|examples|requirements"
    named = re.findall(rf"`((?:{roots})/[a-z0-9_./-]+)`", text)
    typed = "\n".join(re.findall(r"^\$ (.*)$", text, re.M))
    named += re.findall(r"(?<![\w./-])((?:deploy|examples|docs)/[\w./-]*\w)", typed)
    modules = re.findall(
        r"python -m ((?:service|training|benchmarks|experiments|deploy|fuzz)[\w.]*)", text
    )

    assert not [path for path in named if not (ROOT / path).exists()]
    files = [ROOT / module.replace(".", "/") for module in modules]
    assert not [file for file in files if not (file.with_suffix(".py").exists() or file.is_dir())]


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_a_setting_or_target_of_make_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    settings = {f"RESNET_{name.upper()}" for name in Settings.model_fields}
    named = set(re.findall(r"\bRESNET_[A-Z_]*[A-Z]\b(?!_?\*)", text))
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))

    assert not named - settings
    assert not set(MAKE.findall(text)) - targets


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_a_metric_or_command_that_a_page_names_is_there(page: Path) -> None:
    text = page.read_text()
    metrics = set(re.findall(r"^\| `(resnet_\w+)` \|", (DOCS / "operations.md").read_text(), re.M))
    named = set(re.findall(r"(?<![\w.])(?:ray_)?(resnet_(?!client)[a-z_]*[a-z])\b(?!_?\*)", text))
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    typed = re.findall(r"^\$ \(?((?:\w+=\S+ )*)(\S+)", text.replace("\\\n", " "), re.M)

    assert not {re.sub(r"_(bucket|count|sum)$", "", name) for name in named} - metrics
    assert not {command for _, command in typed if "/" not in command} - {*scripts, *OTHERS}


@pytest.mark.parametrize(
    ("page", "folder", "pattern"),
    [("examples/README.md", "examples", "*"), ("docs/page.md", "service/static", "*.js")],
)
def test_a_table_of_files_has_every_file_and_no_other(page: str, folder: str, pattern: str) -> None:
    rows = re.findall(r"^\| (`[\w*]+\..*?) \|", (ROOT / page).read_text(), re.M)
    listed = {name for row in rows for name in re.findall(r"`([\w.*]+)`", row)}

    found = (ROOT / folder).glob(pattern)
    files = {path.name for path in found if path.is_file() and path.suffix != ".md"}
    assert files <= listed
    assert all(any((ROOT / folder).glob(name)) for name in listed)


def test_the_files_of_a_run_that_a_page_lists_are_written_by_the_code() -> None:
    section = (DOCS / "training.md").read_text().partition("## A run folder\n")[2]
    rows = re.findall(r"^\| (`.*?) \|", section.partition("\n## ")[0], re.M)
    listed = {name.strip("/") for row in rows for name in re.findall(r"`(?:\w+/)?(\S+)`", row)}
    code = "".join(path.read_text() for path in (ROOT / "training").rglob("*.py"))

    assert len(listed) > 10
    assert not {name for name in listed if not re.search(rf"[\"/]{re.escape(name)}\"", code)}


def test_the_longest_time_to_end_is_the_sum_of_its_parts() -> None:
    rows = re.findall(r"^\| ([+=] )?(\d+) \| (.*) \|$", (DOCS / "kubernetes.md").read_text(), re.M)

    *parts, total = [int(seconds) for _, seconds, _ in rows]
    grace = re.search(r"`terminationGracePeriodSeconds` is (\d+)", rows[-1][2])
    assert sum(parts) == total
    assert grace is not None
    pod = (ROOT / "deploy/kubernetes/base/deployment.yaml").read_text()
    assert f"terminationGracePeriodSeconds: {grace[1]}" in pod


def test_the_file_of_versions_that_a_page_shows_can_be_read() -> None:
    [shown] = re.findall(r"^```json\n(.*?)^```$", (DOCS / "operations.md").read_text(), re.M | re.S)

    entries = [Entry.model_validate(each) for each in json.loads(shown).values()]
    assert {entry.unloaded for entry in entries} == {True, False}


@pytest.mark.parametrize("page", CURRENT, ids=name_of)
def test_a_line_of_a_page_is_short_enough_to_read(page: Path) -> None:
    """Tables, addresses and what a command prints may be longer."""
    prose = CODE.sub("", page.read_text()).splitlines()
    commands = re.findall(r"^\$ .*$", page.read_text(), re.M)
    lines = [line for line in prose if not line.startswith("|") and "http" not in line]

    assert not [line for line in [*lines, *commands] if len(line) > 120]
