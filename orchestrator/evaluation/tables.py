"""Tables that become text in a terminal or markdown, and how numbers stand in them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text


@dataclass(frozen=True)
class Grid:
    """A table before it becomes terminal or markdown."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    wordy: bool = False
    """Whether the last column holds sentences, not numbers."""

    def aligned(self) -> list[bool]:
        """For each column, whether it stands to the left."""
        last = len(self.header) - 1
        return [place == 0 or (self.wordy and place == last) for place in range(last + 1)]


def percent(value: float | None) -> str:
    """A fraction in percent with one decimal; a dash where there is none.

    >>> percent(0.7534)
    '75.3'
    """
    return "-" if value is None else f"{100 * value:.1f}"


def signed(value: float | None) -> str:
    """A difference of fractions in points, with its sign.

    >>> signed(0.025), signed(None)
    ('+2.5', '-')
    """
    return "-" if value is None else f"{100 * value:+.1f}"


def count(value: float | None) -> str:
    """A count in three digits: 1.3 M.

    >>> count(1_310_000), count(999_999), count(950), count(None)
    ('1.31 M', '1 M', '950', '-')
    """
    if value is None:
        return "-"
    for unit, name in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if value >= 0.9995 * unit:  # which three digits make a whole one
            return f"{value / unit:.3g} {name}"
    return f"{value:g}"


def changes(overrides: Mapping[str, Any], keys: Sequence[str] | None = None) -> str:
    """Overrides of the recipe in one line, without the ``recipe.`` that all begin with.

    Args:
        overrides: by dotted key.
        keys: which of them; default: all, by name.

    >>> changes({"recipe.training.lr": 0.00123456, "recipe.student.depth": 3})
    'student.depth 3, training.lr 0.001235'
    """
    shown = [key for key in (sorted(overrides) if keys is None else keys) if key in overrides]
    return ", ".join(f"{key.removeprefix('recipe.')} {plain(overrides[key])}" for key in shown)


def plain(value: Any) -> str:
    """A value of a parameter in four digits.

    >>> plain(0.00123456), plain(True), plain("joint"), plain(None)
    ('0.001235', 'true', 'joint', 'null')
    """
    if isinstance(value, bool):
        return str(value).lower()
    if value is None:
        return "null"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def table(grid: Grid) -> Table:
    """A grid for the terminal."""
    shown = Table(
        title=Text(grid.title, style="bold"),
        caption=Text("\n".join(grid.notes)) if grid.notes else None,
        title_justify="left",
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        pad_edge=False,
    )
    for head, left in zip(grid.header, grid.aligned(), strict=True):
        shown.add_column(Text(head), justify="left" if left else "right", overflow="fold")
    for row in grid.rows:
        # Text, not markup: a corpus may be called "[mine]".
        shown.add_row(*(Text(cell) for cell in row))
    return shown


def markdown_table(grid: Grid) -> list[str]:
    """A grid as lines of markdown, the last of them empty."""
    lines = [f"**{grid.title}**", "", _cells(grid.header)]
    lines.append(_cells(["---" if left else "---:" for left in grid.aligned()]))
    lines += [_cells(row) for row in grid.rows]
    return [*lines, "", *(f"{note}." for note in grid.notes), ""]


def _cells(cells: Sequence[str]) -> str:
    # a reason may be an error of several lines
    texts = [" ".join(cell.split()).replace("|", "\\|") for cell in cells]
    return "| " + " | ".join(texts) + " |"
