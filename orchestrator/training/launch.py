"""Where a fit runs: in this process, or on several workers under Ray Train."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from orchestrator.errors import TrainingError, UnderstudyError
from orchestrator.training.memory import MemoryRanOutError, out_of_memory
from orchestrator.training.passing_on import PassingOn, passed_on
from orchestrator.training.ranks import Ranks
from orchestrator.training.state import fold_run_state
from orchestrator.training.task import FoldTask, Reporter, Silent

log = logging.getLogger(__name__)

Fit = Callable[[Path | None, Reporter, Ranks], None]
"""Trains, and writes what it fitted into the folder if it is given one (rank 0)."""

RETRIES = 2
"""Times that Ray Train starts the workers again when one is lost; the fit goes on from its
checkpoint."""


def launch(fit: Fit, folder: Path, reporter: Reporter, *, task: FoldTask, workers: int) -> None:
    """Run ``fit`` here, or on ``workers`` processes of Ray Train, leaving its files in ``folder``.

    The network, data and steps are the same either way; only sums over a batch are split (and with
    dropout each worker draws its own masks). Each worker gets the task's seed, threads and part of
    a GPU. ``reporter`` hears the epochs as they end, wherever they do. Where memory runs out, the
    workers go on once from their checkpoint with half as many utterances at once.

    Raises:
        UnderstudyError: the fit failed, here or on a worker, or workers were lost too often.
    """
    if workers == 1:
        fit(folder, reporter, Ranks())
        return
    on_ray = partial(_fit_on_ray, fit, reporter, task=task, workers=workers)
    try:
        files = on_ray()
    except MemoryRanOutError as error:
        if error.at_once == 1:
            raise
        fewer = math.ceil(error.at_once / 2)
        log.warning("%s; now it is tried with %d at once, of the same batch", error, fewer)
        files = on_ray(at_once=fewer)
    for name, data in files.items():
        (folder / name).write_bytes(data)


def _worker(config: dict[str, Any]) -> Mapping[str, bytes]:
    ranks = replace(Ranks.current(), at_once=config["at_once"])
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if ranks.rank == 0 else None
        told = PassingOn(config["board"])
        with fold_run_state(**config["state"]):
            config["fit"](folder, told if ranks.rank == 0 else Silent(), ranks)
        told.finish()
        return {path.name: path.read_bytes() for path in Path(scratch).iterdir()}


def _fit_on_ray(
    fit: Fit, reporter: Reporter, *, task: FoldTask, workers: int, at_once: int | None = None
) -> Mapping[str, bytes]:
    from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchConfig, TorchTrainer

    state = {
        "seed": task.seed,
        "threads": task.threads,
        "deterministic": task.deterministic,
        "gpus": task.gpus,
    }
    asked = {"CPU": float(task.threads), "GPU": task.gpus, "memory": float(task.memory)}
    resources = {name: amount for name, amount in asked.items() if amount}
    # nccl takes one process a GPU
    shared_gpu = 0.0 < task.gpus < 1.0
    with tempfile.TemporaryDirectory() as scratch, passed_on(reporter) as board:
        trainer = TorchTrainer(
            # Ray's annotation knows no train function that returns something, its Result does
            cast(Callable[[dict[Any, Any]], None], _worker),
            train_loop_config={"fit": fit, "board": board, "state": state, "at_once": at_once},
            torch_config=TorchConfig(backend="gloo" if shared_gpu else None),
            scaling_config=ScalingConfig(
                num_workers=workers, use_gpu=task.gpus > 0, resources_per_worker=resources
            ),
            run_config=RunConfig(
                # Train resumes whatever it finds under a name it has seen: a scratch folder has
                # none
                name="fit",
                storage_path=scratch,
                failure_config=FailureConfig(max_failures=RETRIES),
                callbacks=[_not_in_vain()],
            ),
        )
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            raise _reason(error, workers) from error
    files: Mapping[str, bytes] | None = result.return_value  # type: ignore[attr-defined]
    if not files:
        raise TrainingError(f"training on {workers} Ray Train workers returned no weights")
    return files


def _not_in_vain() -> Any:
    """A callback of Train's that ends a fit at once if to try again would be in vain."""
    from ray.train import UserCallback

    class NotInVain(UserCallback):
        def after_exception(
            self, run_context: object, worker_exceptions: Mapping[int, Exception]
        ) -> None:
            for error in worker_exceptions.values():
                if isinstance(error, UnderstudyError) or out_of_memory(error):
                    # what a callback raises is retried by nobody, and reaches the launcher
                    raise error

    return NotInVain()


def _reason(error: Exception, workers: int) -> UnderstudyError:
    """Why training failed: an error of ours as it is, else what Ray says of it."""
    cause = getattr(error, "controller_failure", None)
    if isinstance(cause, UnderstudyError):
        return cause
    return TrainingError(
        f"training on {workers} Ray Train workers failed: {error if cause is None else cause}"
    )
