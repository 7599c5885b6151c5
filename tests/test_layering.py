"""Who may import whom: training -> model <- service, and heavy libraries only in their rooms.

Each module is found by walking the folders, so that a new one is covered from its first day.
"""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("model", "service", "training")


def _modules(package: str) -> dict[str, Path]:
    """Dotted name -> file, for every module of a package."""
    found = {}
    for path in sorted((ROOT / package).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = {package: _modules(package) for package in PACKAGES}
EVERY_MODULE = {name: path for package in PACKAGES for name, path in MODULES[package].items()}
WITH_TORCH = (
    "model.blocks",
    "model.network",
    "model.weights",
    "model.weights_file",
    "model.weights_head",
    "model.weights_names",
)
TORCH_HALF = [name for name in MODULES["model"] if name.startswith(WITH_TORCH)]
SERVED = [name for name in (*MODULES["model"], *MODULES["service"]) if name not in TORCH_HALF]
TRAINED = [*TORCH_HALF, *MODULES["training"]]

ALLOWED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {  # library -> the rooms, or whole packages, that may name it in an import
        "torch": (*WITH_TORCH, "training"),
        "pytorch_lightning": ("training",),
        "torchmetrics": ("training",),
        "matplotlib": ("training",),
        "onnx": ("training.graph", "training.quantize"),
        "onnxruntime": (
            "service.engine",
            "training.predict",
            "training.quantize",
        ),
        "fastapi": ("service.app", "service.routes"),
        "opentelemetry": ("service.tracing",),
        "service": ("service",),
        "training": ("training",),
        "model": PACKAGES,
    }
)
SERVICE_KNOWS: Mapping[str, set[str]] = MappingProxyType(
    {  # the rooms that know nearly none of the others
        "service.errors": set(),
        "service.settings": {"service.errors"},
        "service.schemas": {"service.errors"},
        "service.decode": {"service.errors"},
        "service.engine": {"service.bound", "service.errors", "service.quota"},
        "service.log": {"service.stderr"},
        "service.stderr": set(),
        "service.plan": set(),
        "service.quota": set(),
        "service.usage": set(),
        "service.submission": {"service.errors"},
        "service.turn": {"service.errors", "service.submission"},
        "service.overload": {"service.errors"},
        "service.admission": {"service.overload", "service.plan"},
        "service.finishing": {"service.overload", "service.plan", "service.threads"},
        "service.ranking": {"service.schemas"},
        "service.batcher": {
            "service.admission",
            "service.errors",
            "service.log",
            "service.plan",
            "service.submission",
            "service.turn",
        },
    }
)


@cache
def _imports(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            names |= (inner & EVERY_MODULE.keys()) or {module}
    return names


def _is_inside(module: str, rooms: tuple[str, ...]) -> bool:
    return any(module == room or module.startswith(f"{room}.") for room in rooms)


def _loaded_by(*modules: str) -> set[str]:
    """Top-level names that a fresh interpreter has loaded after the imports."""
    code = (
        f"import sys, {', '.join(modules)}; "
        "print(*(name for name, module in sys.modules.items() if module))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT
    )
    return {name.partition(".")[0] for name in run.stdout.split()}


ALONE = """
import importlib, os, sys
libraries, modules = (names.split(",") for names in sys.argv[1:])
for name in libraries:
    try:
        importlib.import_module(name)
    except ImportError:
        pass  # one that is optional
for name in modules:
    if os.fork() == 0:
        importlib.import_module(name)
        print(name, *(each for each, module in sys.modules.items() if module), flush=True)
        os._exit(0)
    os.wait()
"""
"""Imports each module in a process where none of ours is loaded yet, but the libraries are."""


@pytest.fixture(scope="module")
def loaded_alone() -> dict[str, set[str]]:
    """Top-level names that are loaded where one module of what serves was imported alone.

    The libraries that they name are loaded once for all, which takes most of the time.
    """
    named = {name for module in SERVED for name in _imports(EVERY_MODULE[module])}
    libraries = [name for name in named if name.partition(".")[0] not in PACKAGES]
    run = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(sorted(libraries)), ",".join(SERVED)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    return {module: {name.partition(".")[0] for name in names} for module, *names in lines}


@pytest.mark.parametrize("package", PACKAGES)
def test_the_walk_finds_modules_in_every_package(package: str) -> None:
    assert package in MODULES[package]
    assert len(MODULES[package]) > 5


@pytest.mark.parametrize("module", SERVED)
def test_what_serves_never_loads_torch_onnx_or_training(
    module: str, loaded_alone: dict[str, set[str]]
) -> None:
    assert module in loaded_alone, "cannot be imported by itself; its traceback is above"
    loaded = loaded_alone[module]

    assert module.partition(".")[0] in loaded
    assert not loaded & {"torch", "onnx", "onnxscript", "training", "pytorch_lightning"}


def test_model_never_loads_the_service_or_an_engine() -> None:
    loaded = _loaded_by(*(name for name in SERVED if name in MODULES["model"]))

    assert not loaded & {"service", "fastapi", "onnxruntime"}


def test_the_lower_rooms_of_the_service_never_load_fastapi() -> None:
    assert "fastapi" not in _loaded_by(*SERVICE_KNOWS)


@pytest.mark.skipif(importlib.util.find_spec("torch") is None, reason="torch is not installed")
def test_what_trains_never_loads_the_service_or_its_libraries() -> None:
    loaded = _loaded_by(*TRAINED)

    assert {"torch", "training"} <= loaded
    assert not loaded & {"service", "fastapi", "uvicorn", "prometheus_client"}


@pytest.mark.parametrize("module", sorted(EVERY_MODULE))
def test_a_module_names_only_libraries_that_its_room_may_use(module: str) -> None:
    named = {name.partition(".")[0] for name in _imports(EVERY_MODULE[module])}

    strangers = {
        library for library in named & ALLOWED.keys() if not _is_inside(module, ALLOWED[library])
    }
    assert not strangers


@pytest.mark.parametrize("module", sorted(SERVICE_KNOWS))
def test_the_lower_rooms_of_the_service_know_only_what_they_build_on(module: str) -> None:
    known = {name for name in _imports(EVERY_MODULE[module]) if _is_inside(name, ("service",))}

    assert known <= SERVICE_KNOWS[module]


@pytest.mark.parametrize("package", ["model", "training"])
def test_text_files_are_read_and_written_in_a_named_encoding(package: str) -> None:
    """The locale's would make another file of the same run on another machine."""
    nameless = [
        f"{module}:{node.lineno}"
        for module, path in MODULES[package].items()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in ("read_text", "write_text") or _opens_text(node, node.func))
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]

    assert nameless == []


def _opens_text(call: ast.Call, function: ast.Attribute) -> bool:
    is_path = not (
        isinstance(function.value, ast.Name) and function.value.id in ("Image", "os", "tarfile")
    )
    is_binary = any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in call.args)
    return function.attr == "open" and is_path and not is_binary


def test_nobody_imports_the_application_but_what_starts_it() -> None:
    importers = {name for name, path in EVERY_MODULE.items() if "service.app" in _imports(path)}

    assert importers <= {"service.cli", "service.supervisor"}


def test_the_look_for_imports_sees_those_inside_functions(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text("def f():\n    import torch.nn as nn\n    from model import network\n")

    assert _imports(file) == {"torch.nn", "model.network"}
