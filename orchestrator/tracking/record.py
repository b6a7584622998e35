"""What MLflow holds of a run, and what of a journal's events is news to it; no MLflow in here."""

from __future__ import annotations

import json
import math
import posixpath
import re
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.tracking.address import redacted
from orchestrator.tracking.segment import Event

KEY_TAG = "understudy.key"
PARENT_TAG = "understudy.parent"
SEGMENT_TAG = "understudy.segment"
"""How far the journal has been replayed: a new writer need not send that again (:class:`Mark`)."""
END_TAG = "understudy.ended"
"""When the run last ended, in milliseconds since 1970: what began before that is no beginning."""
REASON_TAG = "understudy.reason"
CUT_TAG = "understudy.cut_params"
"""Names of params that were too long for MLflow: they hold their beginning, the file
``long_parameters.json`` the whole."""
CHANGED_TAG = "understudy.changed_params"
"""Params that a later attempt at the run gave another value, which MLflow refuses to store."""
MLFLOW_PARENT_TAG = "mlflow.parentRunId"

# MLflow's own limits; a batch may hold 1000 things, of which 100 params and 100 tags.
_PARAM_LENGTH, _TAG_LENGTH, _NAME_LENGTH = 6000, 8000, 250
_POINTS_AT_ONCE, _OTHERS_AT_ONCE = 800, 100
# What MLflow keeps of an infinite value.
_LARGEST = sys.float_info.max


@dataclass(frozen=True)
class Mark:
    """How far into a run's segments MLflow is, by their number and by the name of the last.

    The name alone would not do: a process that was thought dead, or whose machine was, may ship a
    segment whose number lies below those of whoever took over its run.
    """

    count: int = 0
    last: str = ""

    @classmethod
    def read(cls, tag: str) -> Mark:
        """The mark in a run's tag; what no writer wrote is the mark of nothing."""
        last, _, count = tag.partition(" #")
        return cls(int(count), last) if count.isdecimal() else cls()

    @classmethod
    def after(cls, names: Sequence[str]) -> Mark:
        """The mark once all of these segments of a run have been replayed."""
        return cls(len(names), file_name(names[-1])) if names else cls()

    def rest(self, names: Sequence[str]) -> Sequence[str]:
        """The segments that are left to replay: all of them if one has come in between.

        Args:
            names: All of the run's segments that there are now, in their order.
        """
        if not self.count:
            return names
        held = self.count <= len(names) and file_name(names[self.count - 1]) == self.last
        return names[self.count :] if held else names

    def __str__(self) -> str:
        return f"{self.last} #{self.count}"


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
    """What MLflow is known to hold of one run that is being written."""

    run_id: str
    status: str
    params: dict[str, str]
    tags: dict[str, str]
    whole: bool = False
    """Whether ``steps`` speaks of all metrics that MLflow holds, as of a run just made."""
    steps: dict[str, int] = field(default_factory=dict)
    """The highest step that MLflow holds of each metric."""
    files: dict[str, str] = field(default_factory=dict)
    """The digest of each file that was sent, by its name."""

    @property
    def mark(self) -> Mark:
        """How far the run's journal was replayed."""
        return Mark.read(self.tags.get(SEGMENT_TAG, ""))

    @property
    def ended(self) -> int:
        """When the run last ended, in milliseconds since 1970; -1 if it has not."""
        text = self.tags.get(END_TAG, "")
        return int(text) if text.isdecimal() else -1

    def doubtful(self, told: Iterable[Point]) -> set[str]:
        """Names of the metrics of which MLflow may hold what is told, or another value of it.

        Steps that only ever grow are news without a look: nothing has to be remembered of them.
        """
        steps = dict(self.steps)
        found = set()
        for point in told:
            highest = steps.get(point.name)
            if not self.whole if highest is None else point.step <= highest:
                found.add(point.name)
            steps[point.name] = point.step if highest is None else max(point.step, highest)
        return found

    def remember(self, held: Iterable[tuple[str, int]]) -> None:
        """Note that MLflow holds these metrics at these steps."""
        for name, step in held:
            self.steps[name] = max(step, self.steps.get(name, step))


def timely(run: RunRecord, events: Iterable[Event]) -> list[Event]:
    """Events without the beginnings and ends that another attempt's end has overtaken.

    What a killed process left may reach the store after another has taken up its run and ended it.
    It has the higher number then, and the earlier time.
    """
    ended = run.ended
    kept = []
    for event in events:
        if event["event"] == "start" and event["time"] <= ended:
            continue
        if event["event"] == "end":
            if event["time"] < ended:
                continue
            ended = event["time"]
        kept.append(event)
    return kept


def unknown(told: Iterable[Point], held: Mapping[tuple[str, int], str]) -> list[Point]:
    """The points that differ from the last value of their metric and step.

    Args:
        told: Points in their order; a second attempt at a run tells the same ones again.
        held: The last value of each (metric, step) before them.
    """
    values = dict(held)
    fresh = []
    for point in told:
        if values.get((point.name, point.step)) != point.value:
            values[point.name, point.step] = point.value
            fresh.append(point)
    return fresh


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


def points(events: Iterable[Event]) -> list[Point]:
    """The measurements in events, in their order."""
    return [
        Point(plain_name(name), value_text(float(value)), event["step"], event["time"])
        for event in events
        if event["event"] == "metrics"
        for name, value in event["values"].items()
    ]


def value_text(value: float) -> str:
    """A metric's value as MLflow keeps it, which has no infinity."""
    return str(math.copysign(_LARGEST, value) if math.isinf(value) else value)


@dataclass(frozen=True)
class News:
    """What events tell of a run besides measurements and files, and MLflow does not hold yet."""

    params: dict[str, str]
    tags: dict[str, str]
    long: dict[str, str]
    """The whole of each param that is cut."""


def news(run: RunRecord, events: Sequence[Event]) -> News:
    """The params and the tags in events that MLflow does not hold yet, within its limits."""
    params: dict[str, str] = {}
    tags: dict[str, str] = {}
    long: dict[str, str] = {}
    changed: dict[str, str] = {}
    for event in events:
        if event["event"] in {"start", "tags"}:
            tags |= {plain_name(name): _text(value) for name, value in event["tags"].items()}
        if event["event"] == "start":
            for name, value in event["params"].items():
                name, value = plain_name(name), _text(value)
                kept = value[:_PARAM_LENGTH]
                if kept != value:
                    long[name] = value
                known = run.params.get(name, params.get(name))
                if known is None:
                    params[name] = kept
                elif known != kept:
                    changed[name] = kept
        elif event["event"] == "end":
            tags[REASON_TAG] = _text(event["reason"])
    if not tags.get(REASON_TAG) and not run.tags.get(REASON_TAG):
        tags.pop(REASON_TAG, None)
    if long:
        tags[CUT_TAG] = ", ".join(sorted(long))
    if changed:
        tags[CHANGED_TAG] = json.dumps(changed, sort_keys=True)
    tags = {name: value[:_TAG_LENGTH] for name, value in tags.items()}
    return News(
        params,
        {name: value for name, value in tags.items() if run.tags.get(name, "") != value},
        long,
    )


def _text(value: str) -> str:
    """Text that every database takes, without the credentials of the URIs in it."""
    plain = value.replace("\0", "\N{REPLACEMENT CHARACTER}")
    return redacted(plain.encode(errors="replace").decode())


def file_name(name: str) -> str:
    """A segment's name without its folder."""
    return name.rpartition("/")[2]


def plain_name(name: str) -> str:
    """A metric's, param's or tag's name in the characters and the form that MLflow accepts.

    >>> plain_name("test//macro_recall@fold(1)")
    'test/macro_recall_fold_1_'
    """
    plain = re.sub(r"[^\w\-. :/]", "_", name)
    return posixpath.normpath(plain).lstrip("/.")[:_NAME_LENGTH] or "_"
