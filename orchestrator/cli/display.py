"""How the command line shows what its functions return."""

from __future__ import annotations

import sys
import warnings
from typing import Any, TextIO

from rich.console import Console


def show_sweep(console: Console, name: str, summary: Any) -> None:
    """A sweep as a table."""
    from orchestrator.evaluation.report import render
    from orchestrator.evaluation.stored import sweep_facts

    for part in render(None, sweep_facts(summary, name=name)):
        console.print(part)


def show_pending(console: Console, pending: int, *, repair: str) -> None:
    """What MLflow has not taken yet, if anything.

    Args:
        console: where it is said.
        pending: parts of journals.
        repair: file and overrides of the command, as they are to be given again.
    """
    if pending:
        console.print(
            f"MLflow has not taken {pending} parts of the runs' journals yet; they are kept in the "
            f"store, and the same command sends them, or: understudy tracking repair {repair}",
            markup=False,
            highlight=False,
        )


def show_model(console: Console, name: str, *, uri: str) -> None:
    """Where the best student is.

    Args:
        console: where it is said.
        name: by which MLflow knows it, with its alias: ``demo@best``.
        uri: of MLflow, as the experiment file has it.
    """
    from orchestrator.tracking.address import absolute_uri, redacted

    console.print(
        f"Model: models:/{name} in MLflow at {redacted(absolute_uri(uri))}",
        markup=False,
        highlight=False,
    )


def say_warning(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    """A warning of ours without the place in the code that it comes from."""
    text = f"warning: {message}"
    if not category.__module__.startswith("orchestrator."):
        text = warnings.formatwarning(message, category, filename, lineno, line).rstrip()
    print(text, file=file or sys.stderr)
