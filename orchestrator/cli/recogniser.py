"""``evaluate`` and ``report`` of a speech recogniser's file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import typer

from orchestrator.cli.display import show_pending
from orchestrator.cli.shared import console_for, print_json, said_again
from orchestrator.errors import InputError


def evaluate_recogniser(
    file: Path, overrides: Sequence[str], *, variant: str | None, best_of: str | None, as_json: bool
) -> None:
    """Fit and test a recogniser on every fold and seed, and show the error rates."""
    from orchestrator.evaluation.recogniser import render_recogniser, run_recogniser
    from orchestrator.experiment.loading import load_recogniser_experiment

    if best_of is not None:
        raise InputError(
            f"--best-of {best_of}: a speech recogniser's file has no sweep; leave it out"
        )
    experiment = load_recogniser_experiment(file, overrides=overrides, variant=variant)
    console = console_for(as_json=as_json)
    outcome = run_recogniser(experiment, console=console)
    if as_json:
        print_json(outcome.result)
        return
    for part in render_recogniser(outcome.result):
        console.print(part)
    console.print(f"Results: {experiment.store}/{outcome.folder}/evaluation.json")
    show_pending(console, outcome.pending, repair=said_again(file, overrides, None))
    places = [text for text in overrides if text.startswith("tracking.uri=")]
    where = f"--uri {places[-1].partition('=')[2]}" if places else str(file)
    console.print(f"Dashboard: understudy dashboard {where}")


def report_recogniser(
    file: Path, overrides: Sequence[str], *, variant: str | None, as_json: bool, markdown: bool
) -> None:
    """Show the error rates of an earlier evaluation."""
    from orchestrator.evaluation.recogniser import (
        markdown_recogniser,
        render_recogniser,
        stored_recogniser,
    )
    from orchestrator.experiment.loading import load_recogniser_experiment

    experiment = load_recogniser_experiment(file, overrides=overrides, variant=variant)
    result = stored_recogniser(experiment)
    console = console_for(as_json=as_json)
    if as_json:
        print_json({"evaluation": result})
    if result is None:
        if not as_json:
            console.print(
                f"Nothing has run yet for {experiment.name}: use understudy evaluate {file}."
            )
        raise typer.Exit(1)
    if as_json:
        return
    if markdown:
        typer.echo(markdown_recogniser(result), nl=False)
        return
    for part in render_recogniser(result):
        console.print(part)
