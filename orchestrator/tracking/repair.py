"""Bringing MLflow back to what the journals say, when no command is at work any more.

A command that goes on does the same for its own runs. This is for the runs of those that will not:
what a killed process left unshipped is shipped, what MLflow lacks is sent, and runs that are
RUNNING there though nobody is at work on them are ended.
"""

from __future__ import annotations

import contextlib
import time
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from orchestrator.errors import InputError, UnderstudyError, nearest
from orchestrator.store import Store
from orchestrator.store.use import running, using
from orchestrator.tracking.address import sqlite_path
from orchestrator.tracking.connection import artifacts_in
from orchestrator.tracking.failures import explained
from orchestrator.tracking.journal import SEGMENT, read_segment
from orchestrator.tracking.reading import NoRunsError, read_runs, tag_of
from orchestrator.tracking.record import KEY_TAG, SEGMENT_TAG, Mark
from orchestrator.tracking.tree import JOURNALS
from orchestrator.tracking.writer import Writer

ELSEWHERE_MINUTES = 30.0
"""How long nothing may have been heard of a command before it counts as ended, where another
machine may be running it: a store that is no folder has no locks that this machine sees."""


@dataclass(frozen=True)
class Repaired:
    """What was, or would be, mended of one MLflow experiment."""

    experiment: str
    missing: int = 0
    """Journal segments that MLflow lacked."""
    sent: int = 0
    """Of those, the ones that it has now."""
    closed: int = 0
    """Runs that were RUNNING though nobody was at work on them, and are ended."""
    at_work: dict[str, str] = field(default_factory=dict)
    """Commands that were left alone, by their folder, with the reason."""
    unknown: int = 0
    """Runs that are RUNNING and have no journal in this store: nobody here can tell."""
    refused: dict[str, str] = field(default_factory=dict)
    """Segments and files that MLflow will never take, with the reason."""
    waiting: int = 0
    """Segments that MLflow lacks still, and will be sent by another repair."""
    problem: str = ""
    """Why not all was done; empty if it was."""


@dataclass(frozen=True)
class _Command:
    """The journals of one command, or of several with one root."""

    root: str
    segments: dict[str, list[str]]
    """Of each run, by key, in their order."""
    touched: float
    """When the last one was written, seconds since 1970."""


@dataclass(frozen=True)
class _Held:
    """As much of a run in MLflow as counts here."""

    running: bool
    deleted: bool
    mark: Mark


def experiments_of(store: Store) -> tuple[str, ...]:
    """Names of the experiments that have journals in a store, sorted."""
    return tuple(sorted({name.split("/")[1] for name in store.list(JOURNALS)}))


def repair(
    store: Store,
    uri: str,
    experiment: str,
    *,
    minutes: float | None = None,
    unknown: bool = False,
    dry_run: bool = False,
) -> Repaired:
    """Send what MLflow lacks of an experiment's journals and end the runs that nobody works on.

    A command that is at work keeps its runs and sends its journals itself. The same again changes
    nothing.

    Args:
        store: that holds the journals.
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        minutes: A command that has said something within so many minutes counts as at work;
            default 0 for a folder, whose locks tell, else :data:`ELSEWHERE_MINUTES`.
        unknown: Also end the runs that are RUNNING and have no journal in this store.
        dry_run: Change nothing and say what would be.

    Raises:
        InputError: The store has no journal of the experiment.
        StoreError: The store cannot be used, or another process repairs it.
        UnderstudyError: MLflow cannot be used.
    """
    commands = _commands(store, experiment)
    if not commands:
        known = experiments_of(store)
        raise InputError(
            f"store {store.shown!r} has no journal of an experiment {experiment!r}; "
            + (nearest(experiment, known) if known else "it has none at all")
        )
    if minutes is None:
        minutes = ELSEWHERE_MINUTES if store.remote else 0.0
    with contextlib.ExitStack() as stack:
        if not dry_run:
            name = f"repair-{experiment}"
            stack.enter_context(
                using(store, command=f"the repair of {experiment!r}", alone_as=name)
            )
        return _repaired(
            store, uri, experiment, commands, minutes=minutes, unknown=unknown, dry_run=dry_run
        )


def _repaired(
    store: Store,
    uri: str,
    experiment: str,
    commands: Sequence[_Command],
    *,
    minutes: float,
    unknown: bool,
    dry_run: bool,
) -> Repaired:
    at_work = {one.root: who for one in commands if (who := _busy(store, experiment, one, minutes))}
    idle = [one for one in commands if one.root not in at_work]
    # a database other than sqlite has no folder of its own for files
    artifacts = artifacts_in(store) if sqlite_path(uri) is None else None
    writer = Writer(uri, experiment, artifacts=artifacts)
    if not dry_run:
        writer.initialise()
    held = _held(uri, experiment, none_yet=dry_run)
    missing = {one.root: _missing(one, held) for one in idle}
    ours = {key for one in commands for key in one.segments}
    strangers = [key for key, run in held.items() if run.running and key not in ours]
    found = Repaired(
        experiment,
        missing=sum(len(names) for one in missing.values() for names in one.values()),
        at_work=at_work,
        unknown=0 if unknown else len(strangers),
    )
    to_end = set(strangers) if unknown else set()
    if dry_run:
        left = sum(_left_open(one, missing[one.root], held, store) for one in idle)
        return replace(found, closed=left + len(to_end))
    return _mend(found, writer, store, idle, missing=missing, strangers=to_end)


def _mend(
    found: Repaired,
    writer: Writer,
    store: Store,
    idle: Sequence[_Command],
    *,
    missing: Mapping[str, Mapping[str, list[str]]],
    strangers: Collection[str],
) -> Repaired:
    done = sent = closed = 0
    problem = ""
    at_work = dict(found.at_work)
    for one in idle:
        try:
            writer.initialise()  # anew, after an outage
            if missing[one.root]:
                writer.replay_journals(store, {key: one.segments[key] for key in missing[one.root]})
            names = [name for some in missing[one.root].values() for name in some]
            done += len(names)
            sent += sum(name not in writer.refused for name in names)
            # it may have been started again meanwhile
            if who := _busy(store, found.experiment, one, 0.0):
                at_work[one.root] = who
            else:
                closed += writer.close_open_runs(set(one.segments))
        except Exception as error:  # noqa: BLE001 - an outage may raise anything; the others go on
            problem = explained(error, writer.uri)
    if strangers and not problem:
        closed += writer.close_open_runs(strangers)
    return replace(
        found,
        sent=sent,
        closed=closed,
        at_work=at_work,
        refused=dict(writer.refused),
        waiting=found.missing - done,
        problem=problem,
    )


def _commands(store: Store, experiment: str) -> list[_Command]:
    """What lies in the experiment's journals, by root."""
    try:
        entries = store.files.entries(f"{JOURNALS}/{experiment}")
    except OSError as error:
        raise UnderstudyError(
            f"store {store.shown!r}: its journals cannot be read ({error.strerror or error})"
        ) from error
    segments: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    touched: dict[str, float] = defaultdict(float)
    for entry in entries:  # sorted by name, so those of a run are in their order
        if SEGMENT.search(entry.name):
            root, key = entry.name.split("/")[2:4]
            segments[root][key].append(entry.name)
            touched[root] = max(touched[root], entry.touched)
    return [_Command(root, dict(runs), touched[root]) for root, runs in sorted(segments.items())]


def _busy(store: Store, experiment: str, command: _Command, minutes: float) -> str:
    """Who is at work on a command's runs, in words; empty if nobody is.

    A lock says which kind of command is at work on which experiment; of several evaluations of one
    experiment it does not say which, so all of them are left.
    """
    kind = command.root.partition("-")[0]
    for who in running(store):
        # a full disk may have kept a command from signing its lock
        if who.startswith(f"the {kind} {experiment!r} (") or who == "another process":
            return who
    age = time.time() - command.touched
    if age < 60.0 * minutes:
        return f"said something {age / 60.0:.0f} min ago, and may be at work on another machine"
    return ""


def _held(uri: str, experiment: str, *, none_yet: bool) -> dict[str, _Held]:
    """The runs that MLflow has of an experiment, by key, those deleted there too.

    Args:
        uri: MLflow tracking URI.
        experiment: Name of the experiment.
        none_yet: Whether it is no mistake if there is no such database or experiment.
    """
    try:
        return {
            key: _Held(
                running=run.info.status == "RUNNING" and run.info.lifecycle_stage == "active",
                deleted=run.info.lifecycle_stage != "active",
                mark=Mark.read(tag_of(run, SEGMENT_TAG)),
            )
            for run in read_runs(uri, experiment, deleted=True)
            if (key := tag_of(run, KEY_TAG))
        }
    except NoRunsError:
        if none_yet:
            return {}
        raise


def _missing(command: _Command, held: Mapping[str, _Held]) -> dict[str, list[str]]:
    """The segments of each run that MLflow does not have; none of a run deleted there."""
    found = {}
    for key, names in command.segments.items():
        run = held.get(key)
        if run is not None and run.deleted:
            continue
        if lacking := list((run.mark if run is not None else Mark()).rest(names)):
            found[key] = lacking
    return found


def _left_open(
    command: _Command, missing: dict[str, list[str]], held: Mapping[str, _Held], store: Store
) -> int:
    """How many runs would be RUNNING once all was sent."""
    count = 0
    for key in command.segments:
        turn = _last_turn(missing.get(key, ()), store)
        # one that MLflow has never heard of is RUNNING from its first word on
        before = key in missing if key not in held else held[key].running
        count += before if turn is None else turn == "start"
    return count


def _last_turn(names: Iterable[str], store: Store) -> str | None:
    """The last of a run's beginnings and ends in some segments."""
    turn = None
    for name in names:
        try:
            events = read_segment(store.read_bytes(name))
        except ValueError:
            continue  # which the writer refuses
        turns = [event["event"] for event in events if event["event"] in ("start", "end")]
        turn = turns[-1] if turns else turn
    return turn


def ship(store: Store) -> int:
    """Ship what processes of this machine that were killed have left in their spool.

    Returns:
        How many journal segments it was.
    """
    from orchestrator.tracking.shipping import ship_leftovers

    return ship_leftovers(store)
