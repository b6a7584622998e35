"""How an update is timed, and how many there are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from orchestrator.capacity import step_time
from orchestrator.capacity.step_time import TIMED, WARM_UPS, StudentClock, step_seconds, updates_of
from orchestrator.experiment.experiment import Resources
from orchestrator.training.task import FoldTask
from tests.training.tiny import Home, experiment, fold_of


@pytest.fixture(scope="module")
def task(tmp_path_factory: pytest.TempPathFactory) -> FoldTask:
    home = Home.build(tmp_path_factory.mktemp("home"))
    return fold_of(experiment(), home.prepared).task


def with_(task: FoldTask, **changes: Any) -> FoldTask:
    """The task with other training settings."""
    training = task.recipe.training.model_copy(update=changes)
    return replace(task, recipe=task.recipe.model_copy(update={"training": training}))


@pytest.mark.parametrize(
    ("changes", "updates"),
    [
        ({"batch_size": 1}, lambda n: 3 * n),
        ({"batch_size": 1000}, lambda n: 3),
        ({"updates_per_epoch": 7}, lambda n: 21),
    ],
)
def test_updates_are_those_of_all_epochs(task: FoldTask, changes: Any, updates: Any) -> None:
    assert updates_of(with_(task, epochs=3, **changes)) == updates(len(task.train.ids))


class Clock:
    """Time passes by ``step`` at each look."""

    def __init__(self, step: float) -> None:
        self.now, self.step, self.looks = 0.0, step, 0

    def perf_counter(self) -> float:
        self.now += self.step
        self.looks += 1
        return self.now


def test_the_median_is_of_the_updates_after_warming_up(
    task: FoldTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(0.001)
    monkeypatch.setattr(step_time, "time", clock)

    # one look before an update and one after it; another for the budget
    assert step_seconds(task, seconds=0.5) == pytest.approx(0.001)
    assert clock.looks == 1 + 3 * (WARM_UPS + TIMED)


def test_one_slow_update_is_enough(task: FoldTask, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(5.0)
    monkeypatch.setattr(step_time, "time", clock)

    assert step_seconds(task, seconds=0.5) == 5.0
    assert clock.looks == 4


def test_an_update_is_timed_in_micro_batches_and_in_half_precision(
    task: FoldTask, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes: list[int] = []
    gradients: list[torch.Tensor] = []
    steps = torch.optim.AdamW.step

    class Network(torch.nn.Linear):
        def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> Any:
            sizes.append(len(frames))
            assert torch.is_autocast_enabled("cpu")

            class Output:
                logits = super(Network, self).forward(frames.mean(1))

            return Output

    def step(optimiser: torch.optim.AdamW) -> Any:
        gradients.append(optimiser.param_groups[0]["params"][0].grad.clone())
        return steps(optimiser)

    width = task.features.bins * task.features.channels
    monkeypatch.setattr(
        step_time, "build_network", lambda *_, classes, **__: Network(width, classes)
    )
    monkeypatch.setattr(torch.optim.AdamW, "step", step)

    step_seconds(with_(task, batch_size=6, micro_batch=4, precision="bf16"), seconds=0.1)

    assert sizes == [4, 2] * (WARM_UPS + TIMED)
    # one step for both
    assert len(gradients) == WARM_UPS + TIMED


@pytest.mark.parametrize(("crop", "heard"), [(None, 2.0), (0.5, 0.5), (9.0, 2.0)])
def test_the_student_hears_a_batch_of_the_length_it_is_trained_on(
    task: FoldTask, monkeypatch: pytest.MonkeyPatch, crop: float | None, heard: float
) -> None:
    shapes: list[tuple[int, ...]] = []

    class Network(torch.nn.Linear):
        def forward(self, frames: torch.Tensor, lengths: torch.Tensor) -> Any:
            shapes.append(tuple(frames.shape))
            assert lengths.tolist() == [frames.shape[1]] * frames.shape[0]
            assert torch.get_num_threads() == 1

            class Output:
                logits = super(Network, self).forward(frames.mean(1))

            return Output

    width = task.features.bins * task.features.channels
    monkeypatch.setattr(
        step_time, "build_network", lambda *_, classes, **__: Network(width, classes)
    )
    augment = task.recipe.training.augment.model_copy(update={"crop_seconds": crop})
    before = torch.get_rng_state()

    step_seconds(with_(task, batch_size=6, augment=augment), seconds=2.0)

    assert set(shapes) == {(6, round(heard / task.features.hop_seconds), width)}
    assert torch.equal(torch.get_rng_state(), before)


def test_more_threads_than_there_are_processors_are_not_timed(
    monkeypatch: pytest.MonkeyPatch, task: FoldTask
) -> None:
    monkeypatch.setattr("os.cpu_count", lambda: 2)
    clock = StudentClock(Resources.model_validate({"trial": {"cpus": 3}}), {task.corpus: 1.0})

    assert clock.of([task]) is None
    assert clock.unmeasured == "fold runs ask for 3 CPUs, and this machine has 2"
