"""The Ray session that sweep and evaluate compute on: joined if there is one, started otherwise."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ray

from orchestrator.capacity.machine_memory import room_bytes
from orchestrator.capacity.memory_probe import MemoryProbe, Need
from orchestrator.capacity.slots import Slots, fold_run_slots, memory_told, workers_of
from orchestrator.corpus_inputs import Build
from orchestrator.errors import UnderstudyError
from orchestrator.experiment.experiment import Resources
from orchestrator.preparation import RunShards
from orchestrator.progress import Progress

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this in the environment of the driver of a submitted job."""


PATIENCE = 600.0
"""Seconds that measuring a fold run may take: little beside fold runs for which it takes that."""


class ResourceError(UnderstudyError):
    """The cluster cannot hold even one fold run."""


def connect(resources: Resources) -> None:
    """Join the cluster that ``RAY_ADDRESS`` names, or start Ray on this machine.

    Ray Train asks the dashboard's State API about its workers, so a session that trains on several
    workers starts with the dashboard; one that does not starts faster without.
    """
    # Tune would log every trial a second time, and move workers away from relative paths
    os.environ.setdefault("TUNE_DISABLE_AUTO_CALLBACK_LOGGERS", "1")
    os.environ.setdefault("RAY_CHDIR_TO_TRIAL_DIR", "0")
    # a trial that fails has no score, and Tune would end the sweep for want of it
    os.environ.setdefault("TUNE_DISABLE_STRICT_METRIC_CHECKING", "1")
    # the study and the store are the state; Tune's own would be written again and again
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")
    # Tune's new output prints a banner even when told to be silent; its old one does not
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "120")
    if ray.is_initialized():
        return
    options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    if "RAY_ADDRESS" not in os.environ:
        several = resources.teacher_workers > 1 or resources.student_workers > 1
        # without an address Ray would join whatever cluster was last started on this machine
        options |= {"address": "local", "include_dashboard": several, "_memory": room_bytes()}
    if SUBMITTED in os.environ:
        # Ray unpacked the folder that a submitted job begins in, and where two nodes share a
        # machine, the second unpacks it again in its place; a job names no relative places
        os.chdir(Path.home())
    try:
        ray.init(**options)
    except Exception as error:  # noqa: BLE001 - a start that takes too long is a bare Exception
        if "timed out during startup" in str(error):
            raise ResourceError(
                "Ray did not start in time, since this machine is too busy with other work; what "
                "has finished is in the store, and the same command goes on from there"
            ) from error
        address = os.environ.get("RAY_ADDRESS")
        where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
        raise ResourceError(
            f"{where} cannot be reached or started ({str(error).splitlines()[0]}); "
            "start it, or unset RAY_ADDRESS to compute on this machine"
        ) from error


def fold_runs_at_once(resources: Resources, need: Need | None = None) -> Slots:
    """How many fold runs the cluster holds, or as many as ``resources.concurrent`` says.

    Args:
        resources: of the experiment.
        need: of memory, by each worker of a fold run; None where it is not (yet) known.

    Raises:
        ResourceError: by CPUs or GPUs not even one fits; says what is asked and what there is.
    """
    trial = resources.trial
    workers = workers_of(resources)
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in found if node["Alive"]]
    slots = fold_run_slots(nodes, resources, need)
    if slots.at_once < 1:
        cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
        raise ResourceError(
            f"a fold run asks for {workers} x {trial.cpus} CPUs and {workers} x {trial.gpus:g} "
            f"GPUs (resources.trial, the most of its workers), each share on one node, but the "
            f"cluster has {cpus:g} CPUs and {gpus:g} GPUs on {len(nodes)} nodes; lower resources "
            "or add nodes"
        )
    return slots


def packed(resources: Resources, probe: MemoryProbe, progress: Progress) -> Slots:
    """As :func:`fold_runs_at_once`, by the memory that was measured meanwhile, if it was.

    Where memory limits the number, a line says so.
    """
    if probe.running:
        progress.enter("measuring the memory of a fold run")
    need = probe.need(patience=PATIENCE)
    slots = fold_runs_at_once(resources, need)
    for line in memory_told(slots, resources, need):
        progress.console.print(line, style="yellow", markup=False, highlight=False)
    return slots


def shards_on_ray(resources: Resources, progress: Progress) -> RunShards:
    """Feature and encoder shards as Ray tasks, counted as they finish.

    Each asks for one CPU. A fit says its ``threads`` and asks for as many; of fits there are
    ``resources.concurrent`` at once. A shard that fails is said at once and loses nobody else's
    work: the others are made, and then its error is raised, the first if there are several.
    """

    def run(stage: str, shards: Sequence[Build]) -> None:
        progress.enter(stage, fold_runs=len(shards))
        remote = ray.remote(max_retries=2)(_build)
        fits = any(hasattr(shard, "threads") for shard in shards)
        most = resources.concurrent if fits else None
        queue = list(reversed(shards))
        waiting: list[Any] = []
        failures: list[BaseException] = []
        said: set[str] = set()
        while queue or waiting:
            while queue and (most is None or len(waiting) < most):
                shard = queue.pop()
                asked = remote.options(
                    num_cpus=getattr(shard, "threads", 1), num_gpus=resources.trial.gpus
                )
                waiting.append(asked.remote(shard))
            done, waiting = ray.wait(waiting, num_returns=1)
            try:
                progress.fold_run(reused=ray.get(done[0]))
                continue
            except ray.exceptions.RayTaskError as error:
                failures.append(plain_error(error))
            except ray.exceptions.RayError as error:
                failures.append(
                    ResourceError(
                        f"{stage}: a worker was lost and could not be replaced "
                        f"({type(error).__name__}); the same command goes on from what is done"
                    )
                )
            # a full disk fails them all alike
            told = str(failures[-1])
            progress.failure(f"{stage}: {'as before' if told in said else told}", dropped=1)
            said.add(told)
        if failures:
            raise failures[0]

    return run


def _build(shard: Build) -> bool:
    return shard()


def plain_error(error: ray.exceptions.RayTaskError) -> BaseException:
    """The error as it was raised on the worker, if it is one a user should read."""
    cause = error.cause
    return cause if isinstance(cause, UnderstudyError) else error
