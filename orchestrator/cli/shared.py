"""What commands share: where they print, and the arguments that several take."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

File = Annotated[Path, typer.Argument(help="The experiment file (YAML).")]
Overrides = Annotated[
    list[str] | None,
    typer.Argument(help="Changes to the file, such as recipe.training.epochs=20."),
]
Variant = Annotated[str | None, typer.Option(help="A named set of overrides in the file.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON on standard output.")]


def console_for(*, as_json: bool) -> Console:
    """Where people read: standard error when standard output is for a machine."""
    return Console(stderr=as_json, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """A value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=1, sort_keys=True, default=str))
