"""``understudy store``: what lies in a store, how much room it takes, and what may go."""

from __future__ import annotations

import dataclasses
import sys
import time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from orchestrator.cli.shared import Json, console_for, print_json
from orchestrator.errors import InputError, nearest

if TYPE_CHECKING:
    from orchestrator.store.contents import StoredArtifact, StoredFit
    from orchestrator.store.pruning import Pruning

store_app = typer.Typer(help="What experiments have left in a store.", no_args_is_help=True)

Place = Annotated[
    str | None,
    typer.Argument(
        metavar="[STORE]",
        help="Its folder or URI, or an experiment file that names it; default: "
        "./understudy-store, if it is there.",
    ),
]


@store_app.command("list")
def store_list(
    place: Place = None,
    stage: Annotated[
        str | None, typer.Option(help="Only this stage, such as features or student.")
    ] = None,
    experiment: Annotated[
        str | None, typer.Option(help="Only what this experiment refers to.")
    ] = None,
    unused: Annotated[
        bool, typer.Option("--unused", help="Only what no experiment refers to.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Its artifacts, who refers to them, and the fits that have not ended.

    Example: `understudy store list experiments/demo.yaml --stage student`
    """
    from orchestrator.cli.store_display import show_contents
    from orchestrator.store import STAGE_VERSIONS
    from orchestrator.store.contents import read_contents, what
    from orchestrator.store.finding import find_store

    if stage is not None and stage not in STAGE_VERSIONS:
        raise InputError(f"--stage {stage!r}: no such stage; {nearest(stage, STAGE_VERSIONS)}")
    store = find_store(place)
    contents = read_contents(store)
    if experiment is not None and experiment not in contents.experiments:
        known = contents.experiments
        raise InputError(
            f"--experiment {experiment!r}: no such experiment has left anything in "
            f"{store.shown}; " + (nearest(experiment, known) if known else "none has")
        )
    found = {
        one: what(store, one)
        for one in contents.artifacts
        if stage in (None, one.stage)
        and (experiment is None or experiment in one.users)
        and not (unused and one.users)
    }
    fits = [fit for fit in contents.fits if stage in (None, fit.stage)]
    if as_json:
        print_json(
            {
                "store": store.shown,
                "artifacts": [_artifact_facts(one) | {"what": found[one]} for one in found],
                "checkpoints": [_fit_facts(fit) for fit in fits],
                "unknown": contents.referrers.unknown,
            }
        )
    else:
        show_contents(
            console_for(as_json=False), store.shown, found, fits, unknown=contents.referrers.unknown
        )


@store_app.command("size")
def store_size(place: Place = None, as_json: Json = False) -> None:
    """How much room it takes, by stage and by experiment, and what pruning would free.

    Example: `understudy store size ./understudy-store`
    """
    from orchestrator.cli.store_display import show_sizes
    from orchestrator.store.contents import read_contents
    from orchestrator.store.finding import find_store
    from orchestrator.store.pruning import to_prune
    from orchestrator.store.sizes import sizes_of

    store = find_store(place)
    contents = read_contents(store)
    sizes, free = sizes_of(contents), to_prune(contents).size
    if as_json:
        facts = dataclasses.asdict(sizes)
        print_json(facts | {"store": store.shown, "total": sizes.total, "prunable": free})
    else:
        show_sizes(console_for(as_json=False), store.shown, sizes, free=free)


@store_app.command("prune")
def store_prune(
    place: Place = None,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            metavar="EXPERIMENT",
            help="First forget what it refers to (its results stay); may be given repeatedly.",
        ),
    ] = None,
    days: Annotated[
        float, typer.Option(min=0.0, help="Checkpoints that nobody touched for so long go.")
    ] = 7.0,
    copies: Annotated[
        bool,
        typer.Option(
            "--copies", help="This machine's copies of what is in a store elsewhere go, too."
        ),
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Remove it, and do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove what no experiment refers to, and what is left of fits and builds that have ended.

    Without --yes it shows what would go, and asks in a terminal. Ends with 1 if artifacts stay
    because nobody knows who needs them.

    Example: `understudy store prune experiments/demo.yaml --yes`
    """
    from orchestrator.cli.store_display import show_pruning
    from orchestrator.store.contents import read_contents
    from orchestrator.store.finding import find_store
    from orchestrator.store.pruning import prune, to_prune

    store, console = find_store(place), console_for(as_json=as_json)
    dropped = tuple(drop or ())
    contents = read_contents(store)
    found = to_prune(contents, drop=dropped, days=days, copies=copies)
    if not yes and not as_json:
        show_pruning(console, store.shown, found, done=False, running=contents.running)
        if found.nothing and not dropped:
            return
        if not (sys.stdin.isatty() and sys.stdout.isatty()):
            console.print("Nothing is removed yet; add --yes.")
            return
        yes = typer.confirm("Go on?")
        if not yes:
            return
    if yes:
        found = prune(store, drop=dropped, days=days, copies=copies)
    if as_json:
        print_json(_pruning_facts(found) | {"store": store.shown, "removed": yes})
    else:
        for name in dropped:
            console.print(f"forgotten: what {name} referred to", markup=False, highlight=False)
        show_pruning(console, store.shown, found, done=True)
    if yes and found.unsure:
        raise typer.Exit(1)


def _artifact_facts(one: StoredArtifact) -> dict[str, Any]:
    return {
        "stage": one.stage,
        "key": one.key,
        "bytes": one.size,
        "age_seconds": round(time.time() - one.made),
        "used_by": one.users,
    }


def _fit_facts(fit: StoredFit) -> dict[str, Any]:
    return {
        "stage": fit.stage,
        "key": fit.key,
        "bytes": fit.size,
        "age_seconds": round(time.time() - fit.touched),
        "sealed": fit.sealed,
        "held_by": fit.holder,
    }


def _pruning_facts(found: Pruning) -> dict[str, Any]:
    return {
        "bytes": found.size,
        "artifacts": [_artifact_facts(one) for one in found.artifacts],
        "checkpoints": [_fit_facts(fit) for fit in found.fits],
        "leftovers": [
            {"kind": left.kind, "name": left.name, "bytes": left.size} for left in found.leftovers
        ],
        "copies": [_artifact_facts(one) for one in found.copies],
        "young": [_artifact_facts(one) for one in found.young],
        "unsure": [_artifact_facts(one) for one in found.unsure],
        "unknown": found.unknown,
    }
