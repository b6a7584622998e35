"""The runs of one MLflow experiment, by the keys of their journals: found, made, under parents."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from orchestrator.tracking.links import Target, linked_keys, target_tags, unlinked
from orchestrator.tracking.record import (
    KEY_TAG,
    MLFLOW_PARENT_TAG,
    PARENT_TAG,
    SEGMENT_TAG,
    Mark,
    RunRecord,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow reads every param and metric of the runs on a page, so that long pages take much memory.
_PAGE = 200


@dataclass
class KnownRun:
    """As much of a run as is kept in memory of each run there is."""

    run_id: str
    name: str
    deleted: bool
    mark: Mark
    waits_for: str = ""
    """Key of the parent that MLflow does not show it under yet."""
    links_to: frozenset[str] = frozenset()
    """Keys of the runs that it used and does not lead to yet."""


class Runs:
    """Which runs the experiment has. All are looked up once, and not by a request each.

    Args:
        client: MLflow's client.
        experiment_id: MLflow's id of the experiment.
    """

    def __init__(self, client: MlflowClient, experiment_id: str) -> None:
        self._client = client
        self._experiment_id = experiment_id
        self._known: dict[str, KnownRun] = {}
        self._doubles: dict[str, list[str]] = {}
        self._records: dict[str, RunRecord] = {}
        self._load()

    def _load(self) -> None:
        """Look at what is there.

        A request whose answer was lost may have made a run all the same, so that there are two of
        one key: the one with more of the journal is taken, or the first by its id.
        """
        found: dict[str, dict[str, KnownRun]] = {}
        for run in read_pages(self._client, self._experiment_id):
            key = run.data.tags.get(KEY_TAG)
            if key is not None:
                # by id, since one run may be on two pages
                found.setdefault(key, {})[run.info.run_id] = _known(run)
        self._doubles = {}
        for key, by_id in found.items():
            runs = sorted(
                by_id.values(), key=lambda one: (one.deleted, -one.mark.count, one.run_id)
            )
            self._known[key] = runs[0]
            if others := [one.run_id for one in runs[1:] if not one.deleted]:
                self._doubles[key] = others

    def find(self, key: str) -> KnownRun | None:
        """The run of a key, also if it was deleted in MLflow; a second one of it is deleted."""
        for run_id in self._doubles.pop(key, ()):
            self._client.delete_run(run_id)
        return self._known.get(key)

    def has(self, key: str, mark: Mark) -> bool:
        """Whether a run's journal was replayed so far when it was looked up, or is not wanted."""
        run = self._known.get(key)
        return run is not None and (run.deleted or run.mark == mark)

    def record(self, key: str) -> RunRecord:
        """What MLflow holds of a known run, from memory or from there."""
        if key not in self._records:
            run = self._client.get_run(self._known[key].run_id)
            self._records[key] = RunRecord(
                run_id=run.info.run_id,
                status=run.info.status,
                params=dict(run.data.params),
                tags=dict(run.data.tags),
            )
        return self._records[key]

    def create(
        self, key: str, *, name: str, parent: str | None, time: int, tags: Mapping[str, str]
    ) -> RunRecord:
        """Make a run, under its parent if that is known; else it waits for it.

        Args:
            key: Of a run that :meth:`find` does not know.
            name: What the dashboard calls it.
            parent: Key of the run it belongs under.
            time: When it began, in milliseconds since 1970.
            tags: What else it is to carry from the start.
        """
        carried = {**tags, KEY_TAG: key}
        above = None
        if parent:
            carried[PARENT_TAG] = parent
            above = self.find(parent)
            if above is not None:
                carried[MLFLOW_PARENT_TAG] = above.run_id
        run = self._client.create_run(
            self._experiment_id, start_time=time, tags=carried, run_name=name
        )
        self._known[key] = _known(run)
        self._records[key] = RunRecord(
            run_id=run.info.run_id,
            status=run.info.status,
            params={},
            tags=dict(run.data.tags),
            whole=True,
        )
        return self._records[key]

    def join(self, *, look_up: bool = False) -> None:
        """Put the runs under their parents, and lead to those that they used, that came later.

        Args:
            look_up: Ask MLflow for the runs that other writers may have made meanwhile.
        """
        for key, run in list(self._known.items()):
            if run.deleted:
                continue
            above = self.find(run.waits_for) if run.waits_for else None
            if above is not None:
                self._set_tags(key, {MLFLOW_PARENT_TAG: above.run_id})
                run.waits_for = ""
            if run.links_to:
                self._lead(key, run, look_up=look_up)

    def links(self, key: str, to: Iterable[str]) -> None:
        """Note which runs one uses; :meth:`join` leads to them."""
        run = self._known[key]
        run.links_to |= frozenset(to)

    def _lead(self, key: str, run: KnownRun, *, look_up: bool) -> None:
        if look_up:
            for other in run.links_to:
                self._look_up(other)
        found = {other for other in run.links_to if other in self._known}
        if not found:
            return
        held = self.record(key)
        targets = {
            other: Target(self._known[other].run_id, self._known[other].name)
            for other in linked_keys(held.tags)
            if other in self._known
        }
        self._set_tags(key, target_tags(held.tags, targets, experiment_id=self._experiment_id))
        run.links_to -= found
        if held.status != "RUNNING":
            self.let_go(key)

    def _set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        from mlflow.entities import RunTag

        self._client.log_batch(
            self._known[key].run_id,
            tags=[RunTag(name, value) for name, value in tags.items()],
            synchronous=True,
        )
        if key in self._records:
            self._records[key].tags |= tags

    def _look_up(self, key: str) -> None:
        if key not in self._known:
            query = f"tags.`{KEY_TAG}` = '{key}'"
            for run in self._client.search_runs([self._experiment_id], query, max_results=1):
                self._known[key] = _known(run)

    def let_go(self, key: str) -> None:
        """Forget what MLflow holds of a run that has ended; it can be read again."""
        self._records.pop(key, None)


def read_pages(client: MlflowClient, experiment_id: str, query: str = "") -> Iterator[Run]:
    """All runs of an experiment, those deleted too, page by page.

    Args:
        client: MLflow's client.
        experiment_id: MLflow's id of the experiment.
        query: MLflow's filter; default: none.
    """
    from mlflow.entities import ViewType

    token = None
    while True:
        page = client.search_runs(
            [experiment_id],
            query,
            ViewType.ALL,
            max_results=_PAGE,
            # Runs that begin meanwhile come last, and move no other from page to page.
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _known(run: Run) -> KnownRun:
    tags = run.data.tags
    return KnownRun(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        deleted=run.info.lifecycle_stage != "active",
        mark=Mark.read(tags.get(SEGMENT_TAG, "")),
        waits_for="" if MLFLOW_PARENT_TAG in tags else tags.get(PARENT_TAG, ""),
        links_to=unlinked(tags),
    )
