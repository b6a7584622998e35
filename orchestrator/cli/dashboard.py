"""``understudy dashboard``: MLflow, and the study beside it, in a browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from orchestrator.cli.shared import console_for
from orchestrator.errors import InputError


def dashboard(
    file: Annotated[Path | None, typer.Argument(help="The experiment file (YAML).")] = None,
    uri: Annotated[
        str | None, typer.Option(help="MLflow tracking URI instead; '${NAME}' for a password.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 5000,
    optuna: Annotated[
        bool,
        typer.Option("--optuna", help="optuna-dashboard on the sweep's study, too, one port up."),
    ] = False,
) -> None:
    """Serve MLflow on an experiment's tracking store, for this machine only unless told otherwise.

    Example: `understudy dashboard experiments/demo.yaml --port 5000`
    """
    from orchestrator.experiment import load_experiment
    from orchestrator.experiment.experiment import Tracking
    from orchestrator.experiment.places import places_of, told_uri
    from orchestrator.tracking.dashboard import run_dashboard

    if optuna and file is None:
        raise InputError("--optuna: give the experiment file, too, which says where the study is")
    if uri is not None:
        uri = told_uri(uri, command="understudy dashboard")
    experiment = None
    if file is not None:
        places = places_of(file)
        experiment, uri = places.name, uri or places.tracking.uri
    beside = []
    if optuna and file is not None:
        from orchestrator.sweep.study_server import study_server

        beside.append(study_server(load_experiment(file), host=host, port=port + 1))
    console = console_for(as_json=False)
    raise typer.Exit(
        run_dashboard(
            uri or Tracking().uri,
            host=host,
            port=port,
            experiment=experiment,
            beside=beside,
            say=lambda line: console.print(line, markup=False, highlight=False),
        )
    )
