"""The one writer to MLflow: replays journals, any number of times, to the same tree of runs."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from orchestrator.errors import StoreError, UnderstudyError
from orchestrator.tracking.address import absolute_uri, redacted
from orchestrator.tracking.attachments import has_attachments, send_attachments
from orchestrator.tracking.connection import connect, is_final
from orchestrator.tracking.files import UnsentFileError
from orchestrator.tracking.links import link_tags, linked_keys
from orchestrator.tracking.open_runs import open_runs
from orchestrator.tracking.record import (
    END_TAG,
    REASON_TAG,
    SEGMENT_TAG,
    Mark,
    Point,
    RunRecord,
    batches,
    file_name,
    news,
    points,
    timely,
    unknown,
    value_text,
)
from orchestrator.tracking.runs import Runs
from orchestrator.tracking.segment import SEGMENT, Event, SegmentStore, read_segment
from orchestrator.tracking.trial_table import TrialTable

if TYPE_CHECKING:
    from mlflow import MlflowClient

# What is read of a run before it is sent: a long run's journal is not read whole.
_BYTES_AT_ONCE = 1 << 20
# One run may be at fault; when several fail in a row, it is MLflow.
_FAILURES_IN_A_ROW = 3

log = logging.getLogger(__name__)


class Writer:
    """Writes one MLflow experiment. There must be one writer at a time (law 6).

    What it remembers grows with the number of runs, and not with what they measured.

    Args:
        uri: MLflow tracking URI; a relative sqlite path starts from the working directory.
        experiment: Name of the MLflow experiment, made if missing.
        artifacts: Folder or URI for the files of an experiment that it makes in a database;
            default: beside an sqlite database. A server has a place of its own.

    Raises:
        InputError: If ``uri`` can never be used.
    """

    def __init__(self, uri: str, experiment: str, *, artifacts: str | None = None) -> None:
        self.uri = absolute_uri(uri)
        self.experiment = experiment
        self.refused: dict[str, str] = {}
        """Segments, and files of theirs, that cannot be replayed, ever, with the reason."""
        self._artifacts = artifacts
        self._client: MlflowClient | None = None
        self._experiment_id = ""
        self._table: TrialTable
        self._known_runs: Runs | None = None
        self._marks: dict[str, Mark] = {}
        self._doubtful = False

    def initialise(self) -> None:
        """Make the database and the experiment if they are missing. Can be called again.

        Raises:
            UnderstudyError: If the database or server cannot be used now.
        """
        if self._client is None or self._known_runs is None:
            self._client, self._experiment_id = connect(self.uri, self.experiment, self._artifacts)
            self._table = TrialTable(self._client, self._experiment_id)

    def replay(self, store: SegmentStore, prefix: str) -> int:
        """Send what the journals under ``prefix`` hold beyond what was sent before.

        Args:
            store: Where the journals are.
            prefix: Folder of the journals, as given to them.

        Returns:
            Number of segments that were new to this writer.

        Raises:
            UnderstudyError: If :meth:`initialise` has not succeeded.
            UnsentFileError: If MLflow's place for files is out of reach; all else has been sent.
            StoreError: If journals cannot be read.
            mlflow.exceptions.MlflowException: In an outage, or if MLflow fails at one run, again
                and again. As with a StoreError, the other runs have been sent unless several in a
                row failed. Call again later, nothing is lost.
        """
        return self.replay_journals(store, journals(store, prefix))

    def replay_journals(self, store: SegmentStore, found: Mapping[str, Sequence[str]]) -> int:
        """As :meth:`replay`, of what :func:`journals` found."""
        runs = self._runs
        trouble: Exception | None = None
        doubtful = False
        count = in_a_row = 0
        for key, names in found.items():
            new = len(self._rest(key, names))
            if not new:
                continue
            try:
                self._replay_run(store, key, names)
            except UnsentFileError as error:
                # No reason for the other runs to wait: their measurements have somewhere to go.
                trouble = trouble or error
            except Exception as error:  # noqa: BLE001 - raised below, when the others are sent
                trouble = error
                doubtful |= not isinstance(error, StoreError)
                in_a_row += 1
                if in_a_row == _FAILURES_IN_A_ROW:
                    break
            else:
                count, in_a_row = count + new, 0
        if count and (in_a_row == 0 or not doubtful):
            runs.join()
        if doubtful:
            self._look_again()
        if trouble is not None:
            raise trouble
        return count

    def pending(self, store: SegmentStore, prefix: str) -> int:
        """How many segments under ``prefix`` this writer has not replayed."""
        return sum(self.waiting(journals(store, prefix)).values())

    def waiting(self, found: Mapping[str, Sequence[str]]) -> dict[str, int]:
        """By key, how many segments of what :func:`journals` found were not replayed."""
        counts = {key: len(self._rest(key, names)) for key, names in found.items()}
        return {key: count for key, count in counts.items() if count}

    def _rest(self, key: str, names: Sequence[str]) -> Sequence[str]:
        return self._marks.get(key, Mark()).rest(names)

    def _look_again(self) -> None:
        """Believe nothing of what MLflow holds: a request that failed may have been carried out."""
        self._known_runs = None
        self._doubtful = True

    def _replay_run(self, store: SegmentStore, key: str, names: Sequence[str]) -> None:
        known = self._runs.find(key)
        if known is None or not known.deleted:
            held = self._marks.get(key) or (known.mark if known is not None else Mark())
            done = len(names) - len(held.rest(names))
            # What turned a run on or off before is not news when it is told again.
            since = held.last if held.last in map(file_name, names) else ""
            for some, events in self._read(store, names[done:]):
                done += len(some)
                mark = Mark.after(names[:done])
                self._try_to_send(key, events, store, names=some, mark=mark, since=since)
                self._marks[key] = mark
        self._marks[key] = Mark.after(names)

    def _read(
        self, store: SegmentStore, names: Sequence[str]
    ) -> Iterator[tuple[list[str], list[Event]]]:
        """Segments, and their events, as many at once as may be in memory."""
        some: list[str] = []
        events: list[Event] = []
        size = 0
        for name in names:
            data = store.read_bytes(name)
            some.append(name)
            size += len(data)
            try:
                events += [{**event, "segment": name} for event in read_segment(data)]
            except ValueError as error:
                self._refuse([name], error)
            if size >= _BYTES_AT_ONCE:
                yield some, events
                some, events, size = [], [], 0
        if some:
            yield some, events

    def _try_to_send(
        self,
        key: str,
        events: Sequence[Event],
        store: SegmentStore,
        *,
        names: Sequence[str],
        mark: Mark,
        since: str,
    ) -> None:
        if not events:
            self._go_past(key, mark)
            return
        try:
            run = self._record(key, events)
            self._send(key, run, events, store, mark=mark, since=since)
        except Exception as error:
            if not (isinstance(error, KeyError | ValueError) or is_final(error)):
                raise
            # MLflow may have taken a part of it.
            self._runs.let_go(key)
            if len(names) == 1:
                self._refuse(names, error)
                self._go_past(key, mark)
                return
            # The fault of one segment is not that of those it was read with.
            for place, name in enumerate(names, mark.count - len(names) + 1):
                some = [event for event in events if event["segment"] == name]
                here = Mark(place, file_name(name))
                self._try_to_send(key, some, store, names=[name], mark=here, since=since)
        else:
            if run.status != "RUNNING":
                self._runs.let_go(key)

    def _go_past(self, key: str, mark: Mark) -> None:
        """Note in MLflow that there is nothing to send up to a mark."""
        if self._runs.find(key) is not None:
            self._log(self._runs.record(key), [], {}, {SEGMENT_TAG: str(mark)})
            self._runs.let_go(key)

    def _refuse(self, names: Iterable[str], error: Exception) -> None:
        reason = redacted(str(error))
        for name in names:
            if self.refused.get(name) != reason:
                log.warning("tracking: %s cannot be replayed: %s", name, reason)
            self.refused[name] = reason

    def _record(self, key: str, events: Sequence[Event]) -> RunRecord:
        if self._runs.find(key) is not None:
            return self._runs.record(key)
        start = next((event for event in events if event["event"] == "start"), {})
        blank = RunRecord(run_id="", status="", params={}, tags={})
        return self._runs.create(
            key,
            name=start.get("name", key),
            parent=start.get("parent"),
            time=events[0]["time"],
            tags={**news(blank, events).tags, **link_tags(events, {})},
        )

    def _send(
        self,
        key: str,
        run: RunRecord,
        events: Sequence[Event],
        store: SegmentStore,
        *,
        mark: Mark,
        since: str,
    ) -> None:
        events = timely(run, events)
        self._table.note(events)
        told = points(events)
        fresh = unknown(told, self._held(run, told))
        new = news(run, events)
        links = link_tags(events, run.tags)
        self._runs.links(key, linked_keys(links))
        tags = {**new.tags, **links}
        params: Mapping[str, str] = new.params
        self._set_status(run, [one for one in events if file_name(one["segment"]) > since])
        ends = [one for one in events if one["event"] == "end"]
        ended = {END_TAG: str(ends[-1]["time"])} if ends else {}
        # The tags that say what MLflow holds go last of all, so that what a crash cut short is
        # sent again; measurements do not wait for files, which may have to go to another server.
        if has_attachments(run, events, new.long):
            self._log(run, fresh, params, tags)
            send_attachments(
                self._mlflow,
                self._experiment_id,
                run,
                events,
                new.long,
                store=store,
                refuse=lambda name, error: self._refuse([name], error),
            )
            fresh, params, tags = [], {}, {}
        self._log(run, fresh, params, {**tags, **ended, SEGMENT_TAG: str(mark)})

    def _held(self, run: RunRecord, told: Sequence[Point]) -> dict[tuple[str, int], str]:
        """What MLflow holds of the metrics of which it may hold what is told."""
        held = {}
        for name in sorted(run.doubtful(told)):
            history = self._mlflow.get_metric_history(run.run_id, name)
            for point in sorted(history, key=lambda point: point.timestamp):
                held[name, point.step] = value_text(point.value)
        run.remember(held)
        return held

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
        run.remember((point.name, point.step) for point in fresh)
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
        if self._doubtful:
            # A request that was given up may have made a run since it was last looked.
            self._known_runs = None
            for key in keys or ():
                self._runs.find(key)
            self._doubtful = False
        self._runs.join(look_up=True)
        found = open_runs(self._mlflow, self._experiment_id, keys)
        for key, run_id in found:
            self._mlflow.set_tag(run_id, REASON_TAG, reason)
            self._mlflow.set_terminated(run_id, status)
            self._runs.let_go(key)
        return len(found)

    @property
    def _runs(self) -> Runs:
        if self._known_runs is None:
            runs = Runs(self._mlflow, self._experiment_id)
            # What MLflow does not confirm is sent again: it may have been brought back as it was
            # some time ago.
            self._marks = {key: mark for key, mark in self._marks.items() if runs.has(key, mark)}
            self._known_runs = runs
        return self._known_runs

    @property
    def _mlflow(self) -> MlflowClient:
        if self._client is None:
            raise UnderstudyError("tracking: the MLflow writer was not initialised")
        return self._client


def journals(store: SegmentStore, prefix: str) -> dict[str, list[str]]:
    """The segments of each run that has a journal under ``prefix``, by key, in their order."""
    found: dict[str, list[str]] = {}
    for name in sorted(store.list(prefix)):
        if SEGMENT.search(name):
            found.setdefault(name.split("/")[-2], []).append(name)
    return found
