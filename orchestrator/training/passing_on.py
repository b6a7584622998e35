"""Epochs' metrics on their way from a worker to whoever launched it, while training goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any

from orchestrator.training.task import Reporter

_SECONDS = 1.0
"""Between two looks at what has come."""


class _Board:
    """What workers have told and nobody has heard yet."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, dict[str, float]]] = []

    def add(self, values: dict[str, float], step: int) -> None:
        self.rows.append((step, values))

    def take(self) -> list[tuple[int, dict[str, float]]]:
        rows, self.rows = self.rows, []
        return rows


class PassingOn:
    """A reporter for a worker: what it is told comes out at the launcher's. Training never waits.

    Args:
        board: from :func:`passed_on`.
    """

    def __init__(self, board: Any) -> None:
        self._board = board
        self._last: Any = None

    def metrics(self, values: Mapping[str, float], *, step: int) -> None:
        """Named values after epoch ``step``."""
        self._last = self._board.add.remote(dict(values), step)

    def finish(self) -> None:
        """Wait until all of it has arrived."""
        import ray

        if self._last is not None:
            ray.get(self._last)


@contextmanager
def passed_on(reporter: Reporter) -> Iterator[Any]:
    """A board for workers to tell their epochs to; ``reporter`` hears each epoch once.

    When a worker was lost, epochs since its checkpoint are trained again: with the same numbers, so
    nobody need hear them again.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = ray.get_runtime_context().get_node_id()
    strategy = NodeAffinitySchedulingStrategy(here, soft=False)
    actor: Any = ray.remote(num_cpus=0)(_Board)
    # a board on another node could be lost without this one
    board = actor.options(scheduling_strategy=strategy).remote()
    ended = threading.Event()
    with ThreadPoolExecutor(max_workers=1) as listeners:
        listening = listeners.submit(_listen, board, reporter, ended)
        try:
            yield board
        finally:
            ended.set()
            wait([listening])
            ray.kill(board)
        # what the reporter raised is raised here, as where there is one worker
        listening.result()


def _listen(board: Any, reporter: Reporter, ended: threading.Event) -> None:
    import ray

    heard = 0
    while True:
        last = ended.wait(_SECONDS)
        for step, values in ray.get(board.take.remote()):
            if step > heard:
                reporter.metrics(values, step=step)
                heard = step
        if last:
            return
