"""``understudy tracking``: MLflow brought back to the journals, and its numbers taken out."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from orchestrator.cli.shared import File, Json, Overrides, console_for, print_json
from orchestrator.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.tracking.repair import Repaired

tracking_app = typer.Typer(help="What MLflow has of experiments.", no_args_is_help=True)


@tracking_app.command("repair")
def tracking_repair(
    file: File,
    overrides: Overrides = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            help="What has said something within so many minutes counts as running on another "
            "machine; default: 0, and 30 where the store is a URI.",
        ),
    ] = None,
    unknown: Annotated[
        bool,
        typer.Option("--unknown", help="Also end runs of which this store has no journal."),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Change nothing, and say what would be.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Send MLflow what it lacks of the journals, and end runs that nobody works on any more.

    Commands that are running keep theirs. Ends with 1 if something could not be sent.

    Example: `understudy tracking repair experiments/demo.yaml`
    """
    from orchestrator.experiment.places import places_of
    from orchestrator.store.finding import find_store
    from orchestrator.tracking.repair import repair, ship

    places = places_of(file, overrides=overrides or ())
    store = find_store(places.store)
    shipped = 0 if dry_run else ship(store)
    found = repair(
        store,
        places.tracking.uri,
        places.name,
        minutes=minutes,
        unknown=unknown,
        dry_run=dry_run,
    )
    if as_json:
        print_json({"dry_run": dry_run, "shipped": shipped, **dataclasses.asdict(found)})
    else:
        console = console_for(as_json=False)
        if shipped:
            _say(console, f"{shipped} journal segments of processes that were killed, shipped")
        _show(console, found, dry_run=dry_run)
    if found.problem or found.refused:
        raise typer.Exit(1)


@tracking_app.command("export")
def tracking_export(
    file: File,
    to: Annotated[Path, typer.Option(help="The file to write; it ends in .csv or .parquet.")],
    overrides: Overrides = None,
    as_json: Json = False,
) -> None:
    """Write a row per fold result, from MLflow alone: neither store nor corpora have to be there.

    Example: `understudy tracking export experiments/demo.yaml --to folds.parquet`
    """
    from orchestrator.experiment.places import places_of
    from orchestrator.tracking.export import check_target, export_runs, write_export

    check_target(to)
    places = places_of(file, overrides=overrides or ())
    table = export_runs(places.tracking.uri, places.name)
    if table.empty:
        raise InputError(
            f"{places.name}: MLflow has no fold results of it yet; run the sweep or the evaluation "
            "first"
        )
    write_export(table, to)
    if as_json:
        print_json({"file": str(to), "rows": len(table), "columns": list(table.columns)})
    else:
        _say(console_for(as_json=False), f"wrote {to}: {len(table)} fold results")


def _show(console: Console, found: Repaired, *, dry_run: bool) -> None:
    would = "would be " if dry_run else ""
    sent = found.missing if dry_run else found.sent
    _say(
        console,
        f"{found.experiment}: {sent} journal segments {would}sent to MLflow, {found.closed} runs "
        f"{would}ended",
    )
    for root, who in found.at_work.items():
        _say(console, f"  left alone: {root}: {who}")
    if found.unknown:
        _say(
            console,
            f"  {found.unknown} runs are RUNNING and have no journal in this store; if they are "
            "nobody's, end them with --unknown",
        )
    for name, reason in found.refused.items():
        _say(console, f"  refused: {name}: {reason}")
    if found.problem:
        _say(
            console,
            f"  {found.waiting} segments have to wait: {found.problem}; the same command goes on "
            "from here",
        )


def _say(console: Console, line: str) -> None:
    console.print(line, markup=False, highlight=False)
