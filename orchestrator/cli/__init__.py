"""The command line: one thin function a command. Exit codes: 0 ok, 1 failed, 2 bad input."""

from __future__ import annotations

import dataclasses
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

import orchestrator
from orchestrator.cli.corpora import corpora_app
from orchestrator.cli.dashboard import dashboard
from orchestrator.cli.display import say_warning, show_model, show_pending, show_sweep
from orchestrator.cli.shared import (
    File,
    Json,
    Overrides,
    Variant,
    console_for,
    print_json,
    said_again,
)
from orchestrator.cli.store import store_app
from orchestrator.cli.tracking import tracking_app
from orchestrator.errors import InputError, UnderstudyError

if TYPE_CHECKING:
    from orchestrator.experiment import Experiment

app = typer.Typer(
    name="understudy",
    help="Train small speech-emotion models to stand in for large ones, and search for how.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
experiments_app = typer.Typer(help="The experiment files it ships.", no_args_is_help=True)
app.add_typer(corpora_app, name="corpora")
app.add_typer(experiments_app, name="experiments")
app.add_typer(store_app, name="store")
app.add_typer(tracking_app, name="tracking")
app.command()(dashboard)

BestOf = Annotated[
    str | None, typer.Option("--best-of", help="Take the recipe of this sweep's best trial.")
]

INTERRUPTED = 130
"""Exit code after Ctrl-C, as typer gives it and shells expect it."""

state = {"debug": False}


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(orchestrator.__version__)
        raise typer.Exit


@app.callback()
def common(
    debug: Annotated[bool, typer.Option("--debug", help="Show tracebacks of errors.")] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Options of every command."""
    state["debug"] = debug


@app.command()
def plan(
    file: File, overrides: Overrides = None, variant: Variant = None, as_json: Json = False
) -> None:
    """Say what a sweep and an evaluation would run, and what the store has of it; runs nothing.

    Example: `understudy plan experiments/demo.yaml search.trials=12`
    """
    from orchestrator.cli.corpus_display import examining
    from orchestrator.cli.plan import show_plan
    from orchestrator.experiment import load_experiment
    from orchestrator.plan import plan as make_plan

    experiment = load_experiment(file, overrides=overrides or (), variant=variant)
    with examining(title="reading corpora") as progress:
        found = make_plan(experiment, progress=progress)
    if as_json:
        print_json(found.facts())
    else:
        show_plan(console_for(as_json=False), found)
    if found.resources.impossible:
        raise InputError(found.resources.impossible)


@app.command()
def sweep(
    file: File, overrides: Overrides = None, variant: Variant = None, as_json: Json = False
) -> None:
    """Search for the recipe that does best on validation; run again to go on.

    Example: `understudy sweep experiments/demo.yaml search.trials=12`
    """
    from orchestrator.experiment import load_experiment
    from orchestrator.sweep.sweep import run_sweep

    experiment = load_experiment(file, overrides=overrides or (), variant=variant)
    console = console_for(as_json=as_json)
    outcome = run_sweep(experiment, console=console)
    if as_json:
        print_json(dataclasses.asdict(outcome) | {"finished": outcome.finished})
    else:
        show_sweep(console, experiment.name, outcome.summary)
        console.print(
            f"Fold runs: {outcome.computed} computed now, {outcome.reused} reused from the store, "
            f"{outcome.earlier} of trials that had ended before."
        )
        show_pending(console, outcome.pending, repair=said_again(file, overrides, None))
        if outcome.finished and outcome.summary.complete:
            again = said_again(file, overrides, variant)
            if outcome.summary.front:
                again += f" --best-of {experiment.name} --trial {outcome.summary.front[0]}"
            elif experiment.evaluate.selection not in ("per-fold", "nested"):
                again += f" --best-of {experiment.name}"
            if not outcome.summary.front and not outcome.pending:
                show_model(console, f"{experiment.name}@best", uri=experiment.tracking.uri)
            console.print(f"Next: understudy evaluate {again}")
    if not outcome.finished:
        console.print("The sweep is not finished; the same command goes on from here.")
        raise typer.Exit(1)
    if not outcome.summary.complete:
        console.print("No trial is complete, so there is no best one.")
        raise typer.Exit(1)


@app.command()
def evaluate(
    file: File,
    overrides: Overrides = None,
    best_of: BestOf = None,
    trial: Annotated[
        int | None, typer.Option(help="Take this trial of the sweep instead of its best.")
    ] = None,
    variant: Variant = None,
    as_json: Json = False,
) -> None:
    """Measure a recipe on every fold and seed, test unsealed once; run again to go on.

    Example: `understudy evaluate experiments/demo.yaml --best-of demo`
    """
    from orchestrator.cli.recogniser import evaluate_recogniser
    from orchestrator.evaluation.evaluate import run_evaluation
    from orchestrator.evaluation.report import render
    from orchestrator.experiment import load_experiment
    from orchestrator.experiment.loading import is_recogniser_file

    if is_recogniser_file(file):
        if trial is not None:
            raise InputError(f"--trial {trial}: a speech recogniser has no trials")
        evaluate_recogniser(
            file, overrides or (), variant=variant, best_of=best_of, as_json=as_json
        )
        return
    console = console_for(as_json=as_json)
    experiment = load_experiment(file, overrides=overrides or (), variant=variant)
    experiment = _selected(experiment, best_of=best_of, trial=trial, console=console)
    outcome = run_evaluation(experiment, console=console)
    if as_json:
        print_json(outcome.result)
        return
    for part in render(outcome.result):
        console.print(part)
    console.print(
        f"Fold runs: {outcome.computed} computed now, {outcome.reused} reused from the store."
    )
    console.print(f"Results: {experiment.store}/{outcome.folder}/evaluation.json")
    for picture in outcome.pictures:
        console.print(f"Attention: {experiment.store}/{outcome.folder}/{picture}")
    show_pending(console, outcome.pending, repair=said_again(file, overrides, None))
    if not outcome.pending and set(outcome.result["systems"]) & {"distilled", "student-alone"}:
        show_model(console, f"{experiment.name}@evaluated", uri=experiment.tracking.uri)
    places = [text for text in overrides or () if text.startswith("tracking.uri=")]
    where = f"--uri {places[-1].partition('=')[2]}" if places else str(file)
    console.print(f"Dashboard: understudy dashboard {where}")


def _selected(
    experiment: Experiment, *, best_of: str | None, trial: int | None, console: Console
) -> Experiment:
    """The experiment with the recipe, or the recipe of each fold, that its selection asks for."""
    from orchestrator.sweep.choosing import best_of as best_recipe
    from orchestrator.sweep.choosing import per_fold_of
    from orchestrator.sweep.nested import nested_of
    from orchestrator.sweep.sweep import run_nested

    selection = experiment.evaluate.selection
    if selection in ("per-fold", "nested") and trial is not None:
        raise InputError(
            f"--trial {trial}: with evaluate.selection {selection!r} each fold has a trial of its "
            "own; leave --trial out, or set evaluate.selection=same-corpus"
        )
    if selection == "nested":
        if best_of is not None:
            raise InputError(
                f"--best-of {best_of}: with evaluate.selection 'nested' the search is repeated "
                "inside each fold; leave --best-of out, or set evaluate.selection=same-corpus"
            )
        outcome = run_nested(experiment, console=console)
        if not outcome.finished:
            console.print(
                "The searches inside the folds are not finished; the same command goes on from "
                "here."
            )
            raise typer.Exit(1)
        return nested_of(experiment, outcome.studies)
    if selection == "per-fold":
        return per_fold_of(experiment, name=best_of or experiment.name)
    if best_of is None and (selection == "same-corpus" or trial is not None):
        best_of = experiment.name
    if best_of is None:
        return experiment
    return best_recipe(experiment, name=best_of, trial=trial)


@app.command()
def report(
    file: File,
    overrides: Overrides = None,
    variant: Variant = None,
    plots: Annotated[Path | None, typer.Option(help="Write the plots into this folder.")] = None,
    markdown: Annotated[bool, typer.Option(help="Print Markdown.")] = False,
    as_json: Json = False,
) -> None:
    """Show the tables of a sweep and an evaluation; works while a sweep runs.

    Example: `understudy report experiments/demo.yaml --plots plots/`
    """
    from orchestrator.cli.recogniser import report_recogniser
    from orchestrator.evaluation.report import markdown as as_markdown
    from orchestrator.evaluation.report import plot, plot_sweep, render
    from orchestrator.evaluation.stored import stored_pictures, stored_result, stored_sweep
    from orchestrator.experiment import load_experiment
    from orchestrator.experiment.loading import is_recogniser_file

    if is_recogniser_file(file):
        if plots is not None:
            raise InputError(f"--plots {plots}: there is nothing to draw of a speech recogniser")
        report_recogniser(
            file, overrides or (), variant=variant, as_json=as_json, markdown=markdown
        )
        return
    experiment = load_experiment(file, overrides=overrides or (), variant=variant)
    result, searched = stored_result(experiment), stored_sweep(experiment)
    console = console_for(as_json=as_json)
    if as_json:
        print_json({"evaluation": result, "sweep": searched})
    elif markdown and (result is not None or searched is not None):
        typer.echo(as_markdown(result, searched), nl=False)
    else:
        for part in render(result, searched):
            console.print(part)
    if result is None and searched is None:
        console.print(
            f"Nothing has run yet for {experiment.name}: "
            f"use understudy sweep {file} or understudy evaluate {file}."
        )
        raise typer.Exit(1)
    if plots is None:
        return
    drawn = [] if searched is None else plot_sweep(searched, plots)
    for path in [*drawn, *([] if result is None else plot(result, plots))]:
        console.print(f"wrote {path}")
    for name, picture in stored_pictures(experiment).items():
        (plots / name).write_bytes(picture)
        console.print(f"wrote {plots / name}")
    if result is None:
        console.print("There is no evaluation yet, so none is plotted.")


@app.command()
def submit(
    file: File,
    overrides: Overrides = None,
    address: Annotated[
        str, typer.Option(help="The cluster's dashboard.")
    ] = "http://127.0.0.1:8265",
    command: Annotated[
        str, typer.Option(help="What to run there: sweep or evaluate.")
    ] = "evaluate",
    best_of: BestOf = None,
    variant: Variant = None,
    trial: Annotated[
        int | None, typer.Option(help="Take this trial of the sweep instead of its best.")
    ] = None,
    env: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A variable of the job; may be given repeatedly."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the logs to the end.")] = False,
    as_json: Json = False,
) -> None:
    """Run an experiment on a Ray cluster whose nodes have this environment.

    Example: `understudy submit experiments/demo.yaml --address http://head:8265 --wait`
    """
    from orchestrator.cluster import submit as submit_job

    if best_of is not None and command != "evaluate":
        raise InputError(f"--best-of goes with --command evaluate, not with {command!r}")
    if trial is not None and best_of is None:
        raise InputError(f"--trial {trial} says a trial of a sweep; name it with --best-of")
    arguments = [] if best_of is None else ["--best-of", best_of]
    arguments += [] if trial is None else ["--trial", str(trial)]
    console = console_for(as_json=as_json)
    submission = submit_job(
        file,
        address=address,
        overrides=overrides or (),
        variant=variant,
        command=command,
        arguments=tuple(arguments),
        env=_variables(env or ()),
        wait=wait,
        show=lambda line: console.print(line, markup=False, highlight=False),
    )
    if as_json:
        print_json(dataclasses.asdict(submission))
    raise typer.Exit(submission.exit_code)


@experiments_app.command("list")
def experiments_list(as_json: Json = False) -> None:
    """The shipped experiments.

    Example: `understudy experiments list`
    """
    from orchestrator.experiment.shipped import list_experiments

    found = list_experiments()
    if as_json:
        print_json(found)
        return
    table = Table("name", "what it does")
    for name, text in found.items():
        table.add_row(name, text)
    console_for(as_json=False).print(table)


@experiments_app.command("show")
def experiments_show(name: str) -> None:
    """Print a shipped experiment file.

    Example: `understudy experiments show demo`
    """
    from orchestrator.experiment.shipped import show_experiment

    typer.echo(show_experiment(name), nl=False)


@experiments_app.command("copy")
def experiments_copy(
    name: str,
    target: Annotated[Path, typer.Argument(help="The new file, or a folder.")],
    force: Annotated[bool, typer.Option(help="Overwrite a file that is there.")] = False,
) -> None:
    """Copy a shipped experiment file, to change it.

    Example: `understudy experiments copy demo mine.yaml`
    """
    from orchestrator.experiment.shipped import copy_experiment

    console_for(as_json=False).print(f"wrote {copy_experiment(name, target, force=force)}")


def _variables(texts: Sequence[str]) -> dict[str, str]:
    """``["EMODB_ROOT=/data/emodb"]`` as a mapping.

    Raises:
        InputError: a text without ``=`` or name.
    """
    pairs = [text.partition("=") for text in texts]
    for text, (name, equals, _) in zip(texts, pairs, strict=True):
        if not equals or not name:
            raise InputError(f"--env {text!r} is not NAME=VALUE, such as EMODB_ROOT=/data/emodb")
    return {name: value for name, _, value in pairs}


def main() -> None:
    """Entry point: an error of ours is one paragraph and its exit code, never a traceback."""
    warnings.showwarning = say_warning
    try:
        app()
    except UnderstudyError as error:
        if state["debug"]:
            raise
        Console(stderr=True, soft_wrap=True).print(f"understudy: {error}", markup=False)
        sys.exit(error.exit_code)
    except Exception as error:
        if state["debug"]:
            raise
        print(
            f"understudy: something that should not happen did: {type(error).__name__}: {error}. "
            "What has finished is in the store; `understudy --debug ...` shows where it happened",
            file=sys.stderr,
        )
        sys.exit(1)
    except SystemExit as ended:
        if ended.code == INTERRUPTED:
            print("interrupted; the same command goes on from here", file=sys.stderr)
        raise
