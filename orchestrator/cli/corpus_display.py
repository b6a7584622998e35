"""How the corpora commands show what they find."""

from __future__ import annotations

import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Final

from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.table import Table

from orchestrator.leak_report import LeakReport
from orchestrator.progress import LINE_SECONDS
from orchestrator.protocols.leaks import Leak

_MANY: Final = 12
"""More values than this are told in numbers, not one by one."""
_NAMED: Final = 3


def show_kinds(console: Console, kinds: Mapping[str, Mapping[str, str]]) -> None:
    """What each kind of corpus is; no table, whose cells would cut the addresses."""
    for kind, about in kinds.items():
        console.print(kind, style="bold", markup=False)
        console.print(f"  {about['summary']}", markup=False, highlight=False)
        console.print(f"  licence: {about['licence']}", markup=False, highlight=False)
        console.print(f"  how to obtain it: {about['obtain']}", markup=False, highlight=False)


def show_corpus(console: Console, found: Any) -> None:
    """What a corpus check found."""
    console.print(f"{found.name} ({found.kind}) in {found.place}", style="bold", markup=False)
    console.print(
        f"{found.used} utterances, {found.seconds / 60:.1f} minutes"
        + (f", fingerprint {found.fingerprint[:16]}" if found.fingerprint else ""),
        highlight=False,
    )
    console.print(
        f"listed {found.listed} = used {found.used} + not used {sum(found.not_used.values())} "
        f"+ set aside {found.set_aside.utterances}",
        highlight=False,
    )
    if found.durations:
        lasts = found.durations
        console.print(
            f"durations: {lasts['min']:.2f} to {lasts['max']:.2f} s, median {lasts['median']:.2f}",
            highlight=False,
        )
    for title in ("speakers", "genders", "sessions", "splits", "emotions", "words", "not_used"):
        _show_counts(console, title.replace("_", " "), getattr(found, title))
    if found.texts:
        console.print(f"texts: {found.texts}", highlight=False)
    if found.agreement is not None:
        console.print(f"listeners' agreement on the label: {found.agreement:.2f}", highlight=False)
    _show_documented(console, found)
    _show_crossed(console, found)
    _show_faults(console, found)
    for line in found.remarks:
        console.print(f"remark: {line}", markup=False, highlight=False)
    console.print(f"licence: {found.licence}", markup=False, highlight=False)
    console.print(f"how to obtain it: {found.obtain}", markup=False, highlight=False)


def _show_counts(console: Console, title: str, counts: Mapping[str, int]) -> None:
    """Utterances by each value; of many values how many there are, and the range."""
    if len(counts) > _MANY:
        numbers = counts.values()
        console.print(
            f"{title}: {len(counts)}, with {min(numbers)} to {max(numbers)} utterances each",
            highlight=False,
        )
    elif counts:
        listed = ", ".join(f"{key or '(none)'} {count}" for key, count in counts.items())
        console.print(f"{title}: {listed}", markup=False, highlight=False)


def _show_documented(console: Console, found: Any) -> None:
    """The copy against the documented one; of many numbers those that differ."""
    if not found.documented:
        return
    long = {
        what
        for what, number in Counter(row.what for row in found.documented).items()
        if number > _MANY
    }
    rows = [row for row in found.documented if row.what not in long or not row.ok]
    table = Table("", "", "documented", "found", title="Against the documented corpus")
    for column in table.columns[2:]:
        column.justify = "right"
    for row in rows:
        style = None if row.ok else "yellow"
        table.add_row(
            escape(row.what), escape(row.value), str(row.documented), str(row.found), style=style
        )
    console.print(table)
    for what in sorted(long):
        numbers = [row.ok for row in found.documented if row.what == what]
        console.print(f"{what}: {sum(numbers)} of {len(numbers)} numbers are as documented")


def _show_crossed(console: Console, found: Any) -> None:
    """Sessions against emotions."""
    if not found.crossed:
        return
    table = Table("session", *map(escape, found.emotions), "all", title="Utterances used")
    for column in table.columns[1:]:
        column.justify = "right"
    for session, counts in found.crossed.items():
        cells = [str(counts.get(emotion, 0)) for emotion in found.emotions]
        table.add_row(escape(session), *cells, str(sum(counts.values())))
    table.add_section()
    table.add_row("all", *map(str, found.emotions.values()), str(found.used))
    console.print(table)


def _show_faults(console: Console, found: Any) -> None:
    """Problems by kind, what becomes of them, and the first few by name."""
    refused = found.policy == "refuse"
    fates = {
        "the utterance is refused" if refused else "the utterance is set aside": found.set_aside,
        "used all the same": found.accepted,
        "not used here": found.unused,
    }
    for fate, faults in fates.items():
        style = "red" if faults is found.set_aside else "yellow"
        for kind, number in faults.counts.items():
            console.print(f"problem: {number} {kind} ({fate})", style=style, markup=False)
            named = [one for one in faults.found if one.kind == kind]
            for one in named[:_NAMED]:
                console.print(f"  {one.text}", style=style, markup=False, highlight=False)
            if len(named) > _NAMED:
                console.print(f"  and {len(named) - _NAMED} more (all of them with --json)")
    if not found.usable:
        console.print(
            "An experiment refuses this corpus: mend these files"
            + (", or set problems=set-aside to go on without them" if found.used else ""),
            style="red",
        )


@contextmanager
def examining(*, title: str) -> Iterator[Callable[[int, int], None] | None]:
    """A progress bar on standard error while audio is examined; None where no one looks on."""
    if not sys.stderr.isatty():
        yield None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(escape(title), total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def show_leaks(console: Console, report: LeakReport) -> None:
    """What the roles of one corpus's folds share, by kind."""
    console.print(f"{report.corpus}, {report.protocol}: {report.kind}", style="bold", markup=False)
    folds = f"{report.folds} fold{'' if report.folds == 1 else 's'}"
    console.print(
        f"{report.utterances} utterances in {folds}, "
        f"seed{'' if len(report.seeds) == 1 else 's'} {', '.join(map(str, report.seeds))}",
        highlight=False,
    )
    if report.set_aside:
        console.print(
            f"{report.set_aside} more cannot be used, and are in no fold; understudy corpora check "
            "names them",
            highlight=False,
        )
    if report.dropped[1]:
        few, many = report.dropped
        console.print(f"text_disjoint leaves {few} to {many} utterances a fold in no role")
    if not report.leaks:
        console.print("nothing is shared", style="green")
    kinds: dict[tuple[str, tuple[str, ...], bool, bool], list[Leak]] = {}
    for leak in sorted(report.leaks, key=lambda leak: not leak.broken):
        kinds.setdefault((leak.what, leak.where, bool(leak.fold), leak.broken), []).append(leak)
    for (what, where, of_fold, broken), leaks in kinds.items():
        values = {value for leak in leaks for value in leak.values}
        if of_fold:
            count = len({leak.fold for leak in leaks})
            place = f"{where[0]} and {where[1]} share {len(values)}, in {count} of {folds}"
        else:
            place = f"the corpus has {len(values)} with more than one {where[0]}"
        first = leaks[0]
        instance = f"{first.fold}: {' = '.join(first.instance)}".removeprefix(": ")
        console.print(
            f"{'BROKEN: ' if broken else ''}{what}: {place}, such as {instance}",
            style="red" if broken else None,
            markup=False,
            highlight=False,
        )
    if report.refused:
        console.print(f"An experiment refuses this: {report.refused}", style="red", markup=False)
    elif report.broken:
        console.print("The protocol promises that these are apart.", style="red")


class FetchProgress:
    """Bytes of a download: a live bar in a terminal, a line every few seconds elsewhere."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._last = time.monotonic()

    def __enter__(self) -> FetchProgress:
        """Start showing."""
        if self._console.is_terminal:
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(),
                TransferSpeedColumn(),
                console=self._console,
                transient=True,
            )
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away: what came of it is said by who asked."""
        if self._bar is not None:
            self._bar.stop()

    def show(self, done: int, total: int | None, name: str) -> None:
        """Bytes done, in all (None if unknown), and of what."""
        if self._bar is not None:
            if self._task is None:
                self._task = self._bar.add_task(name, total=total)
            self._bar.update(self._task, completed=done, total=total, description=name)
        elif time.monotonic() - self._last >= LINE_SECONDS:
            self._last = time.monotonic()
            of = "" if total is None else f" of {total / 1e6:,.1f}"
            self._console.print(f"{name}: {done / 1e6:,.1f}{of} MB", markup=False, highlight=False)
