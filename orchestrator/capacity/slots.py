"""How many fold runs fit into machines at once, by CPUs, by GPUs and by memory."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction

from orchestrator.capacity.memory_probe import Need
from orchestrator.experiment.experiment import Resources, TrialResources

CPUS, GPUS, GPU_MEMORY, MEMORY = "CPUs", "GPUs", "GPU memory", "memory"
CONCURRENT = "resources.concurrent"

MEND = (
    "lower recipe.training.batch_size, or set recipe.training.micro_batch, "
    "recipe.training.augment.crop_seconds or recipe.training.precision: bf16"
)
"""What makes a fold run smaller."""


@dataclass(frozen=True)
class Slots:
    """Fold runs at once, and what decides how many."""

    at_once: int
    """0 where CPUs or GPUs do not hold even one."""
    decides: str
    """``CPUs``, ``GPUs``, ``GPU memory``, ``memory`` or ``resources.concurrent``."""
    fit: Mapping[str, int]
    """By each of these that is known, how many fit if nothing else counts."""
    crowded: tuple[str, ...]
    """The memory that has too little for even one, by what was measured. That is no promise: one at
    a time is tried."""
    memory: int
    """Bytes that each worker of a fold run asks of its node; 0: it asks for none."""


def workers_of(resources: Resources) -> int:
    """The most workers that a network of a fold run is trained by."""
    return max(resources.student_workers, resources.teacher_workers)


def fold_run_slots(
    nodes: Iterable[Mapping[str, float]], resources: Resources, need: Need | None
) -> Slots:
    """How many fold runs there may be at once.

    Args:
        nodes: what each has, as Ray counts it: ``CPU``, ``GPU``, ``memory`` in bytes.
        resources: of the experiment.
        need: of each worker of a fold run; None where it was not measured.
    """
    workers, trial = workers_of(resources), resources.trial
    # several workers compute beside the process that waits for them, which computes on a GPU too
    # what has one worker only
    on_gpus = workers + 1 if workers > 1 else 1
    parts = {CPUS: workers, GPUS: on_gpus, GPU_MEMORY: on_gpus, MEMORY: workers}
    asked = 0 if need is None else asked_bytes(need, workers)
    by_node = [_by_each(node, trial, need, asked) for node in nodes]

    def most(names: Iterable[str]) -> int:
        held = sum(min(Fraction(one[name], parts[name]) for name in names) for one in by_node)
        return math.floor(held)

    at_once, decides = most([CPUS]), CPUS
    fit = {CPUS: at_once}
    counted, crowded = [CPUS], []
    for name in [name for name in (GPUS, GPU_MEMORY, MEMORY) if by_node and name in by_node[0]]:
        fit[name] = most([name])
        left = most([*counted, name])
        if left == 0 and at_once and name != GPUS:
            crowded.append(name)
            at_once, decides = 1, name
            continue
        counted.append(name)
        if left < at_once:
            at_once, decides = left, name
    if resources.concurrent is not None and resources.concurrent < at_once:
        at_once, decides = resources.concurrent, CONCURRENT
    return Slots(
        at_once=at_once,
        decides=decides,
        fit=fit,
        crowded=tuple(crowded),
        memory=0 if MEMORY in crowded else asked,
    )


def process_asks(resources: Resources, slots: Slots) -> dict[str, float]:
    """What the process of a fold run asks Ray for; its workers ask for their own."""
    trial = resources.trial
    if workers_of(resources) > 1:
        return {"CPU": 0.0, "GPU": trial.gpus, "memory": 0.0}
    return {"CPU": float(trial.cpus), "GPU": trial.gpus, "memory": float(slots.memory)}


def memory_told(slots: Slots, resources: Resources, need: Need | None) -> list[str]:
    """A line for each way in which memory limits fold runs, or does not hold one."""
    if need is None:
        return []
    told = []
    for name, bytes_needed, whose in (
        (MEMORY, need.host, "any machine has"),
        (GPU_MEMORY, need.gpu, "any GPU has"),
    ):
        if name in slots.crowded:
            told.append(
                f"a fold run needs about {gibibytes(bytes_needed)} of {name} ({need.how}), more "
                f"than {whose} for it; one at a time is tried. To need less, {MEND}"
            )
    share = resources.trial.gpus
    if GPU_MEMORY not in slots.crowded and 0.0 < share * need.gpu_total < need.gpu:
        told.append(
            f"a fold run needs about {gibibytes(need.gpu)} of GPU memory (measured), more than its "
            f"share by resources.trial.gpus {share:g}, {gibibytes(share * need.gpu_total)}; set "
            f"that to {math.ceil(100 * need.gpu / need.gpu_total) / 100:g}, or {MEND}"
        )
    if not slots.crowded and slots.decides == MEMORY:
        told.append(
            f"memory limits fold runs to {slots.at_once} at once: each needs about "
            f"{gibibytes(need.host)} ({need.how}); if that is wrong, say it with "
            "resources.trial.memory_gib"
        )
    return told


def gibibytes(count: float) -> str:
    """For people.

    >>> gibibytes(966_000_000), gibibytes(2**34)
    ('0.9 GiB', '16 GiB')
    """
    size = count / 2**30
    return f"{size:.0f} GiB" if size >= 9.95 else f"{size:.1f} GiB"


def asked_bytes(need: Need, workers: int) -> int:
    """Of a node's memory for each worker; of several, with its share of the process that waits for
    them and trains what has one worker only.
    """
    return need.host if workers == 1 else math.ceil(need.host * (workers + 1) / workers)


def _by_each(
    node: Mapping[str, float], trial: TrialResources, need: Need | None, asked: int
) -> dict[str, int]:
    """Workers that a node holds, by each thing that they need."""
    found = {CPUS: math.floor(node.get("CPU", 0.0) / trial.cpus)}
    if trial.gpus:
        gpus = node.get("GPU", 0.0)
        whole = trial.gpus >= 1
        found[GPUS] = (
            math.floor(gpus / trial.gpus) if whole else int(gpus) * math.floor(1 / trial.gpus)
        )
        if need is not None and need.gpu:
            # other nodes' GPUs are taken to be as the one that this was measured on
            found[GPU_MEMORY] = int(gpus) * (need.gpu_total // need.gpu)
    if asked:
        found[MEMORY] = math.floor(node.get("memory", 0.0) / asked)
    return found
