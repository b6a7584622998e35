"""What the parts of a plan have in common, as lines for people."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import Console

from orchestrator.capacity.resources_plan import ResourcesPlan
from orchestrator.planned_folds import FoldsPlan
from orchestrator.progress import duration
from orchestrator.sweep.plan import PrunerPlan
from orchestrator.teachers_to_fit import Networks


def title(console: Console, text: str) -> None:
    """A heading."""
    console.print(text, style="bold", markup=False, highlight=False)


def say(console: Console, text: str, *, style: str | None = None) -> None:
    """A line below it."""
    console.print(f"  {text}", style=style, markup=False, highlight=False)


def show_folds(console: Console, folds: Iterable[FoldsPlan]) -> None:
    """The folds of each corpus, after their protocol."""
    for one in folds:
        say(console, f"protocol: {one.protocol}")
        sizes = ", ".join(
            f"{role} {few if few == many else f'{few} to {many}'}"
            for role, (few, many) in one.sizes.items()
            if many
        )
        counted = f"{one.folds} fold{'' if one.folds == 1 else 's'}"
        say(console, f"{counted} of {one.corpus}, utterances in each: {sizes}")


def show_networks(console: Console, networks: Networks) -> None:
    """What fold runs need beside their own students."""
    most = "at most " if networks.varied else ""
    if networks.teachers:
        beside = (
            f" and {networks.inner_teachers} of inner speaker folds"
            if networks.inner_teachers
            else ""
        )
        stored = "" if networks.present is None else f"; {networks.present} are in the store"
        varied = ", since the space changes the teacher" if networks.varied else ""
        say(console, f"teachers: {most}{networks.teachers}{beside}{varied}{stored}")
    else:
        say(console, "teachers: none")
    if networks.inner_students:
        say(
            console,
            f"students of inner speaker folds, for cross-validated difficulty: at most "
            f"{networks.inner_students}",
        )


def time_told(seconds: float, resources: ResourcesPlan, *, most: int, least: bool = True) -> str:
    """How long students take.

    Args:
        seconds: one after another.
        resources: how many there can be at once.
        most: fold runs.
        least: whether all of them will be run; they may be fewer otherwise.
    """
    bound = "at least about" if least else "about"
    rest = "" if least else ", if none is stopped"
    text = f"students alone: {bound} {duration(seconds)} one after another"
    at_once = min(resources.at_once or 1, most)
    if at_once > 1:
        text += f", {duration(seconds / at_once)} with {at_once} at once"
    return text + rest


def seeds_told(count: int) -> str:
    """A number of seeds."""
    return f"{count} seed{'' if count == 1 else 's'}"


def show_pruner(console: Console, pruner: PrunerPlan, *, folds: str, bounds: str = "") -> None:
    """When the pruner may stop a trial, if it can at all.

    Args:
        console: to print on.
        pruner: of the search.
        folds: that a trial has, such as ``3 folds``.
        bounds: a clause of how many fold runs there may be; none: not known.
    """
    if pruner.kind == "none":
        say(console, "pruner: none, so that every trial runs every fold")
        return
    options = ", ".join(f"{name} {value:g}" for name, value in pruner.options.items())
    told = f"pruner: {pruner.kind} ({options})"
    if not pruner.looks:
        say(
            console,
            f"{told} can stop no trial on {folds}; it needs {pruner.folds_needed} at least, so "
            "every trial runs every fold",
            style="red",
        )
        return
    first, last = pruner.looks[0], pruner.looks[-1]
    when = f"after fold {first}" if first == last else f"after any of folds {first} to {last}"
    say(console, f"{told} may stop a trial {when}{bounds}; how many it stops is not known before")
