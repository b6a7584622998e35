"""The runs that MLflow believes to be running."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from orchestrator.tracking.record import KEY_TAG

if TYPE_CHECKING:
    from mlflow import MlflowClient

_AT_ONCE = 1000


def open_runs(
    client: MlflowClient, experiment_id: str, keys: Collection[str] | None
) -> list[tuple[str, str]]:
    """The runs of an experiment that are RUNNING and were made by a journal.

    All are found before any is given out: ending a run takes it off the list that is paged through.

    Args:
        client: MLflow's client.
        experiment_id: MLflow's id of the experiment.
        keys: Only these runs; None: all.

    Returns:
        The key of each, and its id in MLflow.
    """
    found: list[tuple[str, str]] = []
    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            "attributes.status = 'RUNNING'",
            max_results=_AT_ONCE,
            page_token=token,
        )
        for run in page:
            key = run.data.tags.get(KEY_TAG)
            if key is not None and (keys is None or key in keys):
                found.append((key, run.info.run_id))
        token = page.token
        if not token:
            return found
