"""Who may import whom: the tables of docs/architecture.md, held against every import.

Files are found by walking the folders, so that a new one is covered from its first day.
"""

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from pathlib import Path
from types import MappingProxyType

import pytest

ROOT = Path(__file__).parents[1]
SIDES = ("model", "service", "training")

GROUND: Mapping[str, frozenset[str]] = MappingProxyType(
    {  # files that every package of their side may import, and that import none of its packages
        "model": frozenset({"model.limits", "model.printable", "model.validation"}),
        "service": frozenset(
            {
                "service.cancellation",
                "service.cpus",
                "service.errors",
                "service.fault",
                "service.log",
                "service.memory",
                "service.settings",
                "service.stderr",
                "service.threads",
            }
        ),
        "training": frozenset({"training.distributed", "training.errors"}),
    }
)
KNOWS: Mapping[str, str] = MappingProxyType(
    {  # package or file -> packages and files of its side that it may import, beside the ground
        "model.architecture": "",
        "model.images": "",
        "model.preprocessing": "images",
        "model.artifact": "architecture images preprocessing",
        "model.drawing": "architecture",
        "model.network": "architecture preprocessing",
        "model.weights": "architecture network",
        "model.cli": "architecture drawing",
        "service.preprocessing": "",
        "service.inference": "",
        "service.server": "",
        "service.postprocessing": "inference preprocessing",
        "service.registry": "postprocessing inference preprocessing",
        "service.observability": "registry postprocessing",
        "service.api": "registry postprocessing observability",
        "service.app": "api registry observability server",
        "service.offline": "registry postprocessing inference preprocessing",
        "service.capacity": "",
        "service.cli": "run",
        "service.healthcheck": "",
        "service.run": "app registry observability server",
        "training.data": "",
        "training.recipe": "",
        "training.plots": "",
        "training.runs": "recipe data",
        "training.evaluation": "runs data plots",
        "training.trust": "evaluation data",
        "training.fit": "evaluation runs recipe data plots",
        "training.export": "trust evaluation runs recipe data",
        "training.cli": "data recipe plots runs evaluation trust fit export",
    }
)
ALLOWED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {  # library -> the packages or files that may import it
        "torch": ("model.network", "model.weights", "training"),
        "pytorch_lightning": ("training.fit",),
        "torchmetrics": ("training",),
        "matplotlib": ("training",),
        "onnx": ("training.export",),
        "onnxscript": ("training.export",),
        "onnxruntime": ("service.inference.engine", "training.evaluation", "training.export"),
        "fastapi": ("service.app", "service.api"),
        "starlette": ("service.app", "service.api"),
        "uvicorn": ("service.server",),
        "grpc": ("service.api.grpc",),
        "google": ("service.api.grpc",),
        "opentelemetry": ("service.observability.tracing",),
        "service": ("service",),
        "training": ("training",),
        "model": SIDES,
        "experiments": (),
        "benchmarks": (),
        "fuzz": (),
        "deploy": (),
        "ray": (),
    }
)


def _modules() -> dict[str, Path]:
    """Dotted name -> file, of all sides."""
    found = {}
    for path in sorted(file for side in SIDES for file in (ROOT / side).rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = _modules()
TORCH_FREE_WEIGHTS = ("model.weights.labels", "model.weights.normalization")
WITHOUT_TORCH = [
    name
    for name in MODULES
    if name in TORCH_FREE_WEIGHTS
    or not name.startswith(("training", "model.network", "model.weights"))
]
NEEDS_TORCH = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed"
)


def _package(module: str) -> str:
    """Name the package of a side that a module is in, or the module itself at a side's root."""
    return ".".join(module.split(".")[:2])


def _imports(path: Path) -> set[str]:
    """Dotted names of every module that a file imports, wherever in the file it does so."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            inner = {f"{module}.{alias.name}" for alias in node.names}
            names |= (inner & MODULES.keys()) or {module}
    return names


def _known(package: str) -> set[str]:
    """Packages and root files of its own side that a package's modules import, ground aside."""
    side = package.partition(".")[0]
    imported = {
        _package(name)
        for module, path in MODULES.items()
        if _package(module) == package
        for name in _imports(path)
        if name.partition(".")[0] == side
    }
    return imported - GROUND[side] - {package, side}


def _allowed(package: str) -> set[str]:
    return {f"{package.partition('.')[0]}.{name}" for name in KNOWS[package].split()}


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
"""Imports each module where none of ours is loaded yet; the libraries are, which take most time."""


def _loaded_alone(modules: Sequence[str]) -> dict[str, set[str]]:
    """Top-level names that are loaded where one module was imported alone, for each of them."""
    named = {name for module in modules for name in _imports(MODULES[module])}
    libraries = sorted(name for name in named if name.partition(".")[0] not in SIDES)
    run = subprocess.run(
        [sys.executable, "-c", ALONE, ",".join(libraries), ",".join(modules)],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=ROOT,
    )
    lines = [line.split() for line in run.stdout.splitlines()]
    return {module: {name.partition(".")[0] for name in names} for module, *names in lines}


def _inside(*packages: str) -> list[str]:
    return [name for name in MODULES if _package(name) in packages]


def _floors(side: str) -> int:
    """Count the packages on the longest way down through a side's imports."""
    order = TopologicalSorter({name: _known(name) for name in KNOWS if name.startswith(side)})
    height: dict[str, int] = {}
    for package in order.static_order():
        height[package] = 1 + max((height[below] for below in _known(package)), default=0)
    return max(height.values())


def test_every_module_is_of_the_ground_or_in_the_table() -> None:
    ground = {name for names in GROUND.values() for name in names}

    unknown = {_package(name) for name in MODULES} - KNOWS.keys() - ground - set(SIDES)

    assert len(MODULES) > 150
    assert not unknown


@pytest.mark.parametrize("package", sorted(KNOWS))
def test_a_package_imports_only_what_the_table_allows(package: str) -> None:
    assert _known(package) <= _allowed(package)


@pytest.mark.parametrize("side", SIDES)
def test_the_ground_imports_no_package(side: str) -> None:
    for module in GROUND[side] & MODULES.keys():
        assert not _known(module), module


@pytest.mark.parametrize(("side", "most"), [("model", 4), ("service", 8), ("training", 6)])
def test_the_imports_of_a_side_have_few_floors_and_no_circle(side: str, most: int) -> None:
    assert 1 < _floors(side) <= most


@pytest.mark.parametrize("library", sorted(ALLOWED))
def test_a_library_is_imported_only_where_the_table_says(library: str) -> None:
    importers = {
        name
        for name, path in MODULES.items()
        if library in {imported.partition(".")[0] for imported in _imports(path)}
    }

    places = tuple(f"{place}." for place in ALLOWED[library])
    assert not {name for name in importers if not f"{name}.".startswith(places)}


def test_each_module_that_serves_is_imported_alone_without_torch_onnx_or_training() -> None:
    loaded = _loaded_alone(WITHOUT_TORCH)

    assert loaded.keys() == set(WITHOUT_TORCH)
    assert {"service", "model", "fastapi"} <= loaded["service.app"]
    heavy = {"torch", "onnx", "onnxscript", "training", "pytorch_lightning"}
    assert not {module for module, names in loaded.items() if names & heavy}


@pytest.mark.parametrize(
    ("packages", "never"),
    [
        (("model.artifact", "model.drawing"), {"service", "fastapi", "onnxruntime"}),
        (("service.preprocessing",), {"fastapi", "starlette", "uvicorn", "onnxruntime"}),
        (("service.inference",), {"fastapi", "starlette", "uvicorn"}),
        (("service.server",), {"fastapi", "onnxruntime"}),
    ],
)
def test_a_lower_package_never_loads_what_is_above(
    packages: tuple[str, ...], never: set[str]
) -> None:
    assert not _loaded_by(*_inside(*packages)) & never


def test_what_serves_grpc_is_imported_by_one_function_alone() -> None:
    """The service runs without grpc unless a setting asks for it."""
    inside = "service.api.grpc"
    importers = {
        name
        for name, path in MODULES.items()
        if not name.startswith(inside) and any(each.startswith(inside) for each in _imports(path))
    }
    at_import = {
        node.module
        for node in ast.parse(MODULES["service.app"].read_text(encoding="utf-8")).body
        if isinstance(node, ast.ImportFrom)
    }

    assert importers == {"service.app"}
    assert "service.api.v2" in at_import
    assert not any(str(module).startswith(inside) for module in at_import)


@NEEDS_TORCH
def test_who_only_trains_loads_neither_onnx_nor_the_service() -> None:
    loaded = _loaded_by(*_inside("training.fit"))

    assert {"torch", "pytorch_lightning"} <= loaded
    assert not loaded & {"onnx", "onnxscript", "service", "fastapi", "uvicorn"}


@NEEDS_TORCH
def test_who_exports_loads_no_trainer() -> None:
    assert not _loaded_by(*_inside("training.export")) & {"pytorch_lightning", "service"}


@pytest.mark.parametrize("side", ["model", "training"])
def test_text_files_are_read_and_written_in_a_named_encoding(side: str) -> None:
    """The locale's would make another file of the same run on another machine."""
    nameless = [
        f"{module}:{node.lineno}"
        for module, path in MODULES.items()
        if module.startswith(side)
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and (node.func.attr in ("read_text", "write_text") or _opens_text(node, node.func))
        and "encoding" not in {keyword.arg for keyword in node.keywords}
    ]

    assert nameless == []


def _opens_text(call: ast.Call, function: ast.Attribute) -> bool:
    others = ("Image", "os", "tarfile")
    is_path = not (isinstance(function.value, ast.Name) and function.value.id in others)
    is_binary = any(isinstance(mode, ast.Constant) and "b" in str(mode.value) for mode in call.args)
    return function.attr == "open" and is_path and not is_binary


def test_imports_inside_functions_are_seen(tmp_path: Path) -> None:
    file = tmp_path / "late.py"
    file.write_text("def f():\n    import torch.nn as nn\n    from model import network\n")

    assert _imports(file) == {"torch.nn", "model.network"}


def test_a_circle_is_an_error() -> None:
    with pytest.raises(ValueError, match="nodes are in a cycle"):
        list(TopologicalSorter({"a": {"b"}, "b": {"a"}}).static_order())


def test_the_walk_sees_every_file() -> None:
    def files() -> Iterator[Path]:
        for side in SIDES:
            yield from (ROOT / side).rglob("*.py")

    assert len(MODULES) == len(set(files()))
