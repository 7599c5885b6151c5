"""What the page's routes and files are, without a browser."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from model.artifact.manifest import Manifest
from service.api.routes.page import DOCS_POLICY, POLICY, STATIC
from service.errors import STATUS
from tests.page.conftest import Served

OURS = [path for path in STATIC.iterdir() if path.is_file()]
TEXTS = {path.name: json.loads(path.read_text()) for path in STATIC.glob("text.*.json")}
ENGLISH, CHINESE = TEXTS["text.en.json"], TEXTS["text.zh-CN.json"]
PLACEHOLDER = re.compile(r"\{(\w+)\}")


@pytest.fixture
def client(served: Served) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=served.url) as opened:
        yield opened


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/static/page.css"])
def test_everything_comes_under_the_strict_policy(client: httpx.Client, path: str) -> None:
    headers = client.get(path).headers

    assert headers["content-security-policy"] == POLICY
    assert "require-trusted-types-for 'script'; trusted-types 'none'" in POLICY
    assert "unsafe" not in POLICY
    assert headers["cache-control"] == "no-cache"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["permissions-policy"] == "camera=(self), microphone=(), geolocation=()"
    assert headers["x-content-type-options"] == "nosniff"


def test_the_interactive_description_has_a_policy_of_its_own(client: httpx.Client) -> None:
    assert client.get("/docs").headers["content-security-policy"] == DOCS_POLICY


@pytest.mark.parametrize("path", ["/", "/static/page.js", "/samples/0.png"])
def test_what_did_not_change_is_not_sent_again(client: httpx.Client, path: str) -> None:
    etag = client.get(path).headers["etag"]

    again = client.get(path, headers={"if-none-match": etag})

    assert again.status_code == 304
    assert not again.content


def test_the_page_is_light() -> None:
    assert sum(path.stat().st_size for path in OURS) <= 150_000


def test_the_page_names_no_other_host() -> None:
    for path in OURS:
        hosts = set(re.findall(r"https?://[\w.]+", path.read_text()))
        assert hosts <= {"http://www.w3.org"}, path.name


def test_every_module_is_preloaded_and_says_what_it_is_for() -> None:
    html = (STATIC / "index.html").read_text()

    for module in STATIC.glob("*.js"):
        assert f"static/{module.name}" in html
        assert module.read_text().startswith("// ")


def test_no_modules_import_each_other() -> None:
    named = {
        path.name: set(re.findall(r'from "\./([\w.]+)"', path.read_text()))
        for path in STATIC.glob("*.js")
    }
    rest = {name: imports & named.keys() for name, imports in named.items()}

    while leaves := {name for name, imports in rest.items() if not imports}:
        rest = {name: imports - leaves for name, imports in rest.items() if name not in leaves}

    assert len(named) > 10
    assert any(named.values())
    assert rest == {}


@pytest.mark.parametrize("path", sorted(STATIC.glob("text.*.json")), ids=lambda path: path.name)
def test_no_text_is_given_twice(path: Path) -> None:
    names = [name for name, _ in json.loads(path.read_text(), object_pairs_hook=list)]

    assert len(names) == len(set(names))


def test_both_languages_have_the_same_keys_and_placeholders() -> None:
    assert ENGLISH.keys() == CHINESE.keys()
    for key, text in ENGLISH.items():
        assert set(PLACEHOLDER.findall(text)) == set(PLACEHOLDER.findall(CHINESE[key])), key


def test_every_text_that_the_page_names_is_there() -> None:
    sources = "\n".join(path.read_text() for path in OURS if path.suffix in {".js", ".html"})
    named = set(re.findall(r"""\bt\(\s*"([\w.-]+)\"""", sources))
    named |= set(re.findall(r'data-(?:text|label)="([\w.-]+)"', sources))
    named |= set(re.findall(r'\bsay\("([\w.]+)"\)', sources))

    assert len(named) > 60
    assert named <= ENGLISH.keys()


def test_every_problem_of_the_service_has_its_words() -> None:
    for texts in (ENGLISH, CHINESE):
        assert all(texts[f"problem.{kind.code}"] for kind in STATUS)


def test_the_card_is_the_manifest_and_what_can_be_asked(client: httpx.Client) -> None:
    card = client.get("/card").json()
    shipped = (Path(__file__).parents[2] / "artifacts/fashion-mnist/1/manifest.json").read_bytes()

    whole = Manifest.model_validate_json(shipped).model_dump(mode="json")
    assert card["manifest"] == {
        name: value for name, value in whole.items() if name not in {"golden", "summary"}
    }
    assert "top_k" in card["options"]
    assert "/predict" in card["routes"]
    assert card["limits"]["max_body_bytes"] == 2**20


def test_samples_are_the_golden_images(client: httpx.Client) -> None:
    samples = client.get("/card").json()["samples"]

    for sample in samples:
        image = client.get(sample["path"])
        answer = client.post("/predict?top_k=1", content=image.content).json()
        assert image.headers["content-type"] == "image/png"
        assert answer["results"][0]["predictions"][0]["label"] == sample["label"]


@pytest.mark.parametrize(("index", "status"), [("10", 404), ("-1", 400), ("boot", 400)])
def test_a_sample_that_is_not_there_is_a_problem(
    client: httpx.Client, index: str, status: int
) -> None:
    answer = client.get(f"/samples/{index}.png")

    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_card_is_served_as_markdown(client: httpx.Client) -> None:
    answer = client.get("/card.md")

    assert answer.headers["content-type"] == "text/markdown; charset=utf-8"
    assert answer.text.startswith("---\n")
