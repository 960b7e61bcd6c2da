"""import-linter can't look into packages of others; these contracts are about them."""

import ast
from pathlib import Path

import pytest

HOMES = {"ray.serve": {"serve"}, "ray.data": {"batch"}, "ray.tune": {"retrain"}, "ray.train": {"retrain"}}
PACKAGES = ("taxiway", "serve", "batch", "retrain")


def imported(path: Path) -> set[str]:
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


@pytest.mark.parametrize("library", HOMES)
def test_a_library_of_ray_is_imported_only_at_its_home(library: str) -> None:
    users = {
        package
        for package in PACKAGES
        for path in Path(package).rglob("*.py")
        if any(name == library or name.startswith(library + ".") for name in imported(path))
    }
    assert users <= HOMES[library]


def test_the_serve_builder_keeps_its_annotation_at_run_time() -> None:
    assert "__future__" not in imported(Path("serve/app.py"))
