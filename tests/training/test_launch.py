"""A fit runs here or under Ray Train, and nobody can tell from the numbers."""

from __future__ import annotations

import dataclasses
import pickle
from collections.abc import Mapping
from contextlib import nullcontext, suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, cast

import pytest
import ray.train.torch
import torch
from ray.train import ControllerError, WorkerGroupError

import orchestrator.training.launch as launch_module
from orchestrator.errors import StoreError, TrainingError
from orchestrator.store import Store
from orchestrator.training.fold_run import run_fold
from orchestrator.training.launch import launch
from orchestrator.training.memory import MemoryRanOutError
from orchestrator.training.ranks import Ranks
from orchestrator.training.task import FoldTask, Reporter, Silent
from tests.training.tiny import TRAINING, Home, tensors


def task_on(device: str) -> FoldTask:
    """As much of a task as launching reads."""
    gpus = 0.0 if device == "cpu" else 0.5
    return cast(
        FoldTask,
        SimpleNamespace(device=device, seed=0, threads=1, gpus=gpus, memory=0, deterministic=True),
    )


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


def test_what_the_workers_fitted_is_left_in_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def on_ray(
        fit: object, reporter: object, *, task: FoldTask, workers: int
    ) -> Mapping[str, bytes]:
        asked.append((workers, task.device))
        return {"history.json": b"[]", "weights": b"w"}

    monkeypatch.setattr(launch_module, "_fit_on_ray", on_ray)
    launch(lambda *_: None, tmp_path, Silent(), task=task_on("cpu"), workers=3)
    launch(lambda *_: None, tmp_path, Silent(), task=task_on("cuda:0"), workers=2)

    assert asked == [(3, "cpu"), (2, "cuda:0")]
    assert (tmp_path / "weights").read_bytes() == b"w"


class Board:
    """Where a worker tells its epochs, without Ray."""

    def __init__(self) -> None:
        self.rows: list[tuple[dict[str, float], int]] = []
        self.add = SimpleNamespace(remote=lambda *row: self.rows.append(row))


def test_only_the_first_rank_writes_and_reports(monkeypatch: pytest.MonkeyPatch) -> None:
    def fit(folder: Path | None, reporter: Reporter, ranks: Ranks) -> None:
        assert (folder is not None) == (ranks.rank == 0)
        assert torch.get_num_threads() == 3
        assert torch.initial_seed() == 11

        reporter.metrics({"loss": float(ranks.rank)}, step=1)
        if folder is not None:
            (folder / "weights").write_bytes(b"w")

    found, board = [], Board()
    for rank in (0, 1):
        monkeypatch.setattr(Ranks, "current", lambda rank=rank: Ranks(rank, 2))
        state = {"seed": 11, "threads": 3}
        config = {"fit": fit, "board": board, "state": state, "at_once": None}
        found.append(launch_module._worker(config))

    assert found == [{"weights": b"w"}, {}]
    assert board.rows == [({"loss": 0.0}, 1)]


class Trainer:
    """As much of Train's as launching sees: it remembers what it was asked, and ends as told."""

    asked: ClassVar[dict[str, Any]] = {}
    ends: ClassVar[Any] = None

    def __init__(self, worker: object, **asked: Any) -> None:
        type(self).asked = asked

    def fit(self) -> SimpleNamespace:
        if isinstance(self.ends, Exception):
            raise self.ends
        return SimpleNamespace(return_value=self.ends)


@pytest.fixture
def trainer(monkeypatch: pytest.MonkeyPatch) -> type[Trainer]:
    monkeypatch.setattr(ray.train.torch, "TorchTrainer", Trainer)
    monkeypatch.setattr(launch_module, "passed_on", nullcontext)
    monkeypatch.setattr(Trainer, "ends", {"weights": b"w"})
    return Trainer


def in_vain(**errors: Exception) -> Exception | None:
    """What the callback makes of errors by rank: raised if it is in vain to try again."""
    (callback,) = Trainer.asked["run_config"].callbacks
    try:
        callback.after_exception(None, {int(rank[1:]): it for rank, it in errors.items()})
    except Exception as error:
        return error
    return None


def test_what_would_fail_again_is_tried_once_and_a_lost_worker_again(
    tmp_path: Path, trainer: type[Trainer]
) -> None:
    launch(lambda *_: None, tmp_path, Silent(), task=task_on("cpu"), workers=2)

    assert trainer.asked["run_config"].failure_config.max_failures == launch_module.RETRIES == 2
    # the callback is sent to another process
    Trainer.asked["run_config"].callbacks = ray.cloudpickle.loads(
        ray.cloudpickle.dumps(Trainer.asked["run_config"].callbacks)
    )
    lost = ray.exceptions.ActorDiedError()
    nan, full = TrainingError("distillation became nan"), StoreError("no space")
    memory = torch.OutOfMemoryError("CUDA out of memory")
    assert in_vain(r0=RuntimeError("Connection closed by peer"), r1=lost) is None
    assert in_vain(r0=RuntimeError("Connection closed by peer"), r1=nan) is nan
    assert in_vain(r0=full) is full
    assert in_vain(r1=memory) is memory


@pytest.mark.parametrize(
    ("ends", "raised", "said"),
    [
        (
            ControllerError(TrainingError("distillation became nan")),
            TrainingError,
            "^distillation became nan$",
        ),
        (ControllerError(StoreError("no space")), StoreError, "^no space$"),
        (
            ControllerError(torch.OutOfMemoryError("CUDA out of memory")),
            TrainingError,
            "2 Ray Train workers failed: CUDA out of memory",
        ),
        (
            WorkerGroupError("its node died", {1: RuntimeError("its node died")}),
            TrainingError,
            r"2 Ray Train workers failed: .*\nits node died",
        ),
        ({}, TrainingError, "2 Ray Train workers returned no weights"),
    ],
)
def test_a_failure_of_the_workers_is_a_failure_here(
    tmp_path: Path, trainer: type[Trainer], ends: Any, raised: type[Exception], said: str
) -> None:
    trainer.ends = ends
    with pytest.raises(raised, match=said):
        launch(lambda *_: None, tmp_path, Silent(), task=task_on("cpu"), workers=2)


@pytest.mark.parametrize(
    ("gpus", "resources", "backend"),
    [
        (0.0, {"CPU": 1.0}, None),
        (0.5, {"CPU": 1.0, "GPU": 0.5}, "gloo"),
        (1.0, {"CPU": 1.0, "GPU": 1.0}, None),
    ],
)
def test_workers_that_share_a_gpu_do_not_speak_nccl(
    tmp_path: Path,
    trainer: type[Trainer],
    gpus: float,
    resources: dict[str, float],
    backend: str | None,
) -> None:
    task = task_on("cpu" if not gpus else "cuda")
    task.gpus = gpus  # type: ignore[misc]
    launch(lambda *_: None, tmp_path, Silent(), task=task, workers=2)

    scaling = trainer.asked["scaling_config"]
    assert (scaling.num_workers, scaling.use_gpu) == (2, gpus > 0)
    assert scaling.resources_per_worker == resources
    # None is Train's own choice: nccl with GPUs, gloo without
    assert trainer.asked["torch_config"].backend == backend
    assert trainer.asked["train_loop_config"]["state"]["gpus"] == gpus


def ran_out(at_once: int) -> ControllerError:
    """As it comes from the worker, by way of Train's controller."""
    error = ControllerError(MemoryRanOutError(f"out of memory with {at_once}", at_once))
    return cast(ControllerError, pickle.loads(pickle.dumps(error)))


def test_workers_whose_memory_ran_out_begin_again_once_with_half_at_once(
    tmp_path: Path,
    trainer: type[Trainer],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def tried(*ends: Any) -> list[int | None]:
        asked: list[int | None] = []
        left = list(ends)

        def fit(self: Trainer) -> SimpleNamespace:
            asked.append(self.asked["train_loop_config"]["at_once"])
            end = left.pop(0)
            if isinstance(end, Exception):
                raise end
            return SimpleNamespace(return_value=end)

        monkeypatch.setattr(Trainer, "fit", fit)
        with suppress(MemoryRanOutError):
            launch(lambda *_: None, tmp_path, Silent(), task=task_on("cpu"), workers=2)
        return asked

    assert tried(ran_out(5), {"weights": b"w"}) == [None, 3]
    assert "out of memory with 5; now it is tried with 3 at once" in caplog.text
    assert tried(ran_out(5), ran_out(3), {"weights": b"w"}) == [None, 3]
    assert tried(ran_out(1), {"weights": b"w"}) == [None]


def test_a_worker_knows_how_many_it_may_hear_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int | None] = []
    monkeypatch.setattr(Ranks, "current", lambda: Ranks(1, 2))
    config = {"state": {"seed": 0, "threads": 1}, "board": Board(), "at_once": 3}
    launch_module._worker({"fit": lambda *its: told.append(its[2].at_once), **config})

    assert told == [3]


@pytest.mark.slow
@pytest.mark.usefixtures("ray_cluster")
def test_two_ray_train_workers_fit_the_student_that_one_fits(home: Home, store: Store) -> None:
    """Twenty updates of contrast, distillation, matched tokens and meta-learning, augmented.

    In double precision, and with every other objective: test_two_workers, without Ray.
    """
    task = home.rich_task(
        objectives={
            "cross_entropy": 1.0,
            "distillation": 0.5,
            "feature_map": 1.0,
            "supervised_contrastive": 0.5,
        },
        feature_map__match="tokens",
        meta={"kind": "bilevel", "interval": 2},
        student__dropout=0.0,
        teacher__training=TRAINING,
        training__epochs=20,
        training__updates_per_epoch=1,
        training__lr=5e-4,
        training__batches="class-balanced",
        training__augment={"noise": 0.1, "time_masks": 1, "crop_seconds": 0.8},
        training__average_decay=0.5,
    )
    here, there = Told(), Told()
    one = run_fold(task, store=store, reporter=here)
    two = run_fold(dataclasses.replace(task, student_workers=2), store=store, reporter=there)

    assert one.artifact.key != two.artifact.key
    assert not two.reused
    assert [step for step, _ in there.rows] == list(range(1, 21))
    for (_, row), (_, expected) in zip(there.rows, here.rows, strict=True):
        assert row == pytest.approx(expected, rel=1e-5, abs=1e-6)
    assert here.rows[0][1]["train/supervised_contrastive"] > 0.0
    assert (one.epoch, one.parameters) == (two.epoch, two.parameters)
    for name, value in tensors(one.artifact).items():
        torch.testing.assert_close(tensors(two.artifact)[name], value, atol=1e-5, rtol=1e-5)
