"""What a fold run asks for, what memory it needs, and how many this machine holds at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from orchestrator.capacity.machine_memory import machine_bytes, room_bytes
from orchestrator.capacity.memory_probe import MemoryProbe, Need
from orchestrator.capacity.slots import GPUS, fold_run_slots, memory_told, workers_of
from orchestrator.experiment.experiment import Resources


@dataclass(frozen=True)
class ResourcesPlan:
    """What a fold run asks for, and how many there can be at once."""

    cpus: int
    gpus: float
    workers: int
    """The most that a network of the fold run is trained by; each asks for that much."""
    at_once: int | None
    """On this machine; None where a running cluster (``RAY_ADDRESS``) decides."""
    unmeasured: str
    """Why there are no times; empty if there are."""
    decides: str | None
    """What makes ``at_once`` what it is: ``CPUs``, ``GPUs``, ``GPU memory``, ``memory`` or
    ``resources.concurrent``; None where it is None."""
    fit: Mapping[str, int]
    """By each of these, how many fold runs fit into this machine if nothing else counts."""
    machine_bytes: int
    """Memory of this machine, or of its container."""
    need: Need | None
    """Of memory, by each worker of a fold run; None where it was not measured."""
    need_unmeasured: str
    """Why not; empty if it was."""
    memory_told: tuple[str, ...]
    """How memory limits fold runs, a sentence each."""
    impossible: str
    """Why not even one fold run fits into this machine; empty if one does, or where a running
    cluster decides."""


def resources_plan(resources: Resources, unmeasured: str, probe: MemoryProbe) -> ResourcesPlan:
    """What a fold run asks for and needs here; waits for the measurement.

    Args:
        resources: of the experiment.
        unmeasured: why there are no times.
        probe: measures memory meanwhile.
    """
    need = probe.need()
    slots = None
    if "RAY_ADDRESS" not in os.environ:
        slots = fold_run_slots([this_machine()], resources, need)
    return ResourcesPlan(
        cpus=resources.trial.cpus,
        gpus=resources.trial.gpus,
        workers=workers_of(resources),
        at_once=None if slots is None else slots.at_once,
        unmeasured=unmeasured,
        decides=None if slots is None else slots.decides,
        fit={} if slots is None else slots.fit,
        machine_bytes=machine_bytes(),
        need=need,
        need_unmeasured=probe.unmeasured,
        memory_told=() if slots is None else tuple(memory_told(slots, resources, need)),
        impossible=impossible_here(resources),
    )


def this_machine() -> dict[str, float]:
    """What this machine has, as Ray counts it."""
    return {
        "CPU": float(os.cpu_count() or 1),
        "GPU": float(torch.cuda.device_count()),
        "memory": float(room_bytes()),
    }


def impossible_here(resources: Resources) -> str:
    """Why this machine cannot hold even one fold run, by CPUs or GPUs; empty if it can.

    Empty too where ``RAY_ADDRESS`` names a cluster, which then says so itself. Ray would wait for
    what it does not have.
    """
    if "RAY_ADDRESS" in os.environ:
        return ""
    here = this_machine()
    slots = fold_run_slots([here], resources, None)
    if slots.at_once:
        return ""
    if slots.decides == GPUS:
        key, unit, asked = "gpus", "GPU", resources.trial.gpus
    else:
        key, unit, asked = "cpus", "CPU", float(resources.trial.cpus)
    text = _counted(asked, unit)
    if (workers := workers_of(resources)) > 1:
        text += f" for each of {workers} workers"
        text += " and for the process that waits for them" if unit == "GPU" else ""
    return (
        f"resources.trial.{key}: not one fold run fits into this machine: it asks for {text}, and "
        f"this machine has {_counted(here[unit], unit)}; lower that, or set RAY_ADDRESS to the "
        "address of a cluster that has as much"
    )


def _counted(count: float, unit: str) -> str:
    """For people.

    >>> _counted(64.0, "CPU"), _counted(0.5, "GPU"), _counted(0.0, "GPU")
    ('64 CPUs', '0.5 GPU', 'no GPU')
    """
    return f"{count:g} {unit}{'s' if count > 1 else ''}" if count else f"no {unit}"
