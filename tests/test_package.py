"""The package as a whole: what importing it costs, its public names, which module imports which, its doctests."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.metadata
import os
import re
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

import gpu_stackcorr

ROOT = Path(gpu_stackcorr.__file__).parent
MODULES = {
    ".".join(("gpu_stackcorr", *path.relative_to(ROOT).with_suffix("").parts)).removesuffix(".__init__"): path
    for path in sorted(ROOT.rglob("*.py"))
    if not path.relative_to(ROOT).parts[0].startswith("_bench")
}

_MODULES = {"notebook", "transforms"}
"""Public names that are modules."""

LAYERS = (
    {"errors"},
    {"nearest_correlation", "threads"},
    {"moments", "random_fields", "records"},
    {"control_grids", "cross_moments", "depth_records"},
    {"backends"},
    {"arrays", "intervals"},
    {"deformation_checks"},
    {"displacement_fields", "folds", "inverse_points"},
    {"inversion"},
    {"compositions", "deformation", "ndimage", "recipes", "slice_pairs"},
    {"block_deformation", "transforms"},
    {"battery"},
    {"measurement"},
    {"shift_search"},
    {"shifts"},
    {"correlation", "decorrelation"},
    {"matrices"},
    {"lags", "outlier_search"},
    {"notebook", "outliers", "pipeline"},
    {"distributed"},
    {"benchmarks", "report"},
    {"cli"},
)
"""The top-level modules and packages, lowest first: one imports what stands below it, or what is in its own package."""

LEAVES = {
    "phantoms": {"errors", "records", "random_fields"},
    "matrix_plots": {"depth_records", "errors", "plots", "records"},
    "deformation_plots": {"arrays", "errors", "folds", "plots"},
    "plots": {"errors", "records"},
    "volumes": {"errors", "records"},
}
"""What hangs beside the layers, and all that it may import; report, cli and pipeline may import it."""

ABOVE_LEAVES = {"pipeline", "report", "cli"}

EXCEPTIONS = {("records", "plots"), ("depth_records", "matrix_plots"), ("folds", "deformation_plots")}
"""Arrows that may run back, inside a function: a record draws itself."""

LAZY = {"PIL", "cupy", "cupyx", "dask", "h5py", "matplotlib", "numba", "pandas", "tifffile", "torch", "zarr"}
"""Libraries that are imported on first use."""

OWN_LIBRARIES = {"cupy": "backends.cuda_", "cupyx": "backends.cuda_", "numba": "backends.numba_", "dask": "distributed"}
"""Libraries that one place alone may import."""


def python(code: str) -> str:
    """Return what a fresh interpreter prints, with warnings as errors and the package on its path."""
    path = os.pathsep.join(filter(None, (str(ROOT.parent), os.environ.get("PYTHONPATH"))))
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, env=environment, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_importing_the_package_imports_the_standard_library_alone():
    code = "import sys; old = set(sys.modules); import gpu_stackcorr; print(*(set(sys.modules) - old))"
    new = {name.partition(".")[0] for name in python(code).split()}
    assert new - set(sys.stdlib_module_names) <= {"gpu_stackcorr", "numpy"}


def test_computing_imports_no_plots_tables_or_file_formats():
    code = """if True:
        import sys, numpy as np, gpu_stackcorr as g
        old = set(sys.modules)
        stack = np.random.default_rng(0).integers(0, 256, (3, 1, 8, 8), np.uint8)
        g.stack_correlation(stack, noise=1, seed=1).confidence_interval()
        g.transform_battery(stack, [g.transforms.Elastic(3, 2)], seed=1, backend="numpy").to_json()
        g.notebook.z_correlation(stack, g.notebook.identity, plot=False)
        g.available_backends()
        print(*(set(sys.modules) - old))"""
    new = {name.partition(".")[0] for name in python(code).split()}
    assert not new & (LAZY - {"cupy", "cupyx", "numba"})


def test_version_is_that_of_the_installed_distribution():
    assert re.fullmatch(r"\d+\.\d+\.\d+([.a-z+-].*)?", gpu_stackcorr.__version__)
    try:
        installed = importlib.metadata.version("gpu-stackcorr")
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("gpu-stackcorr runs from its source tree and is not installed")
    assert gpu_stackcorr.__version__ == installed


@pytest.mark.parametrize("name", sorted(set(gpu_stackcorr.__all__) - {"__version__", "open_volume"}))
def test_public_names_resolve_and_are_documented(name):
    value = getattr(gpu_stackcorr, name)
    assert isinstance(value, types.ModuleType) or callable(value)
    assert len((value.__doc__ or "").strip()) > 20


def test_open_volume_resolves_and_is_documented():
    pytest.importorskip("tifffile")
    assert "path" in gpu_stackcorr.open_volume.__doc__


def test_names_of_the_modules():
    from gpu_stackcorr import notebook, transforms

    for name in ("identity", "flip_right_left", "flip_up_down", "rotate_90", "AddNoise", "Elastic", "Compose"):
        assert hasattr(transforms, name)
    for name in (
        *("image_correlation", "z_correlation", "identity", "flip_right_left", "flip_up_down"),
        *("elastic_transform", "grid_lines"),
    ):
        assert len(getattr(notebook, name).__doc__) > 20


def test_dir_and_unknown_names():
    assert set(gpu_stackcorr.__all__) <= set(dir(gpu_stackcorr))
    assert sorted(set(gpu_stackcorr.__all__)) == sorted(gpu_stackcorr.__all__)
    with pytest.raises(AttributeError, match="no attribute 'stack_corelation'"):
        _ = gpu_stackcorr.stack_corelation


def test_no_public_function_has_the_name_of_a_module():
    """Importing the module would put it in the function's place."""
    functions = set(gpu_stackcorr.__all__) - _MODULES
    assert not {name for name in functions if f"gpu_stackcorr.{name}" in MODULES}


# Which module imports which.


def top(module: str) -> str:
    """Return the top-level module or package of the project that `module` is in."""
    return module.split(".")[1] if "." in module else ""


def imported_names(module: str, node: ast.Import | ast.ImportFrom) -> list[str]:
    """Return the full names of the modules that a statement imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    base = node.module or ""
    if node.level:
        package = module.split(".") if MODULES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join(filter(None, (*package[: len(package) - node.level + 1], base)))
    inside = [f"{base}.{alias.name}" for alias in node.names]
    return [name if name in MODULES else base for name in inside]


def imports(module: str) -> Iterator[tuple[str, bool, int]]:
    """Yield what a module imports: its name, whether when the module is, and the line. Not what only types need."""

    def walk(node: ast.AST, at_import: bool) -> Iterator[tuple[str, bool, int]]:
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for child in node.orelse:
                yield from walk(child, at_import)
            return
        if isinstance(node, ast.Import | ast.ImportFrom):
            for name in imported_names(module, node):
                yield name, at_import, node.lineno
        inside = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for child in ast.iter_child_nodes(node):
            yield from walk(child, at_import and not inside)

    yield from walk(ast.parse(MODULES[module].read_text(encoding="utf-8")), True)


def may_import(source: str, target: str, at_import: bool) -> bool:
    """Whether an arrow from one top-level name to another points the right way."""
    layer = {name: number for number, names in enumerate(LAYERS) for name in names}
    if source == target or (not at_import and (source, target) in EXCEPTIONS):
        return True
    if source in LEAVES:
        return target in LEAVES[source]
    if target in LEAVES:
        return source in ABOVE_LEAVES
    return layer[target] < layer[source]


def test_the_rule_knows_an_arrow_that_runs_back():
    assert may_import("correlation", "battery", True)
    assert not may_import("battery", "correlation", True)
    assert not may_import("battery", "correlation", False)
    assert not may_import("arrays", "intervals", True)
    assert may_import("records", "plots", False)
    assert not may_import("records", "plots", True)
    assert not may_import("volumes", "arrays", True)
    assert not may_import("correlation", "phantoms", False)


def test_every_module_has_its_place():
    placed = set().union(*LAYERS) | set(LEAVES) | {"", "__main__"}
    assert {top(module) for module in MODULES} <= placed


def test_imports_point_one_way():
    wrong = {
        f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}"
        for module in MODULES
        if top(module) not in ("", "__main__")
        for name, at_import, line in imports(module)
        if name.startswith("gpu_stackcorr.") and not may_import(top(module), top(name), at_import)
    }
    assert not wrong


def test_there_are_no_cycles_of_imports():
    graph = {m: {name for name, at_import, _ in imports(m) if at_import and name in MODULES} - {m} for m in MODULES}
    # A package and its own modules load each other by rights: the package's names are asked for when it is complete.
    while ready := [module for module, targets in graph.items() if not targets & graph.keys()]:
        for module in ready:
            del graph[module]
    assert not graph


def test_the_package_itself_imports_none_of_its_modules():
    assert {name for name, at_import, _ in imports("gpu_stackcorr") if at_import} == {
        "__future__",
        "importlib",
        "typing",
    }


def test_optional_libraries_are_imported_on_first_use_and_in_one_place():
    wrong = []
    for module in MODULES:
        for name, at_import, line in imports(module):
            library = name.partition(".")[0]
            home = OWN_LIBRARIES.get(library)
            inside = home is not None and module.startswith(f"gpu_stackcorr.{home}")
            if (library in LAZY and at_import and not inside) or (home is not None and not inside):
                wrong.append(f"{MODULES[module].relative_to(ROOT)}:{line} imports {name}")
    assert not wrong


# Size and documentation.


@pytest.mark.parametrize("module", MODULES)
def test_modules_are_short_and_say_what_they_are(module):
    text = MODULES[module].read_text(encoding="utf-8")
    assert len(text.splitlines()) < 400
    tree = ast.parse(text)
    assert ast.get_docstring(tree)
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) and len(node.body) > 1 else node.body
            assert (node.end_lineno or 0) - body[0].lineno < 50, f"{module}:{node.name}"


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"gpu_stackcorr.__main__", "gpu_stackcorr.cli.__main__"}))
def test_doctests(module):
    try:
        loaded = importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("gpu_stackcorr"):
            raise
        pytest.skip(f"{error.name} is not installed")
    failed, _ = doctest.testmod(loaded, optionflags=doctest.ELLIPSIS)
    assert failed == 0


def test_there_are_doctests():
    finder = doctest.DocTestFinder()
    for name in (
        "arrays",
        "correlation",
        "decorrelation",
        "deformation",
        "displacement_fields",
        "notebook",
        "transforms.compose",
    ):
        found = finder.find(importlib.import_module(f"gpu_stackcorr.{name}"))
        assert any(test.examples for test in found), name


def test_the_python_of_the_readme_runs(tmp_path, monkeypatch):
    readme = Path(__file__).parents[1] / "README.md"
    if not readme.is_file():
        pytest.skip("there is no README beside the package")
    code = "".join(re.findall(r"```python\n(.*?)```", readme.read_text(encoding="utf-8"), re.DOTALL))
    monkeypatch.chdir(tmp_path)
    exec(compile(code, str(readme), "exec"), {})
    assert (tmp_path / "battery.csv").read_text().startswith("transform,")
