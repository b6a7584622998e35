"""The view of trials in MLflow's table of runs."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from orchestrator.tracking.trial_table import TAG, TrialTable, trials_page


class Client:
    """An experiment's tags, and how often they were written."""

    def __init__(self) -> None:
        self.tags: dict[str, str] = {}
        self.written = 0

    def get_experiment(self, _: str) -> Any:
        return SimpleNamespace(tags=dict(self.tags))

    def set_experiment_tag(self, _: str, name: str, value: str) -> None:
        self.tags[name] = value
        self.written += 1

    @property
    def columns(self) -> list[str]:
        found: list[str] = json.loads(self.tags[TAG])["selectedColumns"]
        return found


def begins(kind: str, **params: str) -> dict[str, Any]:
    return {"event": "start", "tags": {"understudy.kind": kind}, "params": params}


SWEEP = begins("sweep", metric="accuracy")
SCORES = [f"metrics.`validation/accuracy{end}`" for end in ("", "_std", "_n", "_low", "_high")]
COSTS = ["metrics.`parameters`", "metrics.`macs`", "metrics.`seconds`"]


def test_it_shows_trials_by_the_searched_score_and_what_was_searched() -> None:
    client = Client()
    table = TrialTable(client, "3")  # type: ignore[arg-type]

    table.note([SWEEP, begins("trial", lr="0.1"), begins("trial", lr="0.2", depth="3")])

    state = json.loads(client.tags[TAG])
    assert state["searchFilter"] == "tags.`understudy.kind` = 'trial'"
    assert (state["orderByKey"], state["orderByAsc"]) == (SCORES[0], False)
    assert client.columns == [*SCORES, "params.`depth`", "params.`lr`", *COSTS]
    assert trials_page("3").startswith("/#/experiments/3/runs?viewStateShareKey=trials&")


def test_it_is_written_where_a_column_is_new_and_not_for_every_trial() -> None:
    client = Client()
    table = TrialTable(client, "3")  # type: ignore[arg-type]

    table.note([SWEEP])
    for _ in range(5):
        table.note([begins("trial", lr="0.1"), begins("fold run", fold="a"), {"event": "end"}])

    assert client.written == 2


def test_another_writer_goes_on_with_it() -> None:
    client = Client()
    TrialTable(client, "3").note([SWEEP, begins("trial", lr="0.1")])  # type: ignore[arg-type]

    TrialTable(client, "3").note([begins("trial", depth="2")])  # type: ignore[arg-type]

    assert client.columns == [*SCORES, "params.`depth`", "params.`lr`", *COSTS]


def test_of_an_evaluation_there_are_no_trials() -> None:
    client = Client()

    TrialTable(client, "3").note([begins("evaluation"), begins("fold run")])  # type: ignore[arg-type]

    assert client.written == 0
