"""Scores of each class and each speaker, as tables to be read beside a run."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray


def classes_csv(confusion: ArrayLike, emotions: Sequence[str]) -> bytes:
    """Precision, recall and F1 of every class, as fractions.

    Args:
        confusion: Counts ``(classes, classes)``: row = reference, column = predicted.
        emotions: The classes' names.

    Returns:
        A CSV file of the columns ``emotion``, ``n`` (reference utterances), ``precision``,
        ``recall`` and ``f1``. A cell is empty where there is nothing to divide by: a class that is
        never predicted has no precision, one without a reference utterance no recall and no F1.

    Raises:
        ValueError: If the matrix is not square with a row an emotion.
    """
    counts = _square(confusion, emotions)
    rows: list[dict[str, object]] = []
    for place, emotion in enumerate(emotions):
        hits = counts[place, place].item()
        n, predicted = counts[place].sum().item(), counts[:, place].sum().item()
        rows.append(
            {
                "emotion": emotion,
                "n": n,
                "precision": hits / predicted if predicted else None,
                "recall": hits / n if n else None,
                "f1": 2 * hits / (n + predicted) if n else None,
            }
        )
    return _csv(rows, columns=("emotion", "n", "precision", "recall", "f1"))


def confusion_csv(confusion: ArrayLike, emotions: Sequence[str]) -> bytes:
    """Counts ``(classes, classes)``: a row a reference emotion, a column a predicted one.

    Args:
        confusion: As :func:`orchestrator.evaluation.metrics.confusion_matrix` makes it.
        emotions: Of its rows and columns.

    Raises:
        ValueError: If ``confusion`` has not a row and a column for each emotion.
    """
    counts = _square(confusion, emotions)
    rows: list[dict[str, object]] = [
        {"reference": emotion, **dict(zip(emotions, map(int, row), strict=True))}
        for emotion, row in zip(emotions, counts, strict=True)
    ]
    return _csv(rows, columns=("reference", *emotions))


def speakers_csv(rows: Sequence[Mapping[str, object]]) -> bytes:
    """Each speaker's scores.

    Args:
        rows: As :func:`orchestrator.evaluation.metrics.speaker_rows` makes them.

    Returns:
        A CSV file of the rows' columns, in the order in which they come.

    Raises:
        ValueError: If there is no row, hence no column.
    """
    if not rows:
        raise ValueError("there is nothing to write: no speaker has a score")
    return _csv(rows, columns=tuple({name: None for row in rows for name in row}))


def _square(confusion: ArrayLike, emotions: Sequence[str]) -> NDArray[Any]:
    counts = np.asarray(confusion)
    if counts.shape != (len(emotions), len(emotions)):
        raise ValueError(
            f"the confusion matrix of {len(emotions)} emotions must have as many rows and columns, "
            f"not shape {counts.shape}"
        )
    return counts


def _csv(rows: Sequence[Mapping[str, object]], *, columns: Sequence[str]) -> bytes:
    """UTF-8, a header first; None is an empty cell."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()
