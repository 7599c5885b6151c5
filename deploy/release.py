"""Build a release from the last commit, and check each part of it as a user would first use it.

`make release` calls this after `make sbom`. Nothing is published: the files are in `dist/`.
The wheel is built twice, from the source tree and from the sdist, and must be the same. It is
installed in a fresh environment, away from the sources. The image runs without rights.
"""

import argparse
import hashlib
import io
import json
import os
import re
import shlex
import shutil
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
import tomllib
import urllib.request
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
ARTIFACT = ROOT / "artifacts/fashion-mnist/1"
BOOT = ROOT / "docs/images/boot.png"
SERVING = ("serve-model", "predict-model", "plan-capacity", "describe-model")
TRAINING = ("train-model", "evaluate-model", "export-model")
START_S = 60
ADDRESS = "127.0.0.1"


def main() -> None:
    """Build, check, and write the digests."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docker-build", default="", help="More options for `docker build`.")
    options = shlex.split(parser.parse_args().docker_build)
    with tempfile.TemporaryDirectory(prefix="release-") as folder:
        work = Path(folder)
        source = export_commit(work / "source")
        version = str(tomllib.loads((source / "pyproject.toml").read_text())["project"]["version"])
        say(f"version {version}")
        wheel = build_packages(source, work)
        check_versions(version, source)
        check_wheel(wheel, version, work)
        check_image(build_image(source, version, options), version)
    parts = sorted(file for file in DIST.iterdir() if file.suffix in {".whl", ".gz", ".json"})
    digests = [f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in parts]
    (DIST / "SHA256SUMS").write_text("".join(digests))
    say(f"written: {', '.join(file.name for file in parts)}")


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def demand(is_so: bool, text: str) -> None:
    """End with one line unless something is so."""
    if not is_so:
        sys.exit(f"error: {text}")


def run(*command: object, cwd: Path = ROOT, **variables: str) -> str:
    """Run a command in an environment that names no sources; give what it printed."""
    done = subprocess.run(
        [*map(str, command)],
        cwd=cwd,
        env=environment() | variables,
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    demand(done.returncode == 0, f"{shlex.join(map(str, command))} ended with {done.returncode}")
    return done.stdout


def environment() -> dict[str, str]:
    """Leave out what would lead to the sources, and the service's settings."""
    return {
        name: value
        for name, value in os.environ.items()
        if name not in {"PYTHONPATH", "VIRTUAL_ENV"} and not name.startswith("RESNET_")
    }


def export_commit(target: Path) -> Path:
    """Write the files of the last commit, without uncommitted ones."""
    demand(not run("git", "status", "--porcelain"), "commit first: a release is of a commit")
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=ROOT, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
        files.extractall(target, filter="data")
    return target


def build_packages(source: Path, work: Path) -> Path:
    """Build sdist and wheel, and compare the wheel with that of the sdist."""
    lock = ("--build-constraints", source / "requirements/build.txt", "--require-hashes")
    uv = (Path(sys.executable).with_name("uv"), "build", "--quiet", "--no-config", *lock)
    epoch = run("git", "log", "-1", "--format=%ct").strip()
    run(*uv, "--sdist", "--out-dir", DIST, source, SOURCE_DATE_EPOCH=epoch)
    run(*uv, "--wheel", "--out-dir", DIST, source, SOURCE_DATE_EPOCH=epoch)
    (sdist,), (wheel,) = DIST.glob("resnet_service-*.tar.gz"), DIST.glob("*.whl")
    run(*uv, "--wheel", "--out-dir", work / "again", sdist, SOURCE_DATE_EPOCH=epoch)
    (again,) = (work / "again").glob("*.whl")
    here, there = contents(wheel), contents(again)
    different = {name for name in here.keys() | there.keys() if here.get(name) != there.get(name)}
    demand(not different, f"the sdist builds another wheel: {sorted(different)[:5]}")
    say(f"{wheel.name}: {len(here)} files, the same from {sdist.name}")
    return wheel


def contents(wheel: Path) -> Mapping[str, bytes]:
    """Read the files of a wheel."""
    with zipfile.ZipFile(wheel) as files:
        return {name: files.read(name) for name in files.namelist()}


def check_versions(version: str, source: Path) -> None:
    """Compare the versions in names, metadata, changelog and SBOM."""
    headings = re.findall(r"^## (\S+)", (source / "CHANGELOG.md").read_text(), re.M)
    (sbom,) = DIST.glob("sbom-*.cdx.json")
    (sdist,), (wheel,) = DIST.glob("resnet_service-*.tar.gz"), DIST.glob("*.whl")
    with tarfile.open(sdist) as files:
        root = files.getnames()[0].partition("/")[0]
        member = files.extractfile(f"{root}/PKG-INFO")
        metadata = member.read().decode() if member else ""
    found = {
        "CHANGELOG.md": headings[1],
        sbom.name: json.loads(sbom.read_bytes())["metadata"]["component"]["version"],
        sdist.name: next(iter(re.findall(r"^Version: (.+)$", metadata, re.M)), ""),
        wheel.name: wheel.name.split("-")[1],
    }
    wrong = {name: other for name, other in found.items() if other != version}
    demand(not wrong, f"not version {version}: {wrong}")


def check_wheel(wheel: Path, version: str, work: Path) -> None:
    """Install the wheel away from the sources; serve with it, then add what training needs."""
    run(sys.executable, "-m", "venv", work / "venv")
    binaries = work / "venv/bin"
    pip = (binaries / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check")
    locked = (*pip, "--no-deps", "--require-hashes", "-r")
    run(*locked, "requirements/cpu.txt")
    run(*pip, "--no-deps", wheel)
    where = run(binaries / "python", "-c", "import service; print(service.__file__)", cwd=work)
    demand(where.startswith(str(work / "venv")), f"the sources were imported: {where}")
    help_of(binaries, SERVING, work)
    with wheel_served(binaries, work) as port:
        ask(port, version)
    say("wheel: serves, and its commands have their help")
    run(*locked, "requirements/training.txt")
    run(*pip, f"{wheel}[cpu,training]")  # torch, as the Makefile installs it
    help_of(binaries, TRAINING, work)
    say("wheel with the extra training: its commands have their help")


def help_of(binaries: Path, commands: tuple[str, ...], cwd: Path) -> None:
    """Ask each command for its help."""
    for command in commands:
        demand("Example: " in run(binaries / command, "--help", cwd=cwd), f"{command} has no help")


@contextmanager
def wheel_served(binaries: Path, work: Path) -> Iterator[int]:
    """Serve the included artifact; afterwards it must end with 0."""
    with socket.create_server((ADDRESS, 0)) as free:
        port: int = free.getsockname()[1]
    log = work / "log"
    with log.open("w") as stderr:
        server = subprocess.Popen(
            [binaries / "serve-model", ARTIFACT, "--port", str(port)],
            cwd=work,
            env=environment(),
            stderr=stderr,
        )
        try:
            yield port
        finally:
            server.terminate()
            code = server.wait(START_S)
    demand(code == 0, f"serve-model ended with {code}: {log.read_text()[-500:]}")


def ask(port: int, version: str) -> None:
    """Wait until the service is ready, and ask for its version and the label of a boot."""
    deadline = time.monotonic() + START_S
    while True:
        try:
            fetch(port, "/readyz")
            break
        except OSError:
            demand(time.monotonic() < deadline, f"nothing ready on port {port}")
            time.sleep(0.2)
    found = fetch(port, "/v2")["version"]
    demand(found == version, f"the service says that it is version {found}")
    answer = fetch(port, "/predict", BOOT.read_bytes())
    label = answer["results"][0]["predictions"][0]["label"]
    demand(label == "Ankle boot", f"the boot was taken for {label}")


def fetch(port: int, path: str, image: bytes | None = None) -> Any:
    """Ask without a proxy; POST an image if there is one."""
    request = urllib.request.Request(
        f"http://{ADDRESS}:{port}{path}", image, {"Content-Type": "image/png"}
    )
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=30) as response:
        return json.loads(response.read())


def build_image(source: Path, version: str, options: list[str]) -> str:
    """Build the image and save it as a file for `docker load`."""
    demand(shutil.which("docker") is not None, "there is no Docker to build the image with")
    image = f"resnet-service:{version}"
    run("docker", "build", "--quiet", *options, "--tag", image, source)
    plain = DIST / f"resnet-service-{version}-image.tar"
    run("docker", "save", "--output", plain, image)
    run("gzip", "--force", "--fast", plain)
    return image


def check_image(image: str, version: str) -> None:
    """Run the image read-only, without root and capabilities, and ask it."""
    rights = ("--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL")  # noqa: S108  # of the container
    safe = ("--security-opt", "no-new-privileges", "--publish", f"{ADDRESS}::8000")
    name = run("docker", "run", "--detach", *rights, *safe, image).strip()
    try:
        port = run("docker", "port", name, "8000").strip().rpartition(":")[2]
        ask(int(port), version)
        user = run("docker", "exec", name, "id", "-u").strip()
        demand(user not in {"", "0"}, "the container runs as root")
        run("docker", "stop", name)
        code = run("docker", "inspect", "--format", "{{.State.ExitCode}}", name).strip()
        demand(code == "0", f"the container ended with {code}")
    finally:
        run("docker", "rm", "--force", name)
    say(f"{image}: serves as user {user}, read-only, without capabilities")


if __name__ == "__main__":
    main()
