"""Cells of a user's table: what they may say, and what it means."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

import pandas as pd

from orchestrator.corpora.layouts.rows import row_name
from orchestrator.corpora.listing import Problem, votes_text

GENDERS: Final = {
    "": "",
    "female": "female",
    "f": "female",
    "w": "female",
    "male": "male",
    "m": "male",
}
"""What the column ``gender`` may say, in any case."""

SPLITS: Final = {
    "train": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "devel": "validation",
    "test": "test",
}
"""What the column ``split`` may say, in any case."""

T = TypeVar("T")


def gender(cell: str) -> str | None:
    """One of ours, "" for an empty cell, None if it is none."""
    return GENDERS.get(cell.lower())


def split(cell: str) -> str | None:
    """One of ours, None if it is none."""
    return SPLITS.get(cell.lower())


def share(cell: str) -> float | None:
    """A number in [0, 1], NaN for an empty cell, None if it is neither."""
    if not cell:
        return float("nan")
    value = _number(cell)
    return value if value is not None and value <= 1 else None


def count(cell: str) -> float | None:
    """A number from 0, 0 for an empty cell, None if it is neither; whole ones are ints."""
    value = _number(cell) if cell else 0.0
    return int(value) if value is not None and value.is_integer() else value


def votes(cell: str) -> str | None:
    """Votes as ``votes_text`` writes them, None if a cell is not empty and holds nothing of it."""
    if not cell:
        return ""
    try:
        told = json.loads(cell)
    except ValueError:
        return None
    if not isinstance(told, dict) or not told:
        return None
    counts = {emotion: count(str(number)) for emotion, number in told.items()}
    if any(number is None for number in counts.values()):
        return None
    return votes_text({emotion: number or 0 for emotion, number in counts.items()})


def _number(cell: str) -> float | None:
    try:
        value = float(cell)
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


class Cells:
    """Makes values of cells, and remembers of each row the first cell that makes no sense.

    Attributes:
        problems: by row (from 0).

    Args:
        ids: of the utterances, by row.
        file: of the table, for messages.
        lined: whether each row is a line of it.
    """

    def __init__(self, ids: pd.Series[str], *, file: Path, lined: bool) -> None:
        self.problems: dict[int, Problem] = {}
        self._ids = ids
        self._file = file
        self._lined = lined

    def values(
        self,
        cells: pd.Series[str],
        how: Callable[[str], T | None],
        *,
        otherwise: T,
        column: str,
        wanted: str,
    ) -> list[T]:
        """The value of every cell.

        Args:
            cells: indexed by row, from 0.
            how: from a cell to its value, None where the cell makes no sense.
            otherwise: stands in for the value of such a cell.
            column: what the file calls it.
            wanted: what a cell should be, for the message.
        """
        found = []
        for row, cell in zip(cells.index, cells, strict=True):
            value = how(cell)
            if value is None and row not in self.problems:
                where = f"{self._file}, {row_name(row + 1, lined=self._lined)}"
                text = f"{where}, column {column!r}: {cell!r} is not {wanted}"
                self.problems[row] = Problem(kind="strange value", text=text, id=self._ids[row])
            found.append(otherwise if value is None else value)
        return found
