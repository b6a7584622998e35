"""The tracking service: one Ray actor on the driver's node that tails the journals into MLflow.

Training never waits for it. It can die and be restarted (it reads the journals again, and replay is
idempotent), and it sits out an outage of MLflow.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from typing import Any

from orchestrator.errors import UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.address import absolute_uri, redacted
from orchestrator.tracking.journal import SEGMENT
from orchestrator.tracking.writer import Writer

_LONGEST_PAUSE = 30.0

log = logging.getLogger(__name__)


class Tail:
    """Tails the journals of one command. Runs in the tracking actor; needs no Ray itself.

    Args:
        store_uri: The store that holds the journals.
        uri: MLflow tracking URI.
        experiment: Name of the MLflow experiment.
        prefix: Folder of the journals in the store.
        poll: Seconds between looks at the store, default 1; in an outage they grow to 30.
    """

    def __init__(
        self, store_uri: str, uri: str, experiment: str, prefix: str, poll: float = 1.0
    ) -> None:
        # MLflow's client would try for minutes before it says that a server is gone.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        self._store = Store(store_uri)
        self._writer = Writer(uri, experiment)
        self._prefix = prefix
        self._poll = poll
        self._problem = ""
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def initialise(self) -> str:
        """Open MLflow and begin to tail.

        Returns:
            What is wrong with the tracking URI; empty if nothing.
        """
        try:
            with self._lock:
                self._writer.initialise()
        except UnderstudyError as error:
            return str(error)
        self.begin()
        return ""

    def begin(self) -> None:
        """Tail in the background from now on, MLflow or no MLflow."""
        if not self._thread.is_alive():
            self._thread.start()

    def flush(self, timeout: float) -> int:
        """Replay until nothing is pending, at most ``timeout`` seconds.

        Returns:
            How many segments are still pending.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._step()
            pending = self._pending()
            if not pending or time.monotonic() >= deadline:
                return pending
            time.sleep(min(self._poll, max(0.0, deadline - time.monotonic())))

    def close(self, timeout: float) -> int:
        """Flush, end what is left RUNNING of this command's runs, and stop.

        Returns:
            How many segments are still pending.
        """
        pending = self.flush(timeout)
        self._stop.set()
        if not pending:
            try:
                with self._lock:
                    keys = self._writer.keys(self._store, self._prefix)
                    self._writer.close_open_runs(keys)
            except Exception as error:  # noqa: BLE001 - the results are safe; say it and go on
                self._complain(error)
        return pending

    def problem(self) -> str:
        """What the last failed attempt said; empty once one has succeeded."""
        return self._problem

    def _pending(self) -> int:
        try:
            with self._lock:
                return self._writer.pending(self._store, self._prefix)
        except Exception as error:  # noqa: BLE001 - an unreadable store is retried like an outage
            self._complain(error)
            return 1

    def _step(self) -> bool:
        try:
            with self._lock:
                self._writer.initialise()
                self._writer.replay(self._store, self._prefix)
        except Exception as error:  # noqa: BLE001 - an outage is retried, whatever it raises
            self._complain(error)
            return False
        self._problem = ""
        return True

    def _run(self) -> None:
        pause = self._poll
        while not self._stop.wait(pause):
            pause = self._poll if self._step() else min(2 * pause, _LONGEST_PAUSE)

    def _complain(self, error: Exception) -> None:
        message = redacted(str(error))
        if message != self._problem:
            log.warning("tracking: MLflow has to wait, training goes on: %s", message)
        self._problem = message


class Tracking:
    """The driver's handle of the tracking actor. Neither method raises because of MLflow."""

    def __init__(self, actor: Any, *, store_uri: str, prefix: str) -> None:
        self._actor = actor
        self._store_uri = store_uri
        self._prefix = prefix

    def flush(self, timeout: float = 30.0) -> int:
        """Wait until MLflow holds what the journals say, at most ``timeout`` seconds.

        Returns:
            How many segments are still pending; 0 means that MLflow is up to date.
        """
        return self._ask("flush", timeout)

    def close(self, timeout: float = 60.0) -> int:
        """Flush, leave no run of this command RUNNING, and end the actor.

        Returns:
            How many segments are still pending. They stay in the store, and the same command run
            again replays them.
        """
        import ray

        pending = self._ask("close", timeout)
        ray.kill(self._actor, no_restart=True)
        if pending:
            log.warning(
                "tracking: %d journal segments did not reach MLflow in %g seconds; they are kept "
                "in the store, and running the same command again sends them",
                pending,
                timeout,
            )
        return pending

    def _ask(self, method: str, timeout: float) -> int:
        import ray

        try:
            # The actor may be held up inside one request to a dead server before it looks up.
            answer = getattr(self._actor, method).remote(timeout)
            return int(ray.get(answer, timeout=timeout + 30.0))
        except ray.exceptions.RayError as error:
            log.warning("tracking: the actor does not answer (%s)", type(error).__name__)
            names = Store(self._store_uri).list(self._prefix)
            return sum(1 for name in names if SEGMENT.search(name))


def start_tracking(
    store_uri: str, uri: str, experiment: str, prefix: str, *, poll: float = 1.0
) -> Tracking:
    """Start the tracking actor on this node; needs ``ray.init`` to have been called.

    Args:
        store_uri: The store that the journals are written to.
        uri: MLflow tracking URI; a relative sqlite path starts from the working directory.
        experiment: Name of the MLflow experiment.
        prefix: Folder of this command's journals, such as ``journals/demo/sweep``: at the end,
            every run that has a journal there and is still RUNNING is ended.
        poll: Seconds between looks at the store, default 1.

    Raises:
        UnderstudyError: If MLflow cannot be used at the start.
    """
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    uri = absolute_uri(uri)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 2,
        "scheduling_strategy": here,
    }
    actor_class: Any = ray.remote(**options)(_TrackingActor)
    actor = actor_class.remote(store_uri, uri, experiment, prefix, poll)
    try:
        wrong = ray.get(actor.initialise.remote())
    except ray.exceptions.RayError as error:
        raise UnderstudyError(
            f"tracking: the actor that writes to MLflow did not start ({error})"
        ) from error
    if wrong:
        ray.kill(actor, no_restart=True)
        raise UnderstudyError(wrong)
    return Tracking(actor, store_uri=store_uri, prefix=prefix)


class _TrackingActor(Tail):
    """The tail as a Ray actor: one that was restarted goes on tailing without being asked."""

    def __init__(self, store_uri: str, uri: str, experiment: str, prefix: str, poll: float) -> None:
        import ray

        # where fold runs take every core, MLflow may wait
        os.nice(10)
        super().__init__(store_uri, uri, experiment, prefix, poll)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self.begin()
