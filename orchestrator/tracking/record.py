"""What MLflow holds of a run, and what of a journal's events is news to it; no MLflow in here."""

from __future__ import annotations

import json
import posixpath
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.tracking.journal import Event

KEY_TAG = "understudy.key"
PARENT_TAG = "understudy.parent"
SEGMENT_TAG = "understudy.segment"
"""The last segment that MLflow holds: a new writer need not send the earlier ones again."""
REASON_TAG = "understudy.reason"
CUT_TAG = "understudy.cut_params"
"""Names of params that were too long for MLflow and hold their beginning only."""
CHANGED_TAG = "understudy.changed_params"
"""Params that a later attempt at the run gave another value, which MLflow refuses to store."""
MLFLOW_PARENT_TAG = "mlflow.parentRunId"

# MLflow's own limits; a batch may hold 1000 things, of which 100 params and 100 tags.
_PARAM_LENGTH, _TAG_LENGTH, _NAME_LENGTH = 6000, 8000, 250
_POINTS_AT_ONCE, _OTHERS_AT_ONCE = 800, 100


@dataclass(frozen=True)
class Point:
    """A metric's value at a step."""

    name: str
    value: str
    """As text, so that NaN equals itself; ``float`` reads it."""
    step: int
    time: int
    """Milliseconds since 1970."""


@dataclass
class RunRecord:
    """What MLflow is known to hold of one run."""

    run_id: str
    status: str
    deleted: bool
    params: dict[str, str]
    tags: dict[str, str]
    held: str = ""
    """The last segment that MLflow held when this writer first met the run."""
    values: dict[tuple[str, int], str] = field(default_factory=dict)
    """The last value sent of each (metric, step); a second attempt tells the same ones again."""
    files: dict[str, str] = field(default_factory=dict)
    """The digest of each file that was sent, by its name."""

    def holds(self, event: Event) -> bool:
        """Whether an earlier writer sent the segment that the event came in."""
        name = segment_name(event)
        return bool(name) and name <= self.held

    def unknown(self, told: Iterable[Point]) -> list[Point]:
        """The points that differ from what was last sent of their metric and step."""
        values = dict(self.values)
        fresh = []
        for point in told:
            if values.get((point.name, point.step)) != point.value:
                values[point.name, point.step] = point.value
                fresh.append(point)
        return fresh

    def remember(self, sent: Iterable[Point]) -> None:
        """Note that MLflow holds these points."""
        self.values |= {(point.name, point.step): point.value for point in sent}


@dataclass(frozen=True)
class Batch:
    """What goes to MLflow in one request."""

    points: Sequence[Point]
    params: Sequence[tuple[str, str]]
    tags: Sequence[tuple[str, str]]


def batches(
    points: Sequence[Point],
    params: Mapping[str, str],
    tags: Mapping[str, str],
    *,
    last_tag: str,
) -> Iterator[Batch]:
    """Cut into requests of MLflow's size; the tag ``last_tag`` goes with the last of them."""
    names = sorted(tags, key=lambda name: (name == last_tag, name))
    tag_list = [(name, tags[name]) for name in names]
    param_list = sorted(params.items())
    count = max(
        1,
        -(-len(points) // _POINTS_AT_ONCE),
        -(-len(params) // _OTHERS_AT_ONCE),
        -(-len(tags) // _OTHERS_AT_ONCE),
    )
    # Tags fill the last requests, the rest the first.
    lead = count - -(-len(tags) // _OTHERS_AT_ONCE)
    for at in range(count):
        many = slice(at * _POINTS_AT_ONCE, (at + 1) * _POINTS_AT_ONCE)
        few = slice(at * _OTHERS_AT_ONCE, (at + 1) * _OTHERS_AT_ONCE)
        late = slice(max(0, at - lead) * _OTHERS_AT_ONCE, max(0, at - lead + 1) * _OTHERS_AT_ONCE)
        yield Batch(points[many], param_list[few], tag_list[late])


def segment_name(event: Event) -> str:
    """File name of the segment an event came in, "" if it came otherwise."""
    return str(event.get("segment", "")).rpartition("/")[2]


def points(events: Iterable[Event]) -> list[Point]:
    """The measurements in events, in their order."""
    return [
        Point(plain_name(name), str(float(value)), event["step"], event["time"])
        for event in events
        if event["event"] == "metrics"
        for name, value in event["values"].items()
    ]


def news(run: RunRecord, events: Sequence[Event]) -> tuple[dict[str, str], dict[str, str]]:
    """The params and the tags in events that MLflow does not hold yet."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    cut: set[str] = set()
    changed: dict[str, str] = {}
    for event in events:
        if event["event"] == "start":
            tags |= {plain_name(name): value for name, value in event["tags"].items()}
            for name, value in event["params"].items():
                name, kept = plain_name(name), value[:_PARAM_LENGTH]
                if kept != value:
                    cut.add(name)
                known = run.params.get(name, params.get(name))
                if known is None:
                    params[name] = kept
                elif known != kept:
                    changed[name] = kept
        elif event["event"] == "end":
            tags[REASON_TAG] = event["reason"]
    if not tags.get(REASON_TAG) and not run.tags.get(REASON_TAG):
        tags.pop(REASON_TAG, None)
    if cut:
        tags[CUT_TAG] = ", ".join(sorted(cut))
    if changed:
        tags[CHANGED_TAG] = json.dumps(changed, sort_keys=True)
    if events:
        tags[SEGMENT_TAG] = max(segment_name(events[-1]), run.tags.get(SEGMENT_TAG, ""))
    tags = {name: value[:_TAG_LENGTH] for name, value in tags.items()}
    return params, {name: value for name, value in tags.items() if run.tags.get(name, "") != value}


def plain_name(name: str) -> str:
    """A metric's, param's or tag's name in the characters and the form that MLflow accepts.

    >>> plain_name("test//macro_recall@fold(1)")
    'test/macro_recall_fold_1_'
    """
    plain = re.sub(r"[^\w\-. :/]", "_", name)
    return posixpath.normpath(plain).lstrip("/.")[:_NAME_LENGTH] or "_"
