"""A view of MLflow's runs that shows the trials of sweeps, best first, as somebody would set it up.

MLflow opens a table of runs in the state that a tag of the experiment holds, if the address names
that tag: trials alone, their score with deviation, n and interval, and what was searched.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING

from orchestrator.tracking.record import plain_name

if TYPE_CHECKING:
    from mlflow import MlflowClient

    from orchestrator.tracking.segment import Event

VIEW = "trials"
"""Name of the view, and end of the tag's name."""
TAG = f"mlflow.sharedViewState.{VIEW}"
_COSTS = ("parameters", "macs", "seconds")


def trials_page(experiment_id: str) -> str:
    """Where the table is, seen from the dashboard's address."""
    # without the second part MLflow's menus are those for language models
    shown = f"viewStateShareKey={VIEW}&workflowType=machine_learning"
    return f"/#/experiments/{experiment_id}/runs?{shown}"


class TrialTable:
    """Keeps the view in step with what sweeps search.

    Args:
        client: MLflow's client.
        experiment_id: MLflow's id of the experiment.
    """

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._held: dict[str, object] | None = None

    def note(self, events: Iterable[Event]) -> None:
        """Hear of runs that begin; MLflow is told where a column is new, which is rare.

        Raises:
            mlflow.exceptions.MlflowException: In an outage.
        """
        for event in events:
            if event["event"] != "start":
                continue
            kind, params = event["tags"].get("understudy.kind"), event["params"]
            if kind in ("sweep", "nested") and "metric" in params:
                self._have(f"validation/{params['metric']}", ())
            elif kind == "trial":
                self._have(None, params)

    def _have(self, score: str | None, params: Iterable[str]) -> None:
        if self._held is None:
            tags = self._client.get_experiment(self._experiment_id).tags
            self._held = json.loads(tags.get(TAG, "{}"))
        score = score or str(self._held.get("score", "validation/macro_recall"))
        before = self._held.get("params", [])
        assert isinstance(before, list)
        state = _state(score, sorted({*before, *map(plain_name, params)}))
        if state != self._held:
            self._client.set_experiment_tag(self._experiment_id, TAG, json.dumps(state))
            self._held = state


def _state(score: str, params: list[str]) -> dict[str, object]:
    columns = [f"metrics.`{score}{end}`" for end in ("", "_std", "_n", "_low", "_high")]
    columns += [f"params.`{name}`" for name in params]
    columns += [f"metrics.`{name}`" for name in _COSTS]
    return {
        "searchFilter": "tags.`understudy.kind` = 'trial'",
        "orderByKey": columns[0],
        "orderByAsc": False,
        "selectedColumns": columns,
        "columnOrder": ["attributes.`Run Name`", "runDateAndNestInfo", *columns],
        # ours, which MLflow leaves alone
        "score": score,
        "params": params,
    }
