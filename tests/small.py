"""The smallest experiment that goes through the whole house, for the tests that run it."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

from mlflow.entities import Run

from orchestrator.experiment import Experiment, load_experiment

TEXT = """\
name: small
corpora: [{kind: synthetic, sessions: 3, utterances_per_emotion: 1}]
protocol: {kind: leave-one-session-out}
features: {kind: log-mel, bins: 8}
recipe:
  teacher: &network
    kind: vertical-vit
    dim: 8
    depth: 1
    heads: 1
    head_dim: 8
    mlp_dim: 8
    patch_frames: 16
  student: *network
  objectives: {cross_entropy: 1.0, distillation: 0.5}
  training: {epochs: 2, batch_size: 16}
search: {space: distillation, trials: 3}
evaluate: {seeds: [0]}
"""
"""Three folds of eight training utterances each."""


def write(folder: Path, text: str = TEXT, *, database: Path | None = None) -> Path:
    """The experiment file in ``folder``, with its store and tracking database beside it.

    Args:
        folder: is made.
        text: of the file, without the places.
        database: a tracking database to begin with.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if database is not None:
        shutil.copy(database, folder / "runs.db")
    file = folder / "small.yaml"
    places = f"store: {folder}/store\ntracking: {{uri: 'sqlite:///{folder}/runs.db'}}\n"
    file.write_text(text + places)
    return file


def load(folder: Path, *overrides: str, database: Path | None = None) -> Experiment:
    """The experiment, written into ``folder`` and read."""
    return load_experiment(write(folder, database=database), overrides=overrides)


def artifacts(store: Path, stage: str) -> dict[str, int]:
    """The keys of a stage's artifacts, each with the time (ns) when it was written."""
    found = (store / "artifacts" / stage).glob("*/*/manifest.json")
    return {file.parent.name: file.stat().st_mtime_ns for file in found}


def runs(folder: Path, experiment: str = "small") -> list[Run]:
    """Every run that MLflow holds of an experiment."""
    from mlflow import MlflowClient

    client = MlflowClient(f"sqlite:///{folder}/runs.db")
    home = client.get_experiment_by_name(experiment)
    assert home is not None
    return list(client.search_runs([home.experiment_id], max_results=1000))


def tree(found: Sequence[Run]) -> list[tuple[str, ...]]:
    """Each run as the names from the top run down to it, sorted."""
    by_id = {run.info.run_id: run for run in found}

    def way(run: Run) -> tuple[str, ...]:
        parent = run.data.tags.get("mlflow.parentRunId")
        return (*(way(by_id[parent]) if parent else ()), run.info.run_name)

    return sorted(way(run) for run in found)
