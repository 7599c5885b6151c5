"""Training on the GPU: the step, the loader beside it, resume, and the export of a run."""

import contextlib
import csv
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.gpu.rig import Rig
from benchmarks.images import make_image

TRAIN = "from training.cli.main import train_script; train_script()"
EXPORT = "from training.cli.main import export_script; export_script()"
EVALUATE = "from training.cli.main import evaluate_script; evaluate_script()"
GPU_TESTS = "tests/training/fit/test_cuda.py"
FASHION = Path("tests/data/fashion-mnist")


def _command(code: str, *arguments: object) -> str:
    """Run a command of the project; give what it printed.

    Raises:
        RuntimeError: If it fails, with its last line.
    """
    words = [str(argument) for argument in arguments]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True,
                          check=False)  # fmt: skip
    print(done.stdout, done.stderr)
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or done.stdout.strip()).splitlines()[-1])
    return done.stdout


def _photographs(rig: Rig) -> Path:
    """Make a folder of JPEG files of 100 KB with two labels; each file has bytes of its own."""
    folder, content = rig.out / "photographs", make_image(400, "JPEG", 100_000)
    for number in range(2_000 if rig.on_gpu else 48):
        path = folder / ("even", "odd")[number % 2] / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content + number.to_bytes(4, "big"))  # after the end of the image
    return folder


def _settings(rig: Rig, **more: object) -> list[str]:
    name, batch = ("resnet50", 128) if rig.on_gpu else ("resnet18", 8)
    given = {"architecture": name, "image_size": rig.image_size, "batch_size": batch, **more}
    return [part for field, value in given.items() for part in ("--set", f"{field}={value}")]


def _epochs(run: Path) -> list[dict[str, str]]:
    with (run / "metrics.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def step_speed(rig: Rig) -> None:
    """Images a second of one training step alone: forward, backward, update, on the device."""
    import torch  # noqa: PLC0415  # a step of its own process

    from model.architecture.family import get_architecture  # noqa: PLC0415
    from model.network.resnet import ResNet  # noqa: PLC0415

    device = "cuda" if rig.on_gpu else "cpu"
    size, batch = rig.image_size, 128 if rig.on_gpu else 4
    network = ResNet(get_architecture("resnet50"))
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimizer = torch.optim.SGD(network.parameters(), lr=1e-3, momentum=0.9)
    images = torch.randn(batch, 3, size, size, device=device)
    images = images.contiguous(memory_format=torch.channels_last)
    targets = torch.randint(0, 1000, (batch,), device=device)
    for compiled in (False, True) if rig.on_gpu else (False,):
        forward = torch.compile(network) if compiled else network
        steps, began = 0, 0.0
        for number in range(25 if rig.on_gpu else 4):
            if number == (5 if rig.on_gpu else 1):
                _wait(device)
                steps, began = 0, time.perf_counter()
            with torch.autocast(device, torch.bfloat16):
                loss = torch.nn.functional.cross_entropy(forward(images), targets)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            steps += 1
        _wait(device)
        took = time.perf_counter() - began
        rig.found["compiled" if compiled else "eager"] = {
            "batch": batch,
            "images_per_s": round(steps * batch / took, 1),
        }


def _wait(device: str) -> None:
    if device == "cuda":
        import torch  # noqa: PLC0415

        torch.cuda.synchronize()


def loader_share(rig: Rig) -> None:
    """Train resnet50 from a folder of JPEG files, and mini_resnet; seconds of the second epoch."""
    folder = _photographs(rig)
    for name, recipe in (("in memory", "default"), ("from files", "photos")):
        run = rig.out / "runs" / recipe
        printed = _command(TRAIN, "--data", folder, "--out", run, "--recipe", recipe,
                           *_settings(rig, epochs=2))  # fmt: skip
        last = _epochs(run)[-1]
        rig.found[name] = {
            "epoch_s": float(last["seconds"]) - float(_epochs(run)[0]["seconds"]),
            "told": [line for line in printed.splitlines() if "images/s" in line],
        }
    run = rig.out / "runs" / "fast"
    _command(TRAIN, "--data", FASHION, "--out", run, "--recipe", "fast", "--set", "epochs=2")
    seconds = [float(row["seconds"]) for row in _epochs(run)]
    rig.found["fast, 600 images, second epoch"] = round(seconds[-1] - seconds[0], 2)


def resume(rig: Rig) -> None:
    """Run the tests that need a GPU: devices, no wait in a step, resume, a checkpoint elsewhere."""
    done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-rs", GPU_TESTS],
                          capture_output=True, text=True, check=False)  # fmt: skip
    print(done.stdout, done.stderr)
    rig.found["pytest"] = (done.stdout.strip().splitlines() or ["nothing printed"])[-1]
    if done.returncode or (rig.on_gpu and "skipped" in done.stdout):
        raise RuntimeError(f"{GPU_TESTS} did not pass")


def export_run(rig: Rig) -> None:
    """Evaluate and export the run of `loader_share`; the gate compares with onnxruntime."""
    run, out = rig.out / "runs" / "fast", rig.out / "models" / "fast" / "1"
    rig.found["evaluated"] = _command(EVALUATE, run, "--data", FASHION).strip().splitlines()[-3:]
    with contextlib.suppress(FileNotFoundError):
        rig.found["size_mb"] = round((run / "checkpoints" / "best.ckpt").stat().st_size / 1e6, 1)
    printed = _command(EXPORT, run, "--data", FASHION, "--out", out)
    rig.found["told"] = printed.strip().splitlines()[-4:]
