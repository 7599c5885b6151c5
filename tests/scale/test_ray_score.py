"""Scoring with Ray Data: the answers of `predict-model`, and every file once after any kill."""

import csv
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

pytest.importorskip("ray.data", reason="Ray is in .venv-ray: make test-scale")

import pyarrow.parquet as pq

from deploy.ray.lake import Lake, open_lake
from service.errors import StartError
from tests.scale.processes import below
from tests.service.images import encode, fashion_images
from tests.service.process import ROOT, environ

pytestmark = pytest.mark.timeout(1200)
ARTIFACT = ROOT / "artifacts/fashion-mnist/1"
PREDICT_MODEL = Path(sysconfig.get_path("scripts")) / "predict-model"
ABOUT = {"model": "m", "version": "1", "sha256": "0" * 64, "shard_size": 3}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """300 images ten times over in folders, a broken one, and a name that is no UTF-8."""
    folder = tmp_path_factory.mktemp("images")
    files = [encode(Image.fromarray(image)) for image in fashion_images()[0]]
    for copy in range(10):
        (folder / f"{copy}").mkdir()
        for number, file in enumerate(files):
            (folder / f"{copy}/{number:03d}.png").write_bytes(file)
    (folder / "broken.png").write_bytes(files[0][:100])
    Path(os.fsdecode(os.fsencode(folder) + b"/\xe9.png")).write_bytes(files[0])
    return folder


def start(images: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "deploy.ray.score", ARTIFACT, images, "--out", out, *options],
        cwd=ROOT,
        env=environ(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def score(images: Path, out: Path, *options: str, tries: int = 3) -> str:
    """Run the command to its end; on a busy machine Ray itself may not start at once."""
    for _ in range(tries):
        running = start(images, out, *options)
        said, _ = running.communicate(timeout=600)
        if running.returncode == 0:
            return said
    raise AssertionError(said)


def rows(out: Path) -> list[dict[str, object]]:
    parts = sorted(out.glob("part-*.parquet"))
    return [row for part in parts for row in pq.read_table(part).to_pylist()]


def test_rows_are_those_of_predict_model(images: Path, tmp_path: Path) -> None:
    table, out = tmp_path / "results.csv", tmp_path / "scores"
    subprocess.run([PREDICT_MODEL, ARTIFACT, images, "--out", table], check=True, env=environ())

    said = score(images, out, "--shard-size", "320", "--actors", "2")

    assert "3,002 rows, 1 of them with an error" in said
    with table.open(encoding="utf-8", newline="") as file:
        expected = list(csv.DictReader(file))
    found = rows(out)
    assert [row["path"] for row in found] == [row["path"] for row in expected]
    for row, other in zip(found, expected, strict=True):
        assert (row["label"] or "", row["error"] or "") == (other["label"], other["error"])
        if not row["error"]:
            assert row["probability"] == pytest.approx(float(other["probability"]), rel=1e-4)
            assert isinstance(row["score"], float)
        assert len(str(row["sha256"])) == 64
        assert (row["model"], row["version"]) == ("fashion-mnist", "1")
    success = json.loads((out / "_SUCCESS").read_bytes())
    manifest = json.loads((ARTIFACT / "manifest.json").read_bytes())
    assert (success["rows"], success["errors"]) == (3002, 1)
    assert success["sha256"] == manifest["files"][success["precision"]]["sha256"]


def test_every_file_has_one_row_after_kills_at_random(images: Path, tmp_path: Path) -> None:
    out, seed = tmp_path / "scores", time.time_ns()
    chance, kills, killed_actors = random.Random(seed), 0, 0  # noqa: S311  # not a secret
    for attempt in range(12):
        running = start(images, out, "--shard-size", "32", "--actors", "2")
        before = _parts(out)
        while running.poll() is None and _parts(out) < before + 5:
            time.sleep(0.02)
        time.sleep(chance.uniform(0, 0.3))
        actors = [pid for pid, name in below(running.pid) if "Scorer" in name]
        if attempt % 2 and actors:
            os.kill(chance.choice(actors), signal.SIGKILL)
            killed_actors += 1
        elif running.poll() is None and kills < 3:
            os.killpg(running.pid, signal.SIGKILL)
            kills += 1
        running.communicate(timeout=600)
        if running.returncode == 0:
            break

    assert (out / "_SUCCESS").exists(), f"seed {seed}"
    assert kills
    assert killed_actors
    paths = [row["path"] for row in rows(out)]
    assert len(paths) == len(set(paths)) == 3002
    assert not list(out.glob(".part-*"))


def _parts(out: Path) -> int:
    return len(list(out.glob("part-*.parquet")))


def listed(*files: str) -> Iterator[str]:
    return iter(files)


def test_shards_are_those_of_the_first_listing(tmp_path: Path) -> None:
    first = open_lake(tmp_path, ABOUT, listed("a", "b", "c", "d"))
    first.write(1, [{"path": "d", "model": "m", "version": "1", "error": "no image"}])

    again = open_lake(tmp_path, ABOUT, listed("0", "a"))

    assert again.left() == [0]
    assert [again.files(shard) for shard in again.shards] == [["a", "b", "c"], ["d"]]


def test_a_finished_folder_says_so(tmp_path: Path) -> None:
    lake = open_lake(tmp_path, ABOUT, listed("a"))
    lake.write(0, [{"path": "a", "model": "m", "version": "1", "label": "x"}])
    (tmp_path / ".part-000000.parquet.12ab34cd.tmp").touch()

    lake.finish()

    assert json.loads((tmp_path / "_SUCCESS").read_bytes()) == {
        **ABOUT,
        "files": 1,
        "rows": 1,
        "errors": 0,
    }
    assert not list(tmp_path.glob(".part-*"))


def test_a_folder_of_another_model_is_refused_in_one_line(tmp_path: Path) -> None:
    open_lake(tmp_path, ABOUT, listed("a"))

    with pytest.raises(StartError) as refused:
        open_lake(tmp_path, {**ABOUT, "sha256": "1" * 64}, listed("a"))

    assert "was started with sha256 000" in str(refused.value)
    assert str(refused.value).isprintable()


def test_shards_without_a_manifest_are_refused(tmp_path: Path) -> None:
    lake = open_lake(tmp_path / "a", ABOUT, listed("a"))
    lake.write(0, [{"path": "a", "model": "m", "version": "1"}])
    (tmp_path / "b").mkdir()
    shutil.copy(lake.part(0), tmp_path / "b")

    with pytest.raises(StartError, match="not known which model"):
        open_lake(tmp_path / "b", ABOUT, listed("a"))


def test_an_interrupted_listing_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "_files.parquet").write_bytes(b"half")

    lake = open_lake(tmp_path, ABOUT, listed("a"))

    assert Lake(tmp_path).files(0) == lake.files(0) == ["a"]
