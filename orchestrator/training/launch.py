"""Where a fit runs: in this process, or on several workers under Ray Train."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

from orchestrator.errors import TrainingError, UnderstudyError
from orchestrator.training.files import HISTORY, read_json
from orchestrator.training.ranks import Ranks
from orchestrator.training.state import fold_run_state
from orchestrator.training.task import FoldTask, Reporter, Silent

Fit = Callable[[Path | None, Reporter, Ranks], None]
"""Trains, and writes what it fitted into the folder if it is given one (rank 0)."""


def launch(fit: Fit, folder: Path, reporter: Reporter, *, task: FoldTask, workers: int) -> None:
    """Run ``fit`` here, or on ``workers`` processes of Ray Train, leaving its files in ``folder``.

    The network, data and steps are the same either way; only sums over a batch are split (and with
    dropout each worker draws its own masks). Each worker gets the task's seed and threads. Under
    Ray Train the epochs' metrics are reported when training has ended.

    Raises:
        TrainingError: the fit failed, here or on a worker.
    """
    if workers == 1:
        fit(folder, reporter, Ranks())
        return
    for name, data in _fit_on_ray(fit, task=task, workers=workers).items():
        (folder / name).write_bytes(data)
    for epoch, row in enumerate(read_json(folder / HISTORY), start=1):
        reporter.metrics(row, step=epoch)


def _worker(config: dict[str, Any]) -> Mapping[str, bytes]:
    ranks = Ranks.current()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) if ranks.rank == 0 else None
        with fold_run_state(seed=config["seed"], threads=config["threads"]):
            config["fit"](folder, Silent(), ranks)
        return {path.name: path.read_bytes() for path in Path(scratch).iterdir()}


def _fit_on_ray(fit: Fit, *, task: FoldTask, workers: int) -> Mapping[str, bytes]:
    from ray.train import RunConfig, ScalingConfig, TrainingFailedError
    from ray.train.torch import TorchTrainer

    with tempfile.TemporaryDirectory() as scratch:
        trainer = TorchTrainer(
            # Ray's annotation knows no train function that returns something, its Result does
            cast(Callable[[dict[Any, Any]], None], _worker),
            train_loop_config={"fit": fit, "seed": task.seed, "threads": task.threads},
            scaling_config=ScalingConfig(
                num_workers=workers,
                use_gpu=task.device != "cpu",
                resources_per_worker={"CPU": task.threads},
            ),
            # Train resumes whatever it finds under a name it has seen: a scratch folder has none.
            run_config=RunConfig(name="fit", storage_path=scratch),
        )
        try:
            result = trainer.fit()
        except TrainingFailedError as error:
            # a worker's own reason is a paragraph, Ray's is a traceback
            failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
            known = [it for it in failures.values() if isinstance(it, UnderstudyError)]
            raise TrainingError(
                f"training on {workers} Ray Train workers failed: {known[0] if known else error}"
            ) from error
    files: Mapping[str, bytes] | None = result.return_value  # type: ignore[attr-defined]
    if not files:
        raise TrainingError(f"training on {workers} Ray Train workers returned no weights")
    return files
