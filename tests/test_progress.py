"""What a long command says of itself while it runs."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from orchestrator import progress as progress_module
from orchestrator.progress import Progress, duration


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress_module, "time", clock)
    return clock


@pytest.fixture
def screen() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def progress(clock: Clock, screen: io.StringIO) -> Progress:
    shown = Progress("sweep demo", Console(file=screen, width=200))
    # set when the class was made, before the clock was
    shown._began = clock.now
    return shown


def test_plain_lines_are_rare_but_the_last_one_comes(
    progress: Progress, clock: Clock, screen: io.StringIO
) -> None:
    with progress:
        progress.enter("fold runs", fold_runs=4)
        for seconds in (1, 1, 4):
            clock.now += seconds
            progress.fold_run(reused=False)
        progress.fold_run(reused=True)

    assert screen.getvalue().splitlines() == [
        "fold runs: done: 0 of 4 (0 reused), elapsed: 0 s",
        "fold runs: done: 3 of 4 (0 reused), time left: about 2 s, elapsed: 6 s",
        "fold runs: done: 4 of 4 (1 reused), time left: about 0 s, elapsed: 6 s",
    ]


def test_the_time_left_counts_what_is_computed_only(progress: Progress, clock: Clock) -> None:
    progress.enter("fold runs", fold_runs=10)
    progress.fold_run(reused=True)
    assert progress.time_left() is None

    clock.now += 30
    progress.fold_run(reused=False)

    assert progress.time_left() == 8 * 30


def test_a_sweep_taken_up_again_counts_what_was_done_earlier(
    progress: Progress, clock: Clock
) -> None:
    progress.enter("trials", fold_runs=12, trials=4, earlier=6, trials_earlier=2)
    clock.now += 10
    progress.fold_run(reused=True)
    progress.fold_run(reused=False)
    progress.trial(best="macro_recall 50.0")

    facts = dict(progress._facts())
    assert facts["trials"] == "3 of 4"
    assert facts["done"] == "8 of 12 (6 earlier, 1 reused)"
    assert facts["best so far"] == "macro_recall 50.0"
    assert progress.time_left() == 4 * 10


def test_a_failure_takes_what_will_not_be_run_off_the_total(
    progress: Progress, screen: io.StringIO
) -> None:
    progress.enter("trials", fold_runs=6, trials=2)
    progress.fold_run(reused=False)
    progress.failure("trial 0: session=2: [out] of memory", dropped=2)

    facts = dict(progress._facts())
    assert (facts["done"], facts["failed"]) == ("1 of 4 (0 reused)", "1")
    assert "failed: trial 0: session=2: [out] of memory\n" in screen.getvalue()


def test_a_note_is_said_at_once_and_changes_no_count(
    progress: Progress, screen: io.StringIO
) -> None:
    progress.enter("fold runs", fold_runs=2)
    progress.note("distilled, [demo], session=1: out of memory")

    assert "note: distilled, [demo], session=1: out of memory\n" in screen.getvalue()
    assert dict(progress._facts())["done"] == "0 of 2 (0 reused)"


def test_an_error_speaks_for_itself(progress: Progress, screen: io.StringIO) -> None:
    with pytest.raises(ValueError, match="bad"), progress:
        raise ValueError("bad")

    assert screen.getvalue() == ""


def test_a_terminal_shows_one_panel() -> None:
    screen = io.StringIO()
    console = Console(file=screen, force_terminal=True, width=80)

    with Progress("sweep demo", console) as progress:
        progress.enter("trials", fold_runs=2, trials=1)
        progress.fold_run(reused=False)

    assert "sweep demo" in screen.getvalue()
    assert "1 of 2 (0 reused)" in screen.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599, "59 min 59 s"),
        (3600, "1 h 00 min"),
    ],
)
def test_durations_have_two_figures(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_pruned_trial_is_said_and_its_other_fold_runs_are_not_waited_for(
    progress: Progress, screen: io.StringIO
) -> None:
    with progress:
        progress.enter("trials", fold_runs=20, trials=2)
        progress.fold_run(reused=False)
        progress.pruned("trial 1: pruned after 1 of 10 folds: beaten", dropped=9)
        progress.trial(best="")

    assert screen.getvalue().splitlines()[-2:] == [
        "trial 1: pruned after 1 of 10 folds: beaten",
        "trials: trials: 1 of 2, done: 1 of 11 (0 reused), pruned: 1, time left: about 0 s, "
        "elapsed: 0 s",
    ]
