"""Workers of Ray Train that are killed, and fits that go on with another number of them."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
import time
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
import torch

import orchestrator.training.student as student_module
from orchestrator.errors import TrainingError
from orchestrator.store import Artifact, Store
from orchestrator.training.files import FACTS, read_json
from orchestrator.training.fold_run import run_fold
from orchestrator.training.launch import Fit, launch
from orchestrator.training.ranks import Ranks
from orchestrator.training.task import FoldTask, Reporter, Silent
from tests.training.test_resume import KilledError, KillsAt, assert_same_files
from tests.training.tiny import Home, tensors

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray_cluster")]

NewStore = Callable[[], Store]

EPOCHS = 10
TOLERANCE = 1e-5
"""Of a weight after a change of workers, beside the largest of its tensor; 3e-7 was seen."""


def task_of(home: Home, *, workers: int, **recipe: Any) -> FoldTask:
    task = home.task(training__epochs=EPOCHS, training__average_decay=0.5, **recipe)
    return dataclasses.replace(task, student_workers=workers, checkpoint_minutes=0.0)


def watched(log: Path, seconds: float) -> Callable[..., None]:
    """Ray Train's launch of fits that stop for a moment after each epoch, and write it down."""

    def launched(fit: Fit, folder: Path, reporter: Reporter, **how: Any) -> None:
        # functions in here travel whole: the workers cannot import this module
        def slow(there: Path | None, told: Reporter, ranks: Ranks) -> None:
            class Told:
                def metrics(self, values: Mapping[str, float], *, step: int) -> None:
                    with (log / f"{ranks.rank}-{os.getpid()}").open("a") as file:
                        file.write(f"{step}\n")
                    told.metrics(values, step=step)
                    time.sleep(seconds)

            fit(there, Told(), ranks)

        launch(slow, folder, reporter, **how)

    return launched


def epochs_of(log: Path, rank: int) -> dict[int, list[int]]:
    """By process of a rank, the epochs that it trained, in the order in which they began."""
    found = {
        int(file.name.partition("-")[2]): [int(line) for line in file.read_text().split()]
        for file in log.glob(f"{rank}-*")
    }
    return dict(sorted(found.items(), key=lambda it: it[1]))


def killed_from_outside(store: Store, log: Path, *, rank: int, after: int) -> threading.Thread:
    """Waits for a checkpoint of epoch ``after`` or later and kills the worker."""

    def wait_and_kill() -> None:
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            left = (store.folder / "checkpoints" / "student").glob("*/*.safetensors")
            if any(int(file.name[:6]) >= after for file in left):
                (pid,) = epochs_of(log, rank)
                os.kill(pid, signal.SIGKILL)
                return
            time.sleep(0.02)

    thread = threading.Thread(target=wait_and_kill)
    thread.start()
    return thread


def beside_each_other(folder: Path, kill_at: int = 0) -> Callable[..., None]:
    """A launch of two workers without Ray Train, which is quicker to start."""

    def launched(
        fit: Fit, there: Path, reporter: Reporter, *, task: FoldTask, workers: int
    ) -> None:
        if workers == 1:
            launch(fit, there, reporter, task=task, workers=1)
            return
        meet = folder / uuid.uuid4().hex

        def work(rank: int) -> dict[str, bytes]:
            from orchestrator.training.state import fold_run_state

            class Told:
                def metrics(self, values: Mapping[str, float], *, step: int) -> None:
                    if step == kill_at:
                        raise KeyboardInterrupt

            torch.distributed.init_process_group(
                "gloo", init_method=f"file://{meet}", rank=rank, world_size=2
            )
            try:
                out = meet.with_suffix(f".{rank}")
                out.mkdir()
                with fold_run_state(seed=task.seed, threads=task.threads):
                    fit(out if rank == 0 else None, Told(), Ranks.current())
            except KeyboardInterrupt:
                return {}
            finally:
                torch.distributed.destroy_process_group()
            return {file.name: file.read_bytes() for file in out.iterdir()}

        worker: Any = ray.remote(num_cpus=1, max_retries=0)(work)
        files, _ = ray.get([worker.remote(rank) for rank in (0, 1)])
        if not files:
            raise KilledError
        for name, data in files.items():
            (there / name).write_bytes(data)

    return launched


def test_a_fit_one_of_whose_train_workers_was_killed_ends_bitwise_as_if_it_had_not_been(
    home: Home, new_store: NewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = task_of(home, workers=2, student__dropout=0.2)
    whole, broken = new_store(), new_store()
    monkeypatch.setattr(student_module, "launch", beside_each_other(tmp_path))
    undisturbed = run_fold(task, store=whole, reporter=Silent()).artifact
    log = tmp_path / "log"
    log.mkdir()
    monkeypatch.setattr(student_module, "launch", watched(log, 0.2))
    killer = killed_from_outside(broken, log, rank=1, after=4)
    told = KillsAt(0)
    again = run_fold(task, store=broken, reporter=told).artifact
    killer.join()

    first, second = epochs_of(log, 0).values()
    # it went on where a checkpoint had left off, with all that is before it done once
    assert first == list(range(1, first[-1] + 1))
    assert 4 < second[0] <= EPOCHS
    # the last epoch of the first turn may have ended without leaving its state
    assert second[0] - first[-1] in (0, 1)
    assert second == list(range(second[0], EPOCHS + 1))
    # the launcher heard of every epoch, and of each once
    assert list(told.rows) == list(range(1, EPOCHS + 1))
    assert_same_files(again, undisturbed)
    assert not list((broken.folder / "checkpoints" / "student").iterdir())


def test_what_a_worker_refuses_is_said_at_once_and_tried_once(tmp_path: Path, home: Home) -> None:
    log = tmp_path / "log"
    log.mkdir()

    def fit(folder: Path | None, reporter: Reporter, ranks: Ranks) -> None:
        (log / f"{ranks.rank}-{os.getpid()}").touch()
        if ranks.rank == 1:
            raise TrainingError("distillation became nan at update 3")
        # waits for the other one, as an update does
        torch.distributed.barrier()

    with pytest.raises(TrainingError, match="^distillation became nan at update 3$"):
        launch(fit, tmp_path, Silent(), task=task_of(home, workers=2), workers=2)
    assert len(list(log.iterdir())) == 2


def furthest(one: Artifact, other: Artifact) -> float:
    """The largest difference of a weight, beside the largest weight of its tensor."""
    here, there = tensors(one), tensors(other)
    assert here.keys() == there.keys()
    return max(
        float((here[name] - there[name]).abs().max() / there[name].abs().max().clamp_min(1e-12))
        for name in here
    )


def test_a_fit_goes_on_with_more_workers_and_with_fewer(
    home: Home, new_store: NewStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = (task_of(home, workers=workers) for workers in (1, 2))
    undisturbed = run_fold(one, store=new_store(), reporter=Silent()).artifact

    grows = new_store()
    monkeypatch.setattr(student_module, "launch", beside_each_other(tmp_path))
    with pytest.raises(KilledError):
        run_fold(one, store=grows, reporter=KillsAt(5))
    grown = run_fold(two, store=grows, reporter=Silent()).artifact

    shrinks = new_store()
    monkeypatch.setattr(student_module, "launch", beside_each_other(tmp_path, kill_at=5))
    with pytest.raises(KilledError):
        run_fold(two, store=shrinks, reporter=Silent())
    told = KillsAt(0)
    shrunk = run_fold(one, store=shrinks, reporter=told).artifact

    assert list(told.rows) == [5, 6, 7, 8, 9, 10]
    assert read_json(grown.path / FACTS)["workers"] == [[1, 1], [5, 2]]
    assert read_json(shrunk.path / FACTS)["workers"] == [[1, 2], [5, 1]]
    assert "workers" not in read_json(undisturbed.path / FACTS)
    # each has the key of what was asked for last
    assert (grown.key == undisturbed.key, shrunk.key == undisturbed.key) == (False, True)
    # what remains is the rounding of sums
    assert furthest(grown, undisturbed) < TOLERANCE
    assert furthest(shrunk, undisturbed) < TOLERANCE
