"""Scores of predicted emotions, named by formula.

``macro_recall`` is what the field calls UA or UAR, ``accuracy`` what it calls WA. The macro metrics
average over the classes that occur in the reference labels at hand: some speakers lack a class, and
a class that is predicted but absent has neither a recall nor an F1 of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

METRICS = ("macro_recall", "accuracy", "weighted_f1", "macro_f1")
"""Every metric, in the order of the tables."""

PAPER_NAMES = {
    "macro_recall": "macro_recall (UA)",
    "accuracy": "accuracy (WA)",
    "weighted_f1": "weighted_f1 (WF1)",
    "macro_f1": "macro_f1",
}
"""How a table heads each metric: the formula's name, and the papers' in brackets."""


@dataclass(frozen=True)
class Scores:
    """Scores of one set of utterances, as fractions."""

    n: int
    accuracy: float
    macro_recall: float
    weighted_f1: float
    macro_f1: float
    confusion: NDArray[np.int64]
    """Counts, ``(classes, classes)``: row = reference class, column = predicted class."""


def confusion_matrix(labels: ArrayLike, predictions: ArrayLike, classes: int) -> NDArray[np.int64]:
    """Count predictions by reference class.

    Args:
        labels: Reference classes ``(n,)``, integers from 0 to ``classes - 1``.
        predictions: Predicted classes ``(n,)``, of the same range.
        classes: Number of classes of the task.

    Returns:
        Counts ``(classes, classes)``: row = reference, column = prediction.

    Raises:
        ValueError: If the two differ in length, are empty, or hold a class out of range.
    """
    reference, predicted = np.asarray(labels), np.asarray(predictions)
    if reference.ndim != 1 or reference.shape != predicted.shape:
        raise ValueError(
            f"labels and predictions must be vectors of one length, "
            f"not {reference.shape} and {predicted.shape}"
        )
    if not len(reference):
        raise ValueError("there is nothing to score: labels is empty")
    for name, values in (("labels", reference), ("predictions", predicted)):
        if not np.issubdtype(values.dtype, np.integer):
            raise ValueError(f"{name} must be integers, not {values.dtype}")
        if values.min() < 0 or values.max() >= classes:
            raise ValueError(
                f"{name} must lie between 0 and {classes - 1}, "
                f"but span {values.min()} to {values.max()}"
            )
    cells = reference.astype(np.int64) * classes + predicted.astype(np.int64)
    return np.bincount(cells, minlength=classes * classes).reshape(classes, classes)


def scores(labels: ArrayLike, predictions: ArrayLike, classes: int) -> Scores:
    """Score predictions against reference labels.

    Args:
        labels: Reference classes ``(n,)``, integers from 0 to ``classes - 1``.
        predictions: Predicted classes ``(n,)``, of the same range.
        classes: Number of classes of the task, of which ``labels`` may lack some.

    Raises:
        ValueError: If the two differ in length, are empty, or hold a class out of range.

    >>> scores([0, 0, 0, 1], [0, 0, 1, 1], 3).macro_recall  # mean of 2/3 and 1; class 2 is absent
    0.8333333333333333
    """
    confusion = confusion_matrix(labels, predictions, classes)
    support = confusion.sum(axis=1)
    occurs = support > 0
    hits = np.diagonal(confusion)[occurs]
    support = support[occurs]
    predicted = confusion.sum(axis=0)[occurs]
    # 2 TP / (2 TP + FP + FN); the denominator is support + predicted, never 0 where support is not.
    f1 = 2 * hits / (support + predicted)
    n = int(confusion.sum())
    return Scores(
        n=n,
        accuracy=float(hits.sum() / n),
        macro_recall=float(np.mean(hits / support)),
        weighted_f1=float((f1 * support).sum() / n),
        macro_f1=float(np.mean(f1)),
        confusion=confusion,
    )


def score_row(
    labels: ArrayLike,
    predictions: ArrayLike,
    classes: int,
    *,
    corpus: str,
    system: str,
    fold: str,
    seed: int,
    epoch: int | None,
    parameters: int | None,
) -> dict[str, object]:
    """One row of the evaluation's ``rows``: a system's scores on one fold's test set.

    Args:
        labels: Reference classes of the fold's test utterances ``(n,)``.
        predictions: Predicted classes ``(n,)``.
        classes: Number of classes of the task.
        corpus: Name of the corpus.
        system: ``teacher``, ``student-alone`` or ``distilled``.
        fold: Name of the fold, such as ``session=1``.
        seed: Training seed.
        epoch: The epoch that validation chose, if there are epochs.
        parameters: Parameters of the network that made the predictions, if known.
    """
    got = scores(labels, predictions, classes)
    return {
        "corpus": corpus,
        "system": system,
        "fold": fold,
        "seed": seed,
        "n": got.n,
        "accuracy": got.accuracy,
        "macro_recall": got.macro_recall,
        "weighted_f1": got.weighted_f1,
        "macro_f1": got.macro_f1,
        "epoch": epoch,
        "parameters": parameters,
    }


def speaker_rows(
    labels: ArrayLike,
    predictions: ArrayLike,
    speakers: Sequence[str],
    classes: int,
    *,
    corpus: str,
    system: str,
    seed: int,
) -> list[dict[str, object]]:
    """Rows of the evaluation's ``speakers``: a system's scores on each speaker, sorted by speaker.

    Give it the test utterances of **all folds of one seed** together: a speaker whose utterances
    are spread over folds (``random-folds``) is still one unit.

    Args:
        labels: Reference classes ``(n,)``.
        predictions: Predicted classes ``(n,)``.
        speakers: Speaker of each utterance ``(n,)``.
        classes: Number of classes of the task.
        corpus: Name of the corpus.
        system: ``teacher``, ``student-alone`` or ``distilled``.
        seed: Training seed.

    Raises:
        ValueError: If the three differ in length, are empty, or hold a class out of range.
    """
    reference, predicted = np.asarray(labels), np.asarray(predictions)
    who = np.asarray([str(speaker) for speaker in speakers])
    if who.shape != reference.shape:
        raise ValueError(f"{len(who)} speakers were given for {len(reference)} labels")
    rows: list[dict[str, object]] = []
    for speaker in np.unique(who):
        chosen = who == speaker
        got = scores(reference[chosen], predicted[chosen], classes)
        rows.append(
            {
                "corpus": corpus,
                "system": system,
                "seed": seed,
                "speaker": str(speaker),
                "n": got.n,
                "accuracy": got.accuracy,
                "macro_recall": got.macro_recall,
            }
        )
    return rows
