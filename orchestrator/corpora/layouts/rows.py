"""Rows of a CSV file as messages name them: we count utterances, editors count lines."""

from __future__ import annotations

from collections.abc import Sequence


def row_per_line(content: bytes, *, rows: int) -> bool:
    """Whether each of the rows of a CSV file, and its header, is one line.

    Empty lines and line breaks inside cells both only add lines, so counting tells.

    Args:
        content: of the file.
        rows: that were read from it, the header not counted.
    """
    return len(content.rstrip(b"\r\n").splitlines()) == rows + 1


def row_name(number: int, *, lined: bool) -> str:
    """``row 5 (line 6)``; without the line where rows are not lines.

    Args:
        number: from 1, the header not counted.
        lined: as by :func:`row_per_line`.
    """
    return f"row {number} (line {number + 1})" if lined else f"row {number}"


def rows_name(numbers: Sequence[int], *, lined: bool) -> str:
    """``rows 1, 3 (lines 2, 4)``, as :func:`row_name` does for one."""
    rows = f"rows {', '.join(map(str, numbers))}"
    lines = ", ".join(str(number + 1) for number in numbers)
    return f"{rows} (lines {lines})" if lined else rows
