"""Keys of runs."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

from orchestrator.store import Store
from orchestrator.tracking.tree import RunTree


def keys(folder: Path) -> list[str]:
    tree = RunTree(Store(folder), "demo", "sweep")
    return [tree.key(), tree.key(0), tree.key(0, "c/a", 1)]


def test_the_same_place_is_the_same_run_for_every_command_on_a_store(tmp_path: Path) -> None:
    first = keys(tmp_path)

    assert keys(tmp_path) == first
    assert len(set(first)) == 3
    assert RunTree(Store(tmp_path), "demo", "nested").key() not in first


def test_another_store_has_other_runs_and_a_copy_the_same(tmp_path: Path) -> None:
    first = keys(tmp_path / "one")
    shutil.copytree(tmp_path / "one", tmp_path / "copy")

    assert not set(keys(tmp_path / "other")) & set(first)
    assert keys(tmp_path / "copy") == first


def test_a_worker_has_the_keys_of_its_driver(tmp_path: Path) -> None:
    tree = RunTree(Store(tmp_path), "demo", "sweep")

    assert pickle.loads(pickle.dumps(tree)).key(0) == tree.key(0)
