"""What a fold run asks for, what memory it needs, and how many this machine holds at once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from orchestrator.capacity.machine_memory import machine_bytes, room_bytes
from orchestrator.capacity.memory_probe import MemoryProbe, Need
from orchestrator.capacity.slots import fold_run_slots, memory_told, workers_of
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
        here = {
            "CPU": float(os.cpu_count() or 1),
            "GPU": float(torch.cuda.device_count()),
            "memory": float(room_bytes()),
        }
        slots = fold_run_slots([here], resources, need)
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
    )
