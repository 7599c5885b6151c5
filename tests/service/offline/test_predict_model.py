import csv
import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest

from model.preprocessing import Pixels
from service.inference.engine import Engine
from service.inference.outputs import BatchOutputs
from service.offline import cli
from service.offline.progress import _Lines
from tests.conftest import Command
from tests.service.conftest import SHIPPED, MakeArtifact, Service
from tests.service.images import WHITE

BOOT = Path(__file__).parents[3] / "docs/images/boot.png"


def read_rows(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def documented_columns() -> set[str]:
    page = (BOOT.parents[1] / "offline.md").read_text(encoding="utf-8")
    table = page.partition("## Columns\n")[2].partition("\n## ")[0]
    firsts = [row.split("|")[1] for row in table.splitlines() if row.startswith("| `")]
    return {name for first in firsts for name in re.findall(r"`(\w+)`", first)}


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """The boot, an image in a folder, one that is no image, one that is cut off, one of others."""
    root = tmp_path / "images"
    (root / "a").mkdir(parents=True)
    shutil.copy(BOOT, root / "boot.png")
    (root / "a/white.png").write_bytes(WHITE)
    (root / "a/words.jpg").write_text("no image", encoding="utf-8")
    (root / "cut.png").write_bytes(BOOT.read_bytes()[:100])
    (root / "gone.png").symlink_to(root / "nothing")
    (root / "notes.txt").write_text("", encoding="utf-8")
    return root


@pytest.mark.anyio
async def test_answers_are_those_of_the_server(
    command: Command, images: Path, shipped: Service, tmp_path: Path
) -> None:
    out = tmp_path / "results.csv"

    finished = command(cli.predict, SHIPPED, images, "--out", out, "--top-k", 3, "--coverage", 0.95)

    assert (finished.code, finished.err) == (0, "")
    assert "5 rows, 3 of them with an error" in finished.out
    assert "left out: 1 files of kind .txt" in finished.out
    rows = read_rows(out)
    assert {name for name in rows[0] if not name.endswith("_3")} == documented_columns()
    paths = ["a/white.png", "a/words.jpg", "boot.png", "cut.png", "gone.png"]
    assert [row["path"] for row in rows] == paths
    for row in (rows[0], rows[2]):
        file = (images / row["path"]).read_bytes()
        answer = await shipped.client.post("/predict?top_k=3&coverage=0.95", content=file)
        (result,) = answer.json()["results"]
        ranked = [(row[f"label{n}"], row[f"probability{n}"]) for n in ("", "_2", "_3")]
        for (label, probability), expected in zip(ranked, result["predictions"], strict=True):
            assert label == expected["label"]
            assert float(probability) == pytest.approx(expected["probability"], rel=1e-4)
        assert row["in_distribution"] == str(result["in_distribution"]).lower()
        assert json.loads(row["prediction_set"]) == [
            each["label"] for each in result["prediction_set"]
        ]
        assert row["error"] == ""
    assert rows[2]["label"] == "Ankle boot"
    reasons = [row["error"] for row in rows]
    assert "a text file, not a JPEG, PNG, WEBP, GIF or BMP file" in reasons[1]
    assert "cannot be decoded" in reasons[3]
    assert reasons[4] == "The file cannot be read: No such file or directory."
    assert {row["label"] for row in (rows[1], rows[3], rows[4])} == {""}


def test_a_run_that_was_stopped_continues_with_the_files_that_have_no_row(
    command: Command, images: Path, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact, out = make_artifact(), tmp_path / "results.csv"
    command(cli.predict, artifact, images, "--out", out)
    whole = out.read_bytes()
    out.write_bytes(whole[: len(whole) // 2])
    (images / "z.png").write_bytes(WHITE)

    finished = command(cli.predict, artifact, images, "--out", out)
    again = command(cli.predict, artifact, images, "--out", out)

    assert "6 images, " in finished.out
    assert "done before" in finished.out
    assert "6 done before" in again.out
    assert out.read_bytes().startswith(whole)
    assert [row["path"] for row in read_rows(out)][-1] == "z.png"
    assert len(read_rows(out)) == 6
    assert read_rows(out)[0]["label"] == "bright"
    assert read_rows(out)[0]["in_distribution"] == ""


def test_what_cannot_be_done_is_one_line(
    command: Command, images: Path, make_artifact: MakeArtifact, tmp_path: Path
) -> None:
    artifact, out = make_artifact(), tmp_path / "results.csv"
    (tmp_path / "empty").mkdir()
    calls = {
        "is not an artifact": (tmp_path / "none", images, "--out", out),
        "has no image": (artifact, tmp_path / "empty", "--out", out),
        "No such file or directory": (artifact, tmp_path / "none", "--out", out),
        "Is a directory": (artifact, images, "--out", tmp_path),
        "has no int8 model": (artifact, images, "--out", out, "--precision", "int8"),
        "no thresholds for prediction sets": (artifact, images, "--out", out, "--coverage", 0.9),
        "RESNET_PROVIDER": (artifact, images, "--out", out, "--provider", "tpu"),
    }
    for message, arguments in calls.items():
        finished = command(cli.predict, *arguments)

        assert finished.code == 1, message
        assert finished.err.count("\n") == 1
        assert finished.err.startswith("error: ")
        assert message in finished.err
    assert not out.exists()


def test_numbers_that_are_not_finite_are_a_row_with_a_reason(
    command: Command,
    images: Path,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    run = Engine.run

    def not_finite(engine: Engine, images: Pixels) -> BatchOutputs:
        outputs = run(engine, images)
        outputs.logits[0] = np.nan if len(images) == 2 else 0  # the golden answers are fewer
        return outputs

    monkeypatch.setattr(Engine, "run", not_finite)
    out = tmp_path / "results.csv"

    command(cli.predict, make_artifact(), images, "--out", out)

    assert "not finite" in read_rows(out)[0]["error"]
    assert read_rows(out)[2]["label"] in ("dark", "bright")


def test_ctrl_c_keeps_the_rows_and_says_how_to_continue(
    command: Command,
    images: Path,
    make_artifact: MakeArtifact,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "predict_files", interrupt)
    out = tmp_path / "results.csv"

    finished = command(cli.predict, make_artifact(), images, "--out", out)

    assert finished.code == 130
    assert finished.err == f"interrupted; run the same command again to continue {out}\n"


def test_a_log_gets_a_line_every_half_minute(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = iter([0.0, 10.0, 40.0, 45.0])
    monkeypatch.setattr("service.offline.progress.time.monotonic", lambda: next(clock))
    lines = _Lines(3_000)

    for _ in range(3):
        lines.advance(500)

    assert capsys.readouterr().err == "1,000 of 3,000 images, 25 a second, 1 min left\n"
