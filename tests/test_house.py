"""Who may import what, where import-linter cannot see: the submodules of other distributions."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parent.parent
ROOMS = {
    "ray.tune": ["orchestrator/sweep/"],
    "ray.train": ["orchestrator/training/launch.py"],
    "mlflow": ["orchestrator/tracking/"],
}


def imported(source: str) -> Iterator[str]:
    """Every module that a source names in an import, as far as its text can say."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def strangers(module: str, allowed: list[str], checkout: Path) -> list[str]:
    """The files outside of ``allowed`` that import ``module`` or something in it."""
    return [
        name
        for package in ("orchestrator", "models", "search_spaces")
        for file in sorted((checkout / package).rglob("*.py"))
        if not (name := file.relative_to(checkout).as_posix()).startswith(tuple(allowed))
        and any(f"{it}.".startswith(f"{module}.") for it in imported(file.read_text("utf-8")))
    ]


@pytest.mark.parametrize("module", ROOMS)
def test_a_library_is_imported_in_its_room_only(module: str) -> None:
    assert strangers(module, ROOMS[module], CHECKOUT) == []


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("import ray.tune", True),
        ("from ray import tune", True),
        ("from ray.tune.search import Searcher", True),
        ("def f():\n    import ray.tune as t", True),
        ("import ray", False),
        ("from ray import train", False),
        ("import ray.tuner", False),
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, line: str, found: bool) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "x.py").write_text(line)

    assert strangers("ray.tune", ["orchestrator/sweep/"], tmp_path) == ["models/x.py"] * found
