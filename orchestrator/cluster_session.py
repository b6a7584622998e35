"""The Ray session that sweep and evaluate compute on: joined if there is one, started otherwise."""

from __future__ import annotations

import logging
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray

from orchestrator.corpus_inputs import Build
from orchestrator.errors import UnderstudyError
from orchestrator.experiment.experiment import Resources, TrialResources
from orchestrator.preparation import RunShards
from orchestrator.progress import Progress

SUBMITTED = "RAY_JOB_CONFIG_JSON_ENV_VAR"
"""Ray sets this in the environment of the driver of a submitted job."""


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
        options |= {"address": "local", "include_dashboard": several}
    if SUBMITTED in os.environ:
        # Ray unpacked the folder that a submitted job begins in, and where two nodes share a
        # machine, the second unpacks it again in its place; a job names no relative places
        os.chdir(Path.home())
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError) as error:
        address = os.environ.get("RAY_ADDRESS")
        where = f"the Ray cluster at RAY_ADDRESS={address}" if address else "Ray on this machine"
        raise ResourceError(
            f"{where} cannot be reached or started ({str(error).splitlines()[0]}); "
            "start it, or unset RAY_ADDRESS to compute on this machine"
        ) from error


def fold_runs_at_once(resources: Resources) -> int:
    """How many fold runs the cluster holds, or as many as ``resources.concurrent`` says.

    Raises:
        ResourceError: not even one fits; says what is asked and what there is.
    """
    trial = resources.trial
    workers = max(resources.student_workers, resources.teacher_workers)
    found: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    nodes = [node["Resources"] for node in found if node["Alive"]]
    slots = sum(slots_of(node, trial) for node in nodes)
    most = slots // workers
    if most < 1:
        cpus, gpus = (sum(node.get(name, 0.0) for node in nodes) for name in ("CPU", "GPU"))
        raise ResourceError(
            f"a fold run asks for {workers} x {trial.cpus} CPUs and {workers} x {trial.gpus:g} "
            f"GPUs (resources.trial, the most of its workers), each share on one node, but the "
            f"cluster has {cpus:g} CPUs and {gpus:g} GPUs on {len(nodes)} nodes; lower resources "
            "or add nodes"
        )
    return most if resources.concurrent is None else min(most, resources.concurrent)


def slots_of(node: Mapping[str, float], trial: TrialResources) -> int:
    """Workers that one node holds; a fraction of a GPU never spans two."""
    slots = math.floor(node.get("CPU", 0.0) / trial.cpus)
    if trial.gpus:
        gpus = node.get("GPU", 0.0)
        whole = trial.gpus >= 1
        per_gpu = math.floor(gpus / trial.gpus) if whole else int(gpus) * int(1 / trial.gpus)
        slots = min(slots, per_gpu)
    return slots


def shards_on_ray(resources: Resources, progress: Progress) -> RunShards:
    """Feature and encoder shards as Ray tasks, counted as they finish.

    Each asks for one CPU. A fit says its ``threads`` and asks for as many; of fits there are
    ``resources.concurrent`` at once.
    """

    def run(stage: str, shards: Sequence[Build]) -> None:
        progress.enter(stage, fold_runs=len(shards))
        remote = ray.remote(max_retries=2)(_build)
        fits = any(hasattr(shard, "threads") for shard in shards)
        most = resources.concurrent if fits else None
        queue = list(reversed(shards))
        waiting: list[Any] = []
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
            except ray.exceptions.RayTaskError as error:
                for other in waiting:
                    ray.cancel(other)
                raise plain_error(error) from None
            except ray.exceptions.RayError as error:
                raise ResourceError(
                    f"{stage}: a worker was lost and could not be replaced "
                    f"({type(error).__name__}); the same command goes on from what is done"
                ) from error

    return run


def _build(shard: Build) -> bool:
    return shard()


def plain_error(error: ray.exceptions.RayTaskError) -> BaseException:
    """The error as it was raised on the worker, if it is one a user should read."""
    cause = error.cause
    return cause if isinstance(cause, UnderstudyError) else error
