"""The tracking service: one Ray actor on the driver's node that tails the journals into MLflow.

Training never waits for it. It can die and be restarted (it reads the journals again, and replay is
idempotent), and it sits out an outage of MLflow.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Mapping
from typing import Any

from orchestrator.errors import StoreError, UnderstudyError
from orchestrator.store import Store
from orchestrator.tracking.address import absolute_uri, redacted, sqlite_path
from orchestrator.tracking.connection import artifacts_in
from orchestrator.tracking.failures import explained
from orchestrator.tracking.shipping import ship_leftovers
from orchestrator.tracking.writer import Writer, journals

_LONGEST_PAUSE = 30.0
# A remote store takes its time to list a large sweep; looking is to be a tenth of what happens.
_LOOKS_APART = 9.0
# Opening a new database takes MLflow seconds; training need not wait for a server that hangs.
_FIRST_ANSWER = 20.0
_SETTINGS = ("MLFLOW_", "AWS_", "GOOGLE_APPLICATION_CREDENTIALS", "PG")

log = logging.getLogger(__name__)


class Tail:
    """Tails the journals of one command. Runs in the tracking actor; needs no Ray itself.

    Args:
        store_uri: The store that holds the journals.
        uri: MLflow tracking URI.
        experiment: Name of the MLflow experiment.
        prefix: Folder of the journals in the store.
        poll: Seconds between looks at the store, default 1; in an outage they grow to 30, and where
            a look takes long, to nine times as long as it takes.
    """

    def __init__(
        self, store_uri: str, uri: str, experiment: str, prefix: str, poll: float = 1.0
    ) -> None:
        self._store = Store(store_uri)
        uri = absolute_uri(uri)
        artifacts = artifacts_in(self._store) if sqlite_path(uri) is None else None
        self._writer = Writer(uri, experiment, artifacts=artifacts)
        self._prefix = prefix
        self._poll = poll
        self._look_took = 0.0
        self._problem = ""
        self._behind: int | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._tried = threading.Event()
        self._thread = threading.Thread(target=self._run, name="tracking", daemon=True)

    def initialise(self, timeout: float = _FIRST_ANSWER) -> str:
        """Begin to tail, and wait for MLflow's first answer.

        Args:
            timeout: How long, in seconds.

        Returns:
            Why MLflow cannot be used now, with the mend; empty if it can. The tail goes on trying.
        """
        self.begin()
        if not self._tried.wait(timeout):
            return (
                f"tracking.uri: {redacted(self._writer.uri)!r} has not answered in {timeout:g} "
                "seconds; look at the server and the network"
            )
        return self._problem

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
        try:
            # of workers that were killed here, whose runs would be ended before they have told all
            ship_leftovers(self._store)
        except StoreError as error:
            self._complain(error)
        pending = self.flush(timeout)
        self.stop()
        try:
            with self._lock:
                self._writer.initialise()  # in an outage it says why
                found = journals(self._store, self._prefix)
                # a run whose own end may wait keeps its status until that is sent
                self._writer.close_open_runs(found.keys() - self._writer.waiting(found))
        except Exception as error:  # noqa: BLE001 - the results are safe; say it and go on
            self._complain(error)
        return pending

    def problem(self) -> str:
        """What the last failed attempt said; empty once one has succeeded."""
        return self._problem

    def refused(self) -> str:
        """What of the journals can never be sent, in words; empty if that is nothing."""
        refused = dict(self._writer.refused)
        if not refused:
            return ""
        name, reason = next(iter(refused.items()))
        return (
            f"{len(refused)} journal segments or files can never be sent to MLflow; the first: "
            f"{name}: {reason}"
        )

    def behind(self) -> int | None:
        """How many segments were pending when that was last known; waits for nobody."""
        return self._behind

    def _pending(self) -> int:
        try:
            with self._lock:
                self._behind = self._writer.pending(self._store, self._prefix)
                return self._behind
        except Exception as error:  # noqa: BLE001 - an unreadable store is retried like an outage
            self._complain(error)
            return 1

    def _step(self) -> bool:
        try:
            with self._lock:
                self._writer.initialise()
                self._tried.set()
                began = time.monotonic()
                found = journals(self._store, self._prefix)
                self._look_took = time.monotonic() - began
                self._behind = sum(self._writer.waiting(found).values())
                self._writer.replay_journals(self._store, found)
        except Exception as error:  # noqa: BLE001 - an outage is retried, whatever it raises
            self._complain(error)
            return False
        finally:
            self._tried.set()
        self._problem = ""
        return True

    def pause(self, failed: float = 0.0) -> float:
        """Seconds until the next look.

        Args:
            failed: The pause before the last look, if that failed.
        """
        if failed:
            return min(2.0 * failed, _LONGEST_PAUSE)
        return max(self._poll, _LOOKS_APART * self._look_took)

    def stop(self) -> None:
        """Tail no more."""
        self._stop.set()

    def _run(self) -> None:
        pause = 0.0
        while not self._stop.wait(pause):
            pause = self.pause() if self._step() else self.pause(failed=max(pause, self._poll))

    def _complain(self, error: Exception) -> None:
        message = explained(error, self._writer.uri)
        if message != self._problem:
            log.warning("tracking: MLflow has to wait, training goes on: %s", message)
        self._problem = message


class Tracking:
    """The driver's handle of the tracking actor. Nothing in it raises because of MLflow."""

    def __init__(self, actor: Any, *, store_uri: str, prefix: str, problem: str = "") -> None:
        self._actor = actor
        self._said_first = problem
        self._store_uri = store_uri
        self._prefix = prefix
        self.refused = ""
        """What of the journals MLflow will never take, in words; empty if that is nothing. Known
        once :meth:`close` has returned."""

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
        with contextlib.suppress(ray.exceptions.RayError):
            self.refused = str(ray.get(self._actor.refused.remote(), timeout=5.0))
        ray.kill(self._actor, no_restart=True)
        if pending:
            log.warning(
                "tracking: %d journal segments did not reach MLflow in %g seconds; they are kept "
                "in the store, and running the same command again sends them",
                pending,
                timeout,
            )
        return pending

    @property
    def problem(self) -> str:
        """Why MLflow cannot be used now, with the mend; empty if it can. Journals are kept."""
        import ray

        try:
            return str(ray.get(self._actor.problem.remote(), timeout=5.0))
        except ray.exceptions.RayError:
            # Gone: what it said last still holds as far as anybody knows.
            return self._said_first

    def _ask(self, method: str, timeout: float) -> int:
        import ray

        try:
            # The actor may be held up inside one request to a dead server before it looks up.
            answer = getattr(self._actor, method).remote(timeout)
            return int(ray.get(answer, timeout=timeout + 30.0))
        except ray.exceptions.RayError as error:
            log.warning("tracking: the actor does not answer (%s)", type(error).__name__)
            return self._behind()

    def _behind(self) -> int:
        """How much is pending as far as anybody knows: at most all there is."""
        import ray

        with contextlib.suppress(ray.exceptions.RayError):
            known = ray.get(self._actor.behind.remote(), timeout=5.0)
            if known is not None:
                return max(1, int(known))
        try:
            return sum(map(len, journals(Store(self._store_uri), self._prefix).values()))
        except StoreError:
            return 1


def start_tracking(
    store_uri: str,
    uri: str,
    experiment: str,
    prefix: str,
    *,
    poll: float = 1.0,
) -> Tracking:
    """Start the tracking actor on this node; needs ``ray.init`` to have been called.

    That MLflow cannot be used now stops nobody: :attr:`Tracking.problem` says why, the journals
    wait in the store, and the actor goes on trying.

    Args:
        store_uri: The store that the journals are written to.
        uri: MLflow tracking URI; a relative sqlite path starts from the working directory.
        experiment: Name of the MLflow experiment.
        prefix: Folder of this command's journals, such as ``journal/demo/sweep``: at the end,
            every run that has a journal there and is still RUNNING is ended.
        poll: Seconds between looks at the store, default 1.

    Raises:
        InputError: If ``uri`` can never be used.
        UnderstudyError: If Ray cannot start the actor.
    """
    uri = absolute_uri(uri)

    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    options: dict[str, Any] = {
        "num_cpus": 0,
        # while one call hangs in a request, another can be asked how far it is
        "max_concurrency": 2,
        "max_restarts": -1,
        "max_task_retries": 2,
        "scheduling_strategy": here,
    }
    actor_class: Any = ray.remote(**options)(_TrackingActor)
    actor = actor_class.remote(store_uri, uri, experiment, prefix, poll, _environment())
    try:
        problem = ray.get(actor.initialise.remote())
    except ray.exceptions.RayError as error:
        raise UnderstudyError(
            f"tracking: the actor that writes to MLflow did not start ({redacted(str(error))})"
        ) from error
    return Tracking(actor, store_uri=store_uri, prefix=prefix, problem=problem)


def _environment() -> dict[str, str]:
    """The settings here of MLflow, and of the databases and buckets it uses, with credentials.

    A cluster's processes have the environment that it was started with. Ray shows a runtime
    environment to whoever asks, and the arguments of an actor to nobody.
    """
    return {name: value for name, value in os.environ.items() if name.startswith(_SETTINGS)}


class _TrackingActor(Tail):
    """The tail as a Ray actor: one that was restarted goes on tailing without being asked."""

    def __init__(
        self,
        store_uri: str,
        uri: str,
        experiment: str,
        prefix: str,
        poll: float,
        environment: Mapping[str, str],
    ) -> None:
        import ray

        # where fold runs take every core, MLflow may wait
        os.nice(10)
        os.environ.update(environment)
        super().__init__(store_uri, uri, experiment, prefix, poll)
        if ray.get_runtime_context().was_current_actor_reconstructed:
            self.begin()
