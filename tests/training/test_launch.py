"""A fit runs here or under Ray Train, and nobody can tell from the numbers."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import ray.train.torch
import torch
from ray.train import WorkerGroupError

import orchestrator.training.launch as launch_module
from orchestrator.errors import TrainingError
from orchestrator.store import Store
from orchestrator.training.fold_run import run_fold
from orchestrator.training.launch import launch
from orchestrator.training.ranks import Ranks
from orchestrator.training.task import FoldTask, Reporter, Silent
from tests.training.tiny import Home, tensors


def task_on(device: str) -> FoldTask:
    """As much of a task as launching reads."""
    return cast(FoldTask, SimpleNamespace(device=device, seed=0, threads=1))


class Told:
    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        self.rows.append((step, dict(values)))


def test_one_worker_is_this_process(tmp_path: Path) -> None:
    told = Told()

    def fit(folder: Path | None, reporter: Reporter, ranks: Ranks) -> None:
        assert folder is not None
        assert ranks == Ranks(0, 1)

        reporter.metrics({"loss": 1.0}, step=1)
        (folder / "weights").write_bytes(b"w")

    launch(fit, tmp_path, told, task=task_on("cpu"), workers=1)

    assert (tmp_path / "weights").read_bytes() == b"w"
    assert told.rows == [(1, {"loss": 1.0})]


def test_what_the_workers_fitted_is_left_in_the_folder_and_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def on_ray(fit: object, *, task: FoldTask, workers: int) -> Mapping[str, bytes]:
        asked.append((workers, task.device))
        return {"history.json": b'[{"loss": 2.0}, {"loss": 1.0}]', "weights": b"w"}

    monkeypatch.setattr(launch_module, "_fit_on_ray", on_ray)
    told = Told()
    launch(lambda *_: None, tmp_path, told, task=task_on("cpu"), workers=3)
    launch(lambda *_: None, tmp_path, Silent(), task=task_on("cuda:0"), workers=2)

    assert asked == [(3, "cpu"), (2, "cuda:0")]
    assert (tmp_path / "weights").read_bytes() == b"w"
    assert told.rows == [(1, {"loss": 2.0}), (2, {"loss": 1.0})]


def test_only_the_first_rank_writes(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(folder: Path | None, reporter: Reporter, ranks: Ranks) -> None:
        assert (folder is not None) == (ranks.rank == 0)
        assert torch.get_num_threads() == 3
        assert torch.initial_seed() == 11

        if folder is not None:
            (folder / "weights").write_bytes(b"w")

    found = []
    for rank in (0, 1):
        monkeypatch.setattr(Ranks, "current", lambda rank=rank: Ranks(rank, 2))
        found.append(launch_module._worker({"fit": fit, "seed": 11, "threads": 3}))

    assert found == [{"weights": b"w"}, {}]


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        (None, r"2 Ray Train workers failed: distillation became nan"),
        ({}, "2 Ray Train workers returned no weights"),
    ],
)
def test_a_failure_of_the_workers_is_a_failure_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, returned: dict | None, said: str
) -> None:
    class Trainer:
        def __init__(self, *_: object, **__: object) -> None: ...

        def fit(self) -> SimpleNamespace:
            if returned is None:
                # the first rank only lost the second, which knows why
                failures = {0: RuntimeError("gloo"), 1: TrainingError("distillation became nan")}
                raise WorkerGroupError("Traceback (most recent call last):", failures)
            return SimpleNamespace(return_value=returned)

    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    with pytest.raises(TrainingError, match=said):
        launch(lambda *_: None, tmp_path, Silent(), task=task_on("cpu"), workers=2)


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_two_ray_train_workers_fit_the_student_that_one_fits(home: Home, store: Store) -> None:
    """Must show 5: matching first, augmentation, a running average and last batches of four."""
    task = home.task(
        schedule={"kind": "matching-first", "matching_epochs": 2},
        feature_map__match="tokens",
        training__augment={"noise": 0.1, "time_masks": 1, "crop_seconds": 0.8},
        training__average_decay=0.5,
        training__weight_decay=0.1,
    )
    one = run_fold(task, store=store, reporter=Silent())
    told = Told()
    two = run_fold(dataclasses.replace(task, student_workers=2), store=store, reporter=told)

    assert one.artifact.key != two.artifact.key
    assert not two.reused
    assert [step for step, _ in told.rows] == [1, 2, 3, 4, 5]
    here, there = (
        np.load(outcome.artifact.path / "validation_logits.npy") for outcome in (one, two)
    )
    np.testing.assert_allclose(there, here, atol=1e-5, rtol=0)
    assert (one.epoch, one.parameters) == (two.epoch, two.parameters)
    for name, value in tensors(one.artifact).items():
        torch.testing.assert_close(tensors(two.artifact)[name], value, atol=1e-5, rtol=1e-5)
