import json
import re
from html.parser import HTMLParser
from urllib.parse import urljoin

import pytest

from service.api.media_types import ACCEPTED
from tests.service.conftest import Service

pytestmark = pytest.mark.anyio

URL = re.compile(r"""(?:https?:)?//[\w.-]+""")


class Links(HTMLParser):
    """Collects what a page loads."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.found += [value for name in ("src", "href", "data") if (value := given.get(name))]
        self.inline += [name for name in given if name == "style" or name.startswith("on")]
        if tag == "style" or (tag == "script" and "src" not in given):
            self.inline.append(tag)


async def test_the_root_is_the_page(shipped: Service) -> None:
    response = await shipped.client.get("/")
    links = Links()
    links.feed(response.text)

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert links.inline == []
    assert URL.findall(response.text) == []


@pytest.mark.parametrize("path", ["/", "/docs"])
@pytest.mark.parametrize("prefix", ["", "/resnet", "/a/b"])
async def test_a_page_loads_only_what_is_served_here_also_behind_a_prefix(
    path: str, prefix: str, shipped: Service
) -> None:
    response = await shipped.client.get(path)
    links = Links()
    links.feed(response.text)

    seen = [urljoin(f"http://service{prefix}{path}", link) for link in links.found]
    assets = [
        await shipped.client.get(link.removeprefix(f"http://service{prefix}"))
        for link in seen
        if link.startswith(f"http://service{prefix}/")
    ]

    assert response.headers["content-type"] == "text/html; charset=utf-8"
    assert len(assets) == len(links.found) >= 4
    assert [asset.status_code for asset in assets] == [200] * len(assets)
    assert links.inline == []  # the policy forbids it
    assert URL.findall(response.text) == []


async def test_a_slash_behind_docs_leads_back_without_host_scheme_or_prefix(
    shipped: Service,
) -> None:
    response = await shipped.client.get("/docs/")

    assert (response.status_code, response.headers["location"]) == (308, "../docs")


async def test_the_policy_forbids_other_hosts(shipped: Service) -> None:
    policy = (await shipped.client.get("/docs")).headers["content-security-policy"]

    rules = dict(rule.strip().split(" ", 1) for rule in policy.split(";"))
    assert rules["default-src"] == "'none'"
    assert set(" ".join(rules.values()).split()) == {"'none'", "'self'", "data:"}


async def test_the_pages_script_asks_this_host_alone(shipped: Service) -> None:
    script = (await shipped.client.get("/static/docs/init.js")).text

    assert 'request("openapi.json")' in script  # below the page's own base
    assert "validatorUrl: null" in script
    assert URL.findall(script) == []


async def test_the_style_sheet_loads_nothing_from_elsewhere(shipped: Service) -> None:
    style = (await shipped.client.get("/static/docs/swagger-ui.css")).text

    loaded = re.findall(r"url\(\s*['\"]?([^'\")]+)", style)

    assert all(link.startswith("data:") for link in loaded)
    assert "@import" not in style


@pytest.mark.parametrize(
    "path",
    [
        "/static/../app.py",
        "/static/%2e%2e/app.py",
        "/static/..%2f..%2fpyproject.toml",
        "/static//etc/passwd",
        "/static/docs",
        "/static/",
    ],
)
async def test_nothing_but_the_static_files_is_given_away(path: str, shipped: Service) -> None:
    response = await shipped.client.get(path)

    assert response.status_code == 404
    assert response.json()["code"] == "not_found"


async def test_the_description_mentions_no_other_host(shipped: Service) -> None:
    response = await shipped.client.get("/openapi.json")

    assert response.status_code == 200
    assert response.json()["servers"] == [{"url": "."}]
    assert URL.findall(response.text) == []


async def test_the_description_names_every_content_type(shipped: Service) -> None:
    described = (await shipped.client.get("/openapi.json")).json()

    body = described["paths"]["/predict"]["post"]["requestBody"]
    assert set(body["content"]) == set(ACCEPTED)
    assert body["required"] is True


async def test_the_description_has_every_route_of_the_interface(shipped: Service) -> None:
    described = (await shipped.client.get("/openapi.json")).json()

    of_a_model = {"predict", "architecture", "card", "card.md", "drift", "samples/{index}.png"}
    starts = ("/", "/models/{name}/", "/models/{name}/versions/{version}/")
    assert {path for path in described["paths"] if not path.startswith("/v2")} == {
        *(start + end for start in starts for end in of_a_model),
        "/models",
        "/livez",
        "/readyz",
        "/metrics",
    }


async def test_references_in_the_description_lead_somewhere(shipped: Service) -> None:
    described = (await shipped.client.get("/openapi.json")).json()

    references = re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(described))

    assert references
    for reference in references:
        place = described
        for step in reference.split("/"):
            place = place[step]
