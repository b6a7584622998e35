"""What commands share: where they print, and the arguments that several take."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Sequence
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


def said_again(file: Path, overrides: Sequence[str] | None, variant: str | None) -> str:
    """The arguments of another command on the same experiment, as a shell takes them.

    >>> said_again(Path("a b.yaml"), ["search.seeds=[0, 1]"], "paper")
    "'a b.yaml' 'search.seeds=[0, 1]' --variant paper"
    """
    words = [str(file), *(overrides or ()), *(("--variant", variant) if variant else ())]
    return shlex.join(words)


def console_for(*, as_json: bool) -> Console:
    """Where people read: standard error when standard output is for a machine."""
    return Console(stderr=as_json, soft_wrap=not sys.stdout.isatty())


def print_json(value: object) -> None:
    """A value as JSON on standard output."""
    typer.echo(json.dumps(value, indent=1, sort_keys=True, default=str))
