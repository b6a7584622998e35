"""Search spaces: Optuna define-by-run functions over the recipe, one file a space.

A space is a module with ``suggest(trial)``, which returns overrides of the experiment file by
dotted key, such as ``{"recipe.training.lr": 3e-4}``; its file's name is the space's name.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from typing import Any

import optuna

Space = Callable[[optuna.Trial], dict[str, Any]]
"""From a trial to overrides of the experiment file by dotted key."""


class SpaceError(ValueError):
    """No search space has that name."""


def list_spaces() -> tuple[str, ...]:
    """Name all search spaces, sorted.

    >>> list_spaces()
    ('distillation', 'kim2024', 'satn2021', 'zhao2025', 'zhao2025_schedules', 'zhao2025_unlabelled')
    """
    return tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))


def get_space(name: str) -> Space:
    """Find a search space by its file's name.

    Raises:
        SpaceError: there is none; the message suggests the nearest name.
    """
    known = list_spaces()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        raise SpaceError(f"no search space is called {name!r}; {hint}")
    space: Space = importlib.import_module(f"{__name__}.{name}").suggest
    return space
