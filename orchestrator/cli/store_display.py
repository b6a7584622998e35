"""How the store commands show what they find."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console, JustifyMethod
from rich.table import Table

from orchestrator.store.contents import StoredArtifact, StoredFit
from orchestrator.store.pruning import Pruning
from orchestrator.store.sizes import Amount, Sized, StoreSizes

_DIGITS, _WIDEST, _WORDY = 12, 400, "made from"


def size(count: int) -> str:
    """Bytes in three figures.

    >>> size(999), size(73_240_000), size(1_500_000_000)
    ('999 B', '73.2 MB', '1.50 GB')
    """
    value, unit = float(count), "B"
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if value < 999.5 or unit == "TB":
            break
        value /= 1000
    digits = 0 if unit == "B" else 2 if value < 9.995 else 1 if value < 99.95 else 0
    return f"{value:.{digits}f} {unit}"


def age(seconds: float) -> str:
    """How long ago, in one figure.

    >>> age(-1), age(59), age(7300), age(200_000)
    ('0 s', '59 s', '2 h', '2 d')
    """
    value = max(0, int(seconds))
    for limit, unit, length in ((60, "s", 1), (3600, "min", 60), (86400, "h", 3600)):
        if value < limit:
            return f"{value // length} {unit}"
    return f"{value // 86400} d"


def show_contents(
    console: Console,
    store: str,
    artifacts: Mapping[StoredArtifact, str],
    fits: Sequence[StoredFit],
    *,
    unknown: Sequence[str],
) -> None:
    """Artifacts with what they were made from, and fits that have not ended."""
    now = time.time()
    _say(console, f"{store}: {_amount(artifacts, 'artifact')}", style="bold")
    if artifacts:
        table = _table("stage", "key", "size", "age", "used by", _WORDY, right=("size", "age"))
        for one, made_from in artifacts.items():
            nobody = "unknown" if unknown else "nobody"
            table.add_row(
                one.stage,
                one.key[:_DIGITS],
                size(one.size),
                age(now - one.made),
                ", ".join(one.users) or nobody,
                made_from,
            )
        _show(console, table)
    if fits:
        _say(console, _amount(fits, "checkpoint"), style="bold")
        table = _table("stage", "key", "size", "touched", "state", right=("size", "touched"))
        for fit in fits:
            state = fit.holder or ("its result is there" if fit.sealed else "nobody is at it")
            table.add_row(
                fit.stage, fit.key[:_DIGITS], size(fit.size), f"{age(now - fit.touched)} ago", state
            )
        _show(console, table)
    _say_unknown(console, unknown)


def show_sizes(console: Console, store: str, sizes: StoreSizes, *, free: int) -> None:
    """Rooms by kind, then by experiment."""
    _say(console, f"{store}: {size(sizes.total)}", style="bold")
    table = _table("what", "count", "size", right=("count", "size"))
    for name, amount in (*sizes.artifacts.items(), *sizes.others.items()):
        table.add_row(name, f"{amount.count:,}", size(amount.bytes))
    _show(console, table)
    if sizes.experiments or sizes.unused.count:
        columns = ("artifacts", "size", "its alone", "results and study")
        table = _table("experiment", *columns, right=columns)
        for name, own in sizes.experiments.items():
            used = _cells(own.artifacts, own.alone)
            table.add_row(name, *used, size(own.files.bytes))
        if sizes.unused.count:
            table.add_row("(nobody)", *_cells(sizes.unused, sizes.unused), "")
        _show(console, table)
    if any(own.artifacts is None for own in sizes.experiments.values()):
        names = [name for name, own in sizes.experiments.items() if own.artifacts is None]
        _say_unknown(console, names)
    _say(console, f"understudy store prune would free {size(free)}")


def show_pruning(
    console: Console, store: str, found: Pruning, *, done: bool, running: Sequence[str] = ()
) -> None:
    """What went, or would go, and what stays although nobody is known to need it."""
    much = "nothing" if found.nothing else size(found.size)
    _say(console, f"{store}: {much} {'removed' if done else 'would go'}", style="bold")
    stages = Counter(one.stage for one in found.artifacts)
    by_stage = ", ".join(f"{stage} {count}" for stage, count in sorted(stages.items()))
    sealed = [fit for fit in found.fits if fit.sealed]
    left = [fit for fit in found.fits if not fit.sealed]
    lines: tuple[tuple[Sequence[Sized], str, str], ...] = (
        (found.artifacts, "artifact", f"that no experiment refers to: {by_stage}"),
        (sealed, "checkpoint", "whose result is there"),
        (left, "checkpoint", "that nobody goes on with"),
        (found.leftovers, "leftover", "of damage, builds and writes that ended early"),
        (found.copies, "copy", "on this machine"),
    )
    for things, noun, why in lines:
        if things:
            _say(console, f"  {_amount(things, noun)} {why}")
    if found.young:
        _say(
            console,
            f"{_amount(found.young, 'artifact')} that no experiment refers to stay for now: less "
            "than an hour old",
        )
    if found.unsure:
        _say(console, f"{_amount(found.unsure, 'artifact')} stay, for somebody may need them")
        _say_unknown(console, found.unknown)
    for who in running:
        _say(console, f"In use now: {who}. It can be pruned when that has ended.")


def _say_unknown(console: Console, names: Sequence[str]) -> None:
    if names:
        _say(
            console,
            f"What is needed by {', '.join(names)} is not known: the store took no note when it "
            "was made. Evaluate each again, which computes nothing anew, or give up what only it "
            "needs with prune --drop NAME",
        )


def _cells(artifacts: Amount | None, alone: Amount | None) -> tuple[str, str, str]:
    if artifacts is None or alone is None:
        return "unknown", "", ""
    return f"{artifacts.count:,}", size(artifacts.bytes), size(alone.bytes)


def _amount(things: Iterable[Sized], noun: str) -> str:
    amount = Amount.of(things)
    plural = noun if amount.count == 1 else f"{noun[:-1]}ies" if noun[-1] == "y" else f"{noun}s"
    return f"{amount.count:,} {plural} ({size(amount.bytes)})"


def _table(*columns: str, right: Sequence[str] = ()) -> Table:
    table = Table()
    for column in columns:
        # what an artifact was made from may take several lines, and nothing else
        justify: JustifyMethod = "right" if column in right else "left"
        table.add_column(column, justify=justify, no_wrap=column != _WORDY)
    return table


def _show(console: Console, table: Table) -> None:
    """Print a table; where a program may read it, a line a row however long."""
    if not console.is_terminal:
        console.width = max(console.width, _WIDEST)
    console.print(table)


def _say(console: Console, text: str, *, style: str | None = None) -> None:
    console.print(text, style=style, markup=False, highlight=False)
