"""What a worker reports comes out at the launcher's, once."""

from __future__ import annotations

from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
import ray

from orchestrator.training import passing_on as passing_on_module
from orchestrator.training.passing_on import PassingOn, passed_on


class Board:
    """What the board's actor does, called like an actor but here."""

    def __init__(self) -> None:
        board = passing_on_module._Board()
        self.add = SimpleNamespace(remote=board.add)
        self.take = SimpleNamespace(remote=board.take)


@pytest.fixture(autouse=True)
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    board = SimpleNamespace(options=lambda **options: SimpleNamespace(remote=Board))
    here = SimpleNamespace(get_node_id=lambda: "ab" * 28)
    monkeypatch.setattr(ray, "get_runtime_context", lambda: here)
    monkeypatch.setattr(ray, "remote", lambda **options: lambda actor: board)
    monkeypatch.setattr(ray, "get", lambda value: value)
    monkeypatch.setattr(ray, "kill", lambda actor: None)


class Told:
    def __init__(self, fault: Exception | None = None) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.fault = fault

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        if self.fault is not None:
            raise self.fault
        self.rows.append((step, dict(values)))


def test_every_epoch_is_heard_once_also_when_it_was_trained_again() -> None:
    told = Told()
    with passed_on(told) as board:
        first = PassingOn(board)
        first.metrics({"loss": 2.0}, step=1)
        first.metrics({"loss": 1.0}, step=2)
        # the worker was lost, and another went on from the first epoch
        second = PassingOn(board)
        second.metrics({"loss": 1.0}, step=2)
        second.metrics({"loss": 0.5}, step=3)
        second.finish()

    assert told.rows == [(1, {"loss": 2.0}), (2, {"loss": 1.0}), (3, {"loss": 0.5})]


def test_what_the_reporter_raises_fails_the_fit_as_with_one_worker() -> None:
    with (
        pytest.raises(OSError, match="No space left"),
        passed_on(Told(OSError("No space left"))) as board,
    ):
        PassingOn(board).metrics({"loss": 1.0}, step=1)


def test_the_fits_own_error_goes_before_the_reporters() -> None:
    def fails(board: Any) -> None:
        PassingOn(board).metrics({"loss": 1.0}, step=1)
        raise ValueError("training failed")

    with pytest.raises(ValueError, match="training failed"), passed_on(Told(OSError("x"))) as board:
        fails(board)
