"""Warm Ray actors that run the evaluation's fold runs, so that imports are paid once each."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import ray

from orchestrator.capacity.slots import Slots, process_asks
from orchestrator.errors import UnderstudyError
from orchestrator.evaluation.attention_pictures import attention_picture
from orchestrator.evaluation.sealed import Job, Scored
from orchestrator.experiment.experiment import Resources
from orchestrator.recorded import recorded_run
from orchestrator.store import Artifact, Store
from orchestrator.teachers_to_fit import asks_teacher
from orchestrator.tracking.tree import RunTree
from orchestrator.training.fold_run import predict
from orchestrator.training.state import fold_run_state
from orchestrator.training.task import FoldTask
from orchestrator.training.teacher import teacher_inputs

log = logging.getLogger(__name__)

RETRIES = 2
"""Fold runs lost with their actor (a node that died) are run again so many times."""


@dataclass(frozen=True)
class Failed:
    """A fold run that raised; its reason is a paragraph."""

    job: Job
    reason: str


class FoldWorker:
    """Trains and scores one job after another."""

    def __init__(self, store: Store, tree: RunTree) -> None:
        self.store = store
        self.tree = tree

    def run(self, job: Job) -> Scored:
        """Train (or find) the job's network and its logits on the sealed utterances."""
        journal = self.tree.journal(*job.place)
        outcome = recorded_run(
            job.task,
            store=self.store,
            journal=journal,
            tree=self.tree,
            parent=self.tree.key(job.system),
            role=job.role,
            teacher_evaluated=_same_teacher(job),
        )
        predictions = predict(
            job.task, job.sealed, store=self.store, trained=outcome.artifact, role=job.role
        )
        picture = None
        if job.pictured:
            picture = self._picture(job.task, outcome.artifact)
            if picture is not None:
                journal.artifact("attention.png", picture)
        journal.flush()
        return Scored(
            job=job,
            logits=np.load(predictions.path / "logits.npy"),
            epoch=outcome.epoch,
            parameters=outcome.parameters,
            reused=outcome.reused,
            notes=outcome.notes,
            trained=outcome.artifact.key,
            validation=outcome.validation,
            history=outcome.history,
            picture=picture,
        )

    def _picture(self, task: FoldTask, trained: Artifact) -> bytes | None:
        """What the student attends to; a picture that cannot be drawn fails no fold run."""
        try:
            with fold_run_state(seed=task.seed, threads=task.threads):
                return attention_picture(task, self.store, trained)
        except Exception as error:
            log.warning("%s, %s: no picture of attention: %s", task.corpus, task.fold, error)
            return None


def _same_teacher(job: Job) -> bool:
    """Whether the teacher that a student listens to is a system of the evaluation itself."""
    if job.teacher is None or not asks_teacher(job.task.recipe):
        return False
    own, other = (
        teacher_inputs(task, task.train) for task in (job.task, job.task.with_recipe(job.teacher))
    )
    return own == other


def run_jobs(
    jobs: Sequence[Job],
    *,
    store: Store,
    tree: RunTree,
    resources: Resources,
    slots: Slots,
    lost: Callable[[Job], None],
) -> Iterator[Scored | Failed]:
    """Run ``jobs``, ``slots.at_once`` together, and yield each as it ends, in no fixed order.

    An actor that is lost, or whose job failed, is replaced: an out-of-memory or CUDA error may have
    left it unfit. One that has nothing left to do goes at once, so that another, still waiting for
    its resources, may have them. ``lost`` hears of each job that begins again in another actor.
    """
    asks = process_asks(resources, slots)
    actor_class: Any = ray.remote(
        num_cpus=asks["CPU"], num_gpus=asks["GPU"], memory=asks["memory"]
    )(FoldWorker)
    queue = list(reversed(jobs))
    losses: dict[tuple[str | int, ...], int] = {}
    idle = [actor_class.remote(store, tree) for _ in range(min(slots.at_once, len(jobs)))]
    running: dict[Any, tuple[Job, Any]] = {}
    try:
        while queue or running:
            while idle and not queue:
                ray.kill(idle.pop())
            while queue and idle:
                job, actor = queue.pop(), idle.pop()
                running[actor.run.remote(job)] = (job, actor)
            done, _ = ray.wait(list(running), num_returns=1)
            job, actor = running.pop(done[0])
            try:
                scored: Scored = ray.get(done[0])
            except ray.exceptions.RayTaskError as error:
                cause = error.cause
                known = isinstance(cause, UnderstudyError)
                reason = str(cause) if known else f"{type(cause).__name__}: {cause}"
                idle.append(_replaced(actor, actor_class, store, tree))
                yield Failed(job, reason)
            except ray.exceptions.RayActorError as error:
                idle.append(_replaced(actor, actor_class, store, tree))
                losses[job.place] = losses.get(job.place, 0) + 1
                if losses[job.place] <= RETRIES:
                    lost(job)
                    queue.append(job)
                else:
                    yield Failed(job, f"its worker was lost {RETRIES + 1} times ({error})")
            else:
                idle.append(actor)
                yield scored
    finally:
        for actor in [*idle, *(actor for _, actor in running.values())]:
            ray.kill(actor)


def _replaced(actor: Any, actor_class: Any, store: Store, tree: RunTree) -> Any:
    ray.kill(actor)
    return actor_class.remote(store, tree)
