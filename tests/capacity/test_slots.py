"""How fold runs are packed into machines that were made by hand."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.capacity.memory_probe import Need
from orchestrator.capacity.slots import (
    Slots,
    fold_run_slots,
    gibibytes,
    memory_told,
    process_asks,
)
from orchestrator.experiment.experiment import Resources

GIB = 2**30


def node(cpus: float, memory: float, gpus: float = 0.0) -> dict[str, float]:
    """A machine with so many GiB."""
    return {"CPU": cpus, "GPU": gpus, "memory": memory * GIB}


def resources(**trial: Any) -> Resources:
    workers = {name: trial.pop(name) for name in list(trial) if name.endswith("workers")}
    concurrent = trial.pop("concurrent", None)
    return Resources.model_validate({"trial": trial, "concurrent": concurrent, **workers})


def need(host: float, gpu: float = 0.0, gpu_total: float = 0.0) -> Need:
    """So many GiB."""
    return Need(
        host=round(host * GIB),
        libraries=0,
        gpu=round(gpu * GIB),
        gpu_total=round(gpu_total * GIB),
    )


@pytest.mark.parametrize(
    ("nodes", "asked", "needed", "at_once", "decides"),
    [
        # 64 CPUs would overfill 24 GiB
        ([node(64, 24)], resources(), need(1.0), 24, "memory"),
        ([node(64, 24)], resources(), None, 64, "CPUs"),
        # resources.trial.memory_gib: 0 says that memory does not count
        ([node(64, 24)], resources(), need(0.0), 64, "CPUs"),
        ([node(2, 24)], resources(), need(1.0), 2, "CPUs"),
        ([node(2, 24)], resources(cpus=2), need(1.0), 1, "CPUs"),
        ([node(64, 24)], resources(concurrent=3), need(1.0), 3, "resources.concurrent"),
        ([node(64, 24)], resources(concurrent=30), need(1.0), 24, "memory"),
        # each node by itself: 4 by CPUs, 1 by memory, not 5 by memory over both
        ([node(4, 4), node(8, 1.5)], resources(), need(1.0), 5, "memory"),
        # a node that holds none does not keep the other from holding some
        ([node(4, 4), node(8, 0.5)], resources(), need(1.0), 4, "memory"),
        # each of two workers needs 1.5 GiB, its half of the process that waits for them included
        ([node(64, 24)], resources(student_workers=2), need(1.0), 8, "memory"),
        ([node(8, 24)], resources(teacher_workers=4), need(1.0), 2, "CPUs"),
        # shares of two GPUs of 80 GiB
        ([node(64, 999, 2)], resources(gpus=0.25), need(1.0, 10.0, 80.0), 8, "GPUs"),
        ([node(64, 999, 2)], resources(gpus=0.25), need(1.0, 30.0, 80.0), 4, "GPU memory"),
        ([node(64, 3, 2)], resources(gpus=0.25), need(1.0, 30.0, 80.0), 3, "memory"),
        ([node(64, 999, 2)], resources(gpus=1), need(1.0, 1.0, 80.0), 2, "GPUs"),
        ([node(64, 999, 4)], resources(gpus=2), need(1.0, 1.0, 80.0), 2, "GPUs"),
        # a measurement is no promise: one is tried where none fits
        ([node(64, 24)], resources(), need(25.0), 1, "memory"),
        ([node(64, 99, 2)], resources(gpus=1), need(1.0, 90.0, 80.0), 1, "GPU memory"),
        # one node has the CPUs, the other the memory
        ([node(8, 0.5), node(0, 64)], resources(), need(1.0), 1, "memory"),
        # but not where CPUs or GPUs hold none
        ([node(1, 24)], resources(cpus=2), need(1.0), 0, "CPUs"),
        ([node(8, 24)], resources(gpus=1), need(25.0), 0, "GPUs"),
        ([], resources(), need(1.0), 0, "CPUs"),
    ],
)
def test_what_runs_out_first_decides(
    nodes: list[dict[str, float]],
    asked: Resources,
    needed: Need | None,
    at_once: int,
    decides: str,
) -> None:
    slots = fold_run_slots(nodes, asked, needed)

    assert (slots.at_once, slots.decides) == (at_once, decides)


def test_each_limit_is_told_by_itself() -> None:
    slots = fold_run_slots([node(64, 24, 2)], resources(gpus=0.5), need(2.0, 20.0, 80.0))

    assert slots.fit == {"CPUs": 64, "GPUs": 4, "GPU memory": 8, "memory": 12}


def test_a_worker_asks_for_what_it_needs_unless_no_node_has_it() -> None:
    assert fold_run_slots([node(64, 24)], resources(), need(1.0)).memory == GIB
    two = resources(student_workers=2)
    assert fold_run_slots([node(64, 24)], two, need(1.0)).memory == 1.5 * GIB
    assert fold_run_slots([node(64, 24)], resources(), need(25.0)).memory == 0
    assert fold_run_slots([node(64, 24)], resources(), None).memory == 0


@pytest.mark.parametrize(
    ("gpus", "workers"), [(0.3, 3), (0.5, 2), (0.51, 1), (0.1, 10), (1.0, 1), (2.0, 0)]
)
def test_a_fraction_of_a_gpu_never_spans_two(gpus: float, workers: int) -> None:
    asked = resources(gpus=gpus)

    assert fold_run_slots([node(99, 1, 1)], asked, None).at_once == workers
    three = 3 * workers if gpus <= 1 else 1
    assert fold_run_slots([node(99, 1, 3)], asked, None).at_once == three


def test_who_waits_for_several_workers_needs_a_gpu_too() -> None:
    """It trains what has one worker only, and predicts."""
    two = resources(gpus=0.5, student_workers=2)

    assert fold_run_slots([node(99, 1, 1)], two, None).at_once == 0
    assert fold_run_slots([node(99, 1, 3)], two, None).at_once == 2
    assert process_asks(two, fold_run_slots([node(99, 1, 3)], two, need(1.0))) == {
        "CPU": 0.0,
        "GPU": 0.5,
        "memory": 0.0,
    }


def test_the_process_of_one_worker_asks_for_all_that_it_holds() -> None:
    slots = fold_run_slots([node(64, 24)], resources(), need(1.0))

    assert process_asks(resources(), slots) == {"CPU": 1.0, "GPU": 0.0, "memory": float(GIB)}


def said(nodes: list[dict[str, float]], asked: Resources, needed: Need | None) -> list[str]:
    return memory_told(fold_run_slots(nodes, asked, needed), asked, needed)


def test_nothing_is_said_of_memory_that_does_not_limit() -> None:
    assert said([node(2, 24)], resources(), need(1.0)) == []
    assert said([node(64, 24)], resources(concurrent=2), need(1.0)) == []
    assert said([node(64, 24)], resources(), None) == []
    assert said([node(8, 24, 1)], resources(gpus=0.5), need(1.0, 40.0, 80.0)) == []


def test_memory_that_limits_is_said_in_one_line() -> None:
    assert said([node(64, 24)], resources(), need(0.9)) == [
        "memory limits fold runs to 26 at once: each needs about 0.9 GiB (measured); if that "
        "is wrong, say it with resources.trial.memory_gib"
    ]


def test_where_none_fits_the_mend_is_said() -> None:
    (line,) = said([node(64, 24)], resources(), need(30.0))

    assert line.startswith(
        "a fold run needs about 30 GiB of memory (measured), more than any machine has for it"
    )
    for mend in ("batch_size", "micro_batch", "crop_seconds", "precision"):
        assert mend in line


def test_a_share_of_a_gpu_that_is_too_small_is_said() -> None:
    (line,) = said([node(8, 99, 1)], resources(gpus=0.25), need(1.0, 22.0, 80.0))
    assert "its share by resources.trial.gpus 0.25, 20 GiB; set that to 0.28, or " in line

    (crowded,) = said([node(8, 99, 1)], resources(gpus=0.25), need(1.0, 90.0, 80.0))
    assert "more than any GPU has" in crowded


def test_slots_are_of_one_node_where_there_is_one() -> None:
    assert fold_run_slots([node(2, 24)], resources(), need(1.0)) == Slots(
        at_once=2, decides="CPUs", fit={"CPUs": 2, "memory": 24}, crowded=(), memory=GIB
    )


@pytest.mark.parametrize(
    ("count", "text"), [(0.04 * GIB, "0.0 GiB"), (9.94 * GIB, "9.9 GiB"), (9.96 * GIB, "10 GiB")]
)
def test_sizes_have_two_figures(count: float, text: str) -> None:
    assert gibibytes(count) == text
