"""`GET /models`, and what each model answers below its name."""

import json
import shutil
from pathlib import Path

import pytest

from service.app import create_app
from service.settings import Settings
from tests.service.conftest import MakeArtifact, Service, serving

pytestmark = pytest.mark.anyio
PARTS = ("card", "card.md", "architecture", "architecture?format=svg", "drift", "samples/0.png")


@pytest.mark.usefixtures("trials")
async def test_the_list_names_each_model_with_all_of_its_versions(
    make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    made = make_artifact()
    manifest = json.loads((made / "manifest.json").read_text())
    for name, version in (("other", "2"), ("other", "10")):
        shutil.copytree(made, folder := root / name / version)
        (folder / "manifest.json").write_text(
            json.dumps({**manifest, "name": name, "version": version})
        )
    settings = Settings(artifact=made, model_repository=root, intra_op_threads=1)
    async with serving(create_app(settings)) as service:
        listed = (await service.client.get("/models")).json()
        first, second = listed["models"]
        card = (await service.client.get("/models/other/card")).json()

    assert listed["default"] == service.classifier.info.model_dump()
    assert (first["name"], first["default"]) == (manifest["name"], True)
    assert (second["versions"], second["version"], second["default"]) == (["2", "10"], "10", False)
    assert second["labels"] == len(manifest["labels"])
    assert second["bytes"] == next(made.glob("*.onnx")).stat().st_size
    assert card["model"]["version"] == "10"
    assert card["samples"][0]["path"] == "models/other/samples/0.png"


@pytest.mark.parametrize("part", PARTS)
async def test_a_model_answers_below_its_name_as_the_default_one_does(
    shipped: Service, part: str
) -> None:
    named = await shipped.client.get(f"/models/fashion-mnist/{part}")
    plain = await shipped.client.get(f"/{part}")
    nobodys = await shipped.client.get(f"/models/nobody/{part}")

    assert named.status_code == 200
    assert named.text.replace("models/fashion-mnist/samples", "samples") == plain.text
    assert (nobodys.status_code, nobodys.json()["code"]) == (404, "model_not_found")
    assert "there is fashion-mnist" in nobodys.json()["detail"]
