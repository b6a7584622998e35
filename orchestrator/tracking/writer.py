"""The one writer to MLflow: replays journals, any number of times, to the same tree of runs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import UnderstudyError
from orchestrator.tracking.address import absolute_uri, redacted
from orchestrator.tracking.connection import connect, is_final
from orchestrator.tracking.files import (
    RefusedFileError,
    UnsentFileError,
    last_files,
    place,
    send_file,
)
from orchestrator.tracking.journal import SEGMENT, Event, SegmentStore, read_segment
from orchestrator.tracking.open_runs import open_runs
from orchestrator.tracking.record import (
    KEY_TAG,
    MLFLOW_PARENT_TAG,
    PARENT_TAG,
    REASON_TAG,
    SEGMENT_TAG,
    Point,
    RunRecord,
    batches,
    news,
    points,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


log = logging.getLogger(__name__)


class Writer:
    """Writes one MLflow experiment. There must be one writer at a time (law 6).

    Args:
        uri: MLflow tracking URI; a relative sqlite path starts from the working directory.
        experiment: Name of the MLflow experiment, made if missing.

    Raises:
        InputError: If ``uri`` is a folder.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        self.uri = absolute_uri(uri)
        self.experiment = experiment
        self.refused: dict[str, str] = {}
        """Segments, and files of theirs, that cannot be replayed, ever, with the reason."""
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._runs: dict[str, RunRecord] = {}
        self._orphans: dict[str, set[str]] = {}
        self._done: set[str] = set()

    def initialise(self) -> None:
        """Make the database and the experiment if they are missing. Can be called again.

        Raises:
            UnderstudyError: If the database or server cannot be used.
        """
        if self._client is None:
            self._client, self._experiment_id = connect(self.uri, self.experiment)

    def replay(self, store: SegmentStore, prefix: str) -> int:
        """Send what the journals under ``prefix`` hold beyond what was sent before.

        Args:
            store: Where the journals are.
            prefix: Folder of the journals, as given to them.

        Returns:
            Number of segments that were new to this writer.

        Raises:
            UnderstudyError: If :meth:`initialise` has not succeeded, or the store cannot be read.
            UnsentFileError: If MLflow's place for files is out of reach; all else has been sent.
            mlflow.exceptions.MlflowException: In an outage; call again later, nothing is lost.
        """
        unsent: UnsentFileError | None = None
        fresh: dict[str, list[str]] = {}
        for name in self._pending(store, prefix):
            fresh.setdefault(name.split("/")[-2], []).append(name)
        for key, names in fresh.items():
            try:
                self._replay_run(store, key, names)
            except UnsentFileError as error:
                # No reason for the other runs to wait: their measurements have somewhere to go.
                unsent = error
        if unsent is not None:
            raise unsent
        return sum(map(len, fresh.values()))

    def pending(self, store: SegmentStore, prefix: str) -> int:
        """How many segments under ``prefix`` have not been replayed."""
        return len(self._pending(store, prefix))

    def _pending(self, store: SegmentStore, prefix: str) -> list[str]:
        names = (name for name in store.list(prefix) if SEGMENT.search(name))
        return sorted(name for name in names if name not in self._done)

    def keys(self, store: SegmentStore, prefix: str) -> set[str]:
        """Keys of the runs that have journals under ``prefix``."""
        return {name.split("/")[-2] for name in store.list(prefix) if SEGMENT.search(name)}

    def _replay_run(self, store: SegmentStore, key: str, names: Sequence[str]) -> None:
        from mlflow.exceptions import MlflowException

        events: list[Event] = []
        for name in names:
            try:
                events += [
                    {**event, "segment": name} for event in read_segment(store.read_bytes(name))
                ]
            except ValueError as error:
                self._refuse([name], error)
        try:
            self.apply(events, store)
        except (KeyError, ValueError) as error:
            self._refuse(names, error)
        except MlflowException as error:
            if not is_final(error):
                raise
            self._refuse(names, error)
        self._done.update(names)

    def _refuse(self, names: Iterable[str], error: Exception) -> None:
        reason = redacted(str(error))
        for name in names:
            if self.refused.get(name) != reason:
                log.warning("tracking: %s cannot be replayed: %s", name, reason)
            self.refused[name] = reason

    def apply(self, events: Iterable[Event], store: SegmentStore) -> None:
        """Bring MLflow up to date with events, in their order; the same again change nothing.

        Args:
            events: What segments hold, each with the segment's name in the store as ``segment``.
            store: Where the files lie that events speak of.

        Raises:
            UnderstudyError: If :meth:`initialise` has not succeeded, or the store cannot be read.
            UnsentFileError: If MLflow's place for files is out of reach.
            mlflow.exceptions.MlflowException: In an outage, or if MLflow refuses a value.
        """
        by_run: dict[str, list[Event]] = {}
        for event in events:
            by_run.setdefault(event["key"], []).append(event)
        for key, told in by_run.items():
            self._apply_run(key, told, store)

    def _apply_run(self, key: str, events: Sequence[Event], store: SegmentStore) -> None:
        run = self._known(key) or self._create(key, events)
        if run.deleted:
            return
        sent = [event for event in events if run.holds(event)]
        run.remember(points(sent))
        if len(sent) < len(events):
            self._send(run, events[len(sent) :], store)

    def _send(self, run: RunRecord, events: Sequence[Event], store: SegmentStore) -> None:
        fresh = run.unknown(points(events))
        params, tags = news(run, events)
        files = [it for it in last_files(events) if run.files.get(it["name"]) != it["sha256"]]
        self._set_status(run, events)
        # The tag that says what MLflow holds goes last of all, so that what a crash cut short is
        # sent again; measurements do not wait for files, which may have to go to another server.
        if files:
            mark = {name: tags.pop(name) for name in (SEGMENT_TAG,) if name in tags}
            self._log(run, fresh, params, tags)
            self._send_files(run, files, store)
            fresh, params, tags = [], {}, mark
        self._log(run, fresh, params, tags)

    def _send_files(self, run: RunRecord, events: Iterable[Event], store: SegmentStore) -> None:
        for event in events:
            try:
                send_file(self._mlflow, run.run_id, event, store)
            except RefusedFileError as error:
                self._refuse([place(event)], error)
            else:
                run.files[event["name"]] = event["sha256"]

    def _log(
        self,
        run: RunRecord,
        fresh: Sequence[Point],
        params: Mapping[str, str],
        tags: Mapping[str, str],
    ) -> None:
        from mlflow.entities import Metric, Param, RunTag

        for some in batches(fresh, params, tags, last_tag=SEGMENT_TAG):
            self._mlflow.log_batch(
                run.run_id,
                [Metric(one.name, float(one.value), one.time, one.step) for one in some.points],
                [Param(name, value) for name, value in some.params],
                [RunTag(name, value) for name, value in some.tags],
                synchronous=True,
            )
        run.remember(fresh)
        run.params |= params
        run.tags |= tags

    def _set_status(self, run: RunRecord, events: Sequence[Event]) -> None:
        turns = [event for event in events if event["event"] in {"start", "end"}]
        if not turns:
            return
        last = turns[-1]
        if last["event"] == "end":
            self._mlflow.set_terminated(run.run_id, last["status"], end_time=last["time"])
            run.status = last["status"]
        elif run.status != "RUNNING":
            self._mlflow.update_run(run.run_id, "RUNNING")
            run.status = "RUNNING"

    def _known(self, key: str) -> RunRecord | None:
        """The run of a key, from memory or from MLflow, also if it was deleted there."""
        if key in self._runs:
            return self._runs[key]
        from mlflow.entities import ViewType

        found = self._mlflow.search_runs(
            [self._experiment_id], f"tags.`{KEY_TAG}` = '{key}'", ViewType.ALL, max_results=1
        )
        return self._remember(key, found[0]) if found else None

    def _create(self, key: str, events: Sequence[Event]) -> RunRecord:
        start = next((event for event in events if event["event"] == "start"), {})
        tags = {KEY_TAG: key}
        parent = start.get("parent")
        if parent:
            tags[PARENT_TAG] = parent
        created = self._mlflow.create_run(
            self._experiment_id,
            start_time=events[0]["time"],
            tags=tags,
            run_name=start.get("name", key),
        )
        return self._remember(key, created)

    def _remember(self, key: str, mlflow_run: Run) -> RunRecord:
        run = RunRecord(
            run_id=mlflow_run.info.run_id,
            status=mlflow_run.info.status,
            deleted=mlflow_run.info.lifecycle_stage != "active",
            params=dict(mlflow_run.data.params),
            tags=dict(mlflow_run.data.tags),
            held=mlflow_run.data.tags.get(SEGMENT_TAG, ""),
        )
        self._runs[key] = run
        parent = run.tags.get(PARENT_TAG)
        if parent and MLFLOW_PARENT_TAG not in run.tags:
            # The parent's journal may reach the store after its child's.
            self._orphans.setdefault(parent, set()).add(key)
            if parent in self._runs or self._known(parent):
                self._adopt(parent)
        self._adopt(key)
        return run

    def _adopt(self, parent: str) -> None:
        """Put the runs that waited for ``parent`` under it."""
        for child in sorted(self._orphans.get(parent, ())):
            run = self._runs[child]
            if not run.deleted:
                self._mlflow.set_tag(run.run_id, MLFLOW_PARENT_TAG, self._runs[parent].run_id)
            run.tags[MLFLOW_PARENT_TAG] = self._runs[parent].run_id
            self._orphans[parent].discard(child)

    def close_open_runs(
        self,
        keys: Collection[str] | None = None,
        *,
        status: str = "KILLED",
        reason: str = "the process that ran it ended without a word",
    ) -> int:
        """End the runs that are still RUNNING in MLflow.

        Args:
            keys: Only these runs; default: all that a journal ever made in this experiment.
            status: ``KILLED`` (default), ``FAILED`` or ``FINISHED``.
            reason: Written beside it.

        Returns:
            How many were ended.
        """
        found = open_runs(self._mlflow, self._experiment_id, keys)
        for key, run_id in found:
            self._mlflow.set_tag(run_id, REASON_TAG, reason)
            self._mlflow.set_terminated(run_id, status)
            if key in self._runs:
                self._runs[key].status = status
                self._runs[key].tags[REASON_TAG] = reason
        return len(found)

    @property
    def _mlflow(self) -> MlflowClient:
        if self._client is None:
            raise UnderstudyError("tracking: the MLflow writer was not initialised")
        return self._client
