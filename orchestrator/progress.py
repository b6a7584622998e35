"""How long work shows itself: one live panel in a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.table import Table

LINE_SECONDS = 5.0
"""Plain lines come no more often than this, but for the first and the last of a phase."""


@dataclass
class Progress:
    """Counts of trials and fold runs, the best score so far, and the time left.

    Use as a context manager. The time left is the mean time of the fold runs computed in this
    phase, times those left: reused ones cost nothing and tell nothing. Counts are of the whole
    sweep, also when an earlier process did a part of it.
    """

    title: str
    console: Console
    trials: int = 0
    trials_done: int = 0
    fold_runs: int = 0
    earlier: int = 0
    """Fold runs of trials that had ended when the phase began."""
    computed: int = 0
    reused: int = 0
    failed: int = 0
    stopped: int = 0
    """Trials that were stopped before their last fold."""
    best: str = ""
    phase: str = "reading corpora"
    _began: float = field(default_factory=time.monotonic)
    _phase_began: float = 0.0
    _last_line: float = 0.0
    _line: str = ""
    _live: Live | None = None

    def __enter__(self) -> Progress:
        """Start showing."""
        if self.console.is_terminal:
            self._live = Live(self._panel(), console=self.console, refresh_per_second=4)
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Leave the last state on the screen; an error speaks for itself."""
        if error is None:
            self._show(force=True)
        if self._live is not None:
            self._live.stop()

    def enter(
        self,
        phase: str,
        *,
        fold_runs: int = 0,
        trials: int = 0,
        earlier: int = 0,
        trials_earlier: int = 0,
    ) -> None:
        """Begin a phase of so many fold runs (or shards) and trials, some of them done earlier."""
        self.phase = phase
        self.fold_runs, self.trials = fold_runs, trials
        self.earlier, self.trials_done = earlier, trials_earlier
        self.computed = self.reused = self.failed = self.stopped = 0
        self._phase_began = time.monotonic()
        self._show(force=True)

    def hearing(self, done: int, total: int) -> None:
        """So many files of a corpus have been listened to."""
        self.phase = f"reading corpora: {done} of {total} files heard"
        # Most corpora are heard in a moment, of which there is nothing to tell.
        if time.monotonic() - self._began >= LINE_SECONDS:
            self._show(force=False)

    def fold_run(self, *, reused: bool) -> None:
        """One more fold run (or shard) is done."""
        if reused:
            self.reused += 1
        else:
            self.computed += 1
        self._show(force=self.done == self.fold_runs)

    def failure(self, what: str, *, dropped: int = 0) -> None:
        """A fold run or trial failed; said at once, whatever the pace of lines.

        Args:
            what: and why.
            dropped: fold runs that will not be run because of it.
        """
        self.failed += 1
        self.fold_runs -= dropped
        self.console.print(f"failed: {what}", style="red", markup=False)

    def pruned(self, what: str, *, dropped: int) -> None:
        """A trial stops before its last fold, as it should.

        Args:
            what: and why; said in plain lines only, where it does not push the panel about.
            dropped: fold runs that will not be run because of it.
        """
        self.stopped += 1
        self.fold_runs -= dropped
        if self._live is None:
            self.console.print(what, markup=False, highlight=False)

    def note(self, what: str) -> None:
        """Something that whoever reads the results should know; said at once."""
        self.console.print(f"note: {what}", style="yellow", markup=False)

    def trial(self, *, best: str) -> None:
        """One more trial has ended; ``best`` describes the leader."""
        self.trials_done += 1
        self.best = best
        self._show(force=True)

    @property
    def done(self) -> int:
        """Fold runs (or shards) that are over, whenever that was."""
        return self.earlier + self.computed + self.reused

    def time_left(self) -> float | None:
        """Seconds, or None before the first fold run has been computed."""
        if not self.computed:
            return None
        elapsed = time.monotonic() - self._phase_began
        return elapsed / self.computed * max(0, self.fold_runs - self.done)

    def _facts(self) -> list[tuple[str, str]]:
        facts = [("phase", self.phase)]
        if self.trials:
            facts.append(("trials", f"{self.trials_done} of {self.trials}"))
        if self.fold_runs:
            free = f"{self.earlier} earlier, " if self.earlier else ""
            facts.append(("done", f"{self.done} of {self.fold_runs} ({free}{self.reused} reused)"))
        if self.stopped:
            facts.append(("pruned", str(self.stopped)))
        if self.failed:
            facts.append(("failed", str(self.failed)))
        if self.best:
            facts.append(("best so far", self.best))
        left = self.time_left()
        if left is not None:
            facts.append(("time left", f"about {duration(left)}"))
        facts.append(("elapsed", duration(time.monotonic() - self._began)))
        return facts

    def _panel(self) -> Table:
        table = Table(title=self.title, show_header=False, title_justify="left")
        for name, value in self._facts():
            table.add_row(name, value)
        return table

    def _show(self, *, force: bool) -> None:
        if self._live is not None:
            self._live.update(self._panel())
            return
        now = time.monotonic()
        if force or now - self._last_line >= LINE_SECONDS:
            line = ", ".join(f"{name}: {value}" for name, value in self._facts()[1:])
            if line != self._line:
                self.console.print(f"{self.phase}: {line}", markup=False, highlight=False)
            self._last_line, self._line = now, line


def duration(seconds: float) -> str:
    """Hours, minutes and seconds in two figures.

    >>> duration(59.6), duration(150), duration(7300)
    ('1 min 00 s', '2 min 30 s', '2 h 02 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"
